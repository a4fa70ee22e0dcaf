"""A server in this process, on a real port: with a real engine, or with one that does what it is told."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from PIL import Image as Picture

from sensorium.engine import Card, Delta, Engine
from sensorium.media.watching import Watcher

pytest.importorskip("fastapi", reason="serving is an extra")


@contextmanager
def served(engine: Engine, engines: Any = None, **settings: Any) -> Iterator[str]:
    """The address of a server that answers with the engine, until the block ends. engines: the page's choice.

    settings: of the server, and `correcting`.
    """
    from sensorium.serving import ServerSettings, create_server

    correcting = settings.pop("correcting", None)
    sock = socket.create_server(("127.0.0.1", 0))
    server = create_server(engine, ServerSettings(**settings), engines, correcting)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        sock.close()
    assert not thread.is_alive(), "the server goes on after its end"


def post(
    address: str, body: object, headers: dict[str, str] | None = None, path: str = "/v1/chat/completions"
) -> tuple[int, dict[str, Any]]:
    """(status, what came back) of a request; body: JSON, or bytes sent as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    asked = Request(f"{address}{path}", data, {"Content-Type": "application/json"} | (headers or {}))
    try:
        with urlopen(asked, timeout=60) as response:
            return response.status, json.loads(response.read())
    except HTTPError as error:
        return error.code, json.loads(error.read())


def read_reply(connection: socket.socket) -> bytes:
    """A whole reply of a chat, from a connection on which it was asked for."""
    read = b""
    while b'"usage"' not in read and (piece := connection.recv(65536)):
        read += piece
    return read


class Told:
    """An engine that says words, each when `go` lets it; it notes what it was asked and who left early."""

    card = Card("told", ("text", "image", "video"), 1000, 64)

    def __init__(self, words: tuple[str, ...] = ("one ", "two ", "three")) -> None:
        self.words = words
        self.watcher = Watcher()
        self.asked: list[Any] = []
        self.left = 0
        self.go = threading.Semaphore(10**6)
        self.error: Exception | None = None
        self.most = self._now = 0
        self._lock = threading.Lock()

    def visual_tokens(self, image: Any) -> int:
        return self.card.visual_tokens

    def stream(self, conversation: Any, sampling: Any) -> Iterator[Delta]:
        with self._lock:
            self.asked.append((conversation, sampling))
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            for number, word in enumerate(self.words[: sampling.max_new_tokens], start=1):
                self.go.acquire()
                if self.error is not None and number > 1:
                    raise self.error
                yield Delta(word, n_tokens=number)
            yield Delta("", "stop", len(self.words), 10, 4)
        except GeneratorExit:
            self.left += 1
            raise
        finally:
            with self._lock:
                self._now -= 1


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture(scope="session")
def tell() -> Callable[..., Told]:
    """`tell(words)`: an engine that says these."""
    return Told


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    """`with serve(engine, engines=None, **settings) as address:`"""
    return served


class Knows:
    """A locator that finds one dog and one ball, and nothing else."""

    name, version, names = "knows", "1", frozenset({"dog", "ball"})

    def locate(self, picture: Any, name: str, meter: Any) -> Any:
        from sensorium.correction.verifiers.base import Found, Located
        from sensorium.grounding import Box

        boxes = {"dog": Box(100, 200, 400, 800), "ball": Box(600, 500, 800, 900)}
        if name not in boxes:
            return Located(reason="outside the vocabulary")
        meter.count(self.name)
        return Located((Found(boxes[name], 1.0),), label=name)


@pytest.fixture
def correcting() -> Any:
    """Correction by a verifier that knows of one dog and one ball."""
    pytest.importorskip("spacy")
    from sensorium.correction import Corrector
    from sensorium.correction.verifiers.located import LocatedVerifier
    from sensorium.serving.correcting import Correcting

    return Correcting(lambda: Corrector([LocatedVerifier(Knows())]))


@pytest.fixture
def tiny_engine(tiny_model: Any) -> Engine:
    """A real engine of a tiny model: it says nonsense, at once."""
    from sensorium.engine.torch import TorchEngine

    return TorchEngine(tiny_model, "tiny")


@pytest.fixture(scope="session")
def data_url() -> str:
    """A small picture as clients send it."""
    data = io.BytesIO()
    Picture.new("RGB", (40, 30), (200, 30, 30)).save(data, format="PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
