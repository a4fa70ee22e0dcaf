"""Bodies that are too large, too slow or not what they say; callers that wait in turns."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.serving.errors import ApiError
from sensorium.serving.guard import Guard
from sensorium.serving.queue import FairQueue
from sensorium.serving.settings import ServerSettings


def _raw(address: str, data: bytes, then: bytes = b"", wait_s: float = 10) -> bytes:
    """What the server answers to these bytes, over a bare connection."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait_s) as connection:
        connection.sendall(data)
        if then:
            connection.sendall(then)
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
        except TimeoutError:
            pass
        return answer


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def _bomb(width: int, height: int, rows: int) -> str:
    """A PNG that claims width x height pixels and holds a few rows of zeros, well packed."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packed = zlib.compress(bytes((width + 1) * rows), 9)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _asking(url: str) -> bytes:
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What?"}]
    return json.dumps({"model": "MODEL", "messages": [{"role": "user", "content": content}]}).encode()


def _sent(address: str, body: bytes) -> tuple[int, dict]:
    answer = _raw(address, HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(rest)


def test_a_body_that_says_it_is_too_large_is_refused_unread(told, serve):
    with serve(told, max_body_mb=0.01) as address:
        answer = _raw(address, HEAD + b"Content-Length: 100000000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413") and b"max_body_mb" in answer and told.asked == []


def test_a_body_that_grows_too_large_is_refused_as_it_grows(told, serve):
    chunk = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
    with serve(told, max_body_mb=0.01) as address:
        answer = _raw(address, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk * 4)
    assert answer.startswith(b"HTTP/1.1 413") and told.asked == []


def test_a_body_that_does_not_come_is_not_waited_for(told, serve):
    with serve(told, body_timeout_s=0.2) as address:
        answer = _raw(address, HEAD + b"Content-Length: 100\r\n\r\n", b"{")
    assert answer.startswith(b"HTTP/1.1 408") and b"body_timeout_s" in answer


def test_a_websocket_never_comes_in():
    """Nothing here speaks it, and servers other than ours would hand it on without a key."""
    reached, sent = [], []

    async def app(scope: object, receive: object, send: object) -> None:
        reached.append(scope)

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(Guard(app, ServerSettings(keys=("key",)))({"type": "websocket", "path": "/"}, None, send))
    assert reached == [] and sent == [{"type": "websocket.close", "code": 1008}]


def test_callers_who_open_and_say_nothing_stop_nobody(told, serve):
    with serve(told) as address:
        host, port = address.removeprefix("http://").split(":")
        silent = [socket.create_connection((host, int(port)), timeout=5) for _ in range(300)]
        for number, connection in enumerate(silent):
            connection.sendall(HEAD if number % 2 else b"POST /v1/ch")
        body = json.dumps({"model": "told", "messages": [{"role": "user", "content": "Hi"}]}).encode()
        status, found = _sent(address, body)
        for connection in silent:
            connection.close()
    assert status == 200 and found["choices"][0]["message"]["content"] == "one two three"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (_bomb(40_000, 40_000, 1), "pixels"),
        (_bomb(2**31 - 1, 1, 0), "pixels"),
        (_bomb(300, 300, 300)[:120], "damaged"),
        ("data:image/png;base64," + base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode(), ""),
        ("data:image/png;base64,", ""),
        ("data:image/png;base64," + base64.b64encode(b"GIF89a" + b"%PDF-1.4" * 40).decode(), ""),
    ],
)
def test_pictures_that_are_traps_are_refused_by_a_real_engine(tiny_engine, serve, url, said):
    with serve(tiny_engine, max_new_tokens=4) as address:
        body = _asking(url).replace(b"MODEL", tiny_engine.card.name.encode())
        status, found = _sent(address, body)
    assert status == 400 and said in found["error"]["message"] and "tokens" not in found["error"]["message"]


def test_callers_take_turns_and_those_who_go_lose_their_place():
    async def play() -> list[str]:
        queue, order = FairQueue(1, 10), []
        gate = asyncio.Event()

        async def ask(caller: str, name: str) -> None:
            async with queue.turn(caller):
                await gate.wait()
                order.append(name)

        tasks = [asyncio.create_task(ask("a", "a1"))]
        await asyncio.sleep(0)
        for caller, name in (("a", "a2"), ("a", "a3"), ("a", "a4"), ("b", "b1"), ("c", "c1"), ("b", "b2")):
            tasks.append(asyncio.create_task(ask(caller, name)))
            await asyncio.sleep(0)
        assert (queue.running, queue.waiting) == (1, 6)
        tasks[3].cancel()  # a4
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (queue.running, queue.waiting) == (0, 0)
        return order

    assert asyncio.run(play()) == ["a1", "a2", "b1", "c1", "a3", "b2"]


def test_one_callers_crowd_makes_room_for_the_others():
    async def play() -> dict[str, object]:
        queue, ended = FairQueue(1, 3), {}
        gate = asyncio.Event()

        async def ask(caller: str, name: str) -> None:
            try:
                async with queue.turn(caller):
                    await gate.wait()
                    ended[name] = "answered"
            except ApiError as error:
                ended[name] = error.status

        asked = (("a", "a1"), ("a", "a2"), ("a", "a3"), ("a", "a4"), ("b", "b1"), ("c", "c1"), ("c", "c2"), ("a", "a5"))
        tasks = []
        for caller, name in asked:
            tasks.append(asyncio.create_task(ask(caller, name)))
            await asyncio.sleep(0)
        assert (queue.running, queue.waiting) == (1, 3)
        gate.set()
        await asyncio.gather(*tasks)
        assert (queue.running, queue.waiting) == (0, 0)
        return ended

    # a's newest two went for b and c; c's second and a's fifth have no longer line than theirs to take from.
    answered = dict.fromkeys(("a1", "a2", "b1", "c1"), "answered")
    assert asyncio.run(play()) == answered | {"a4": 429, "a3": 429, "c2": 429, "a5": 429}


STEPS = st.tuples(st.sampled_from("abc"), st.sampled_from(["ask", "go", "end"]), st.integers(0, 9))


@given(st.lists(STEPS, max_size=40))
@settings(deadline=None)
def test_whoever_comes_and_goes_no_place_is_lost_or_made(steps):
    async def play() -> None:
        queue, running, tasks = FairQueue(2, 3), [], []

        async def ask(caller: str) -> None:
            async with queue.turn(caller):
                done = asyncio.Event()
                running.append(done)
                try:
                    assert len(running) <= 2
                    await done.wait()
                finally:
                    running.remove(done)

        for caller, what, which in steps:
            if what == "ask":
                tasks.append(asyncio.create_task(ask(caller)))
            elif what == "go" and tasks:
                tasks[which % len(tasks)].cancel()
            elif what == "end" and running:
                running[which % len(running)].set()
            for _ in range(which % 4):  # now and then the next step comes before this one was noticed
                await asyncio.sleep(0)
            assert queue.running <= 2 and queue.waiting <= 3
        for _ in range(len(tasks) + 1):
            for done in list(running):
                done.set()
            for _ in range(5):
                await asyncio.sleep(0)
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            assert ended is None or isinstance(ended, (ApiError, asyncio.CancelledError)), ended
        assert (queue.running, queue.waiting, running) == (0, 0, [])

    asyncio.run(play())


def test_more_than_may_wait_are_refused():
    async def play() -> None:
        queue = FairQueue(1, 0)
        async with queue.turn("a"):
            with pytest.raises(ApiError) as refused:
                async with queue.turn("b"):
                    pass
            assert refused.value.status == 429 and refused.value.headers["Retry-After"] == "1"
        async with queue.turn("b"):
            assert queue.running == 1

    asyncio.run(play())
