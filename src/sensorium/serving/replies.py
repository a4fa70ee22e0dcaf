"""An engine's stream inside an event loop, and as the chunks of OpenAI's streaming protocol."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, closing, suppress
from typing import Any
from uuid import uuid4

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from sensorium.conversation import Conversation, Image, Video
from sensorium.correction.records import Report
from sensorium.engine import Delta, Engine, Logprob, Reply, Sampling
from sensorium.serving.viewing import View

SPARE_S = 10.0  # beyond a reply's own time, for a caller to read what has been said


def stream_reply(
    engine: Engine, conversation: Conversation, sampling: Sampling, timeout_s: float, on_end: Callable[[], object]
) -> AsyncGenerator[Delta, None]:
    """The engine's deltas. Leaving the iteration ends the reply at its next token.

    A thread of its own runs the engine, from now on; it looks up between tokens whether anybody still listens.
    on_end: called in the event loop, once, when the engine works no more on this reply, whoever left before.
    The iteration raises TimeoutError when the whole reply takes longer than timeout_s, and what the engine raises.
    """
    loop, gone = asyncio.get_running_loop(), threading.Event()
    deltas: asyncio.Queue[Delta | Exception | None] = asyncio.Queue()

    def call(what: Callable[..., object], *given: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(what, *given)

    def run() -> None:
        last: Exception | None = None
        try:
            with closing(engine.stream(conversation, sampling)) as stream:  # type: ignore[type-var]
                for delta in stream:
                    if gone.is_set():
                        break
                    call(deltas.put_nowait, delta)
        except Exception as error:  # noqa: BLE001 (it is raised again where the reply is awaited)
            last = error
        finally:
            call(on_end)  # before the caller hears of the end, so that his next request finds the place free
            call(deltas.put_nowait, last)

    try:
        threading.Thread(target=run, name="reply", daemon=True).start()
    except BaseException:  # no thread is to be had
        on_end()
        raise
    return _told(deltas, gone, timeout_s)


async def _told(
    deltas: asyncio.Queue[Delta | Exception | None], gone: threading.Event, timeout_s: float
) -> AsyncGenerator[Delta, None]:
    loop = asyncio.get_running_loop()
    try:
        end = loop.time() + timeout_s
        # Each wait has the time that is left: one timeout around all would belong to the task that began it, and a
        # streamed reply is taken over by another.
        while (item := await asyncio.wait_for(deltas.get(), end - loop.time())) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        gone.set()


class EventStream(StreamingResponse):
    """Server-sent events as they come.

    Whatever happens, `held` is let go of at their end: also when the caller leaves before the first, or reads so slowly
    that the time is over; the connection breaks off then.
    """

    def __init__(self, events: AsyncGenerator[str, None], held: AsyncExitStack, timeout_s: float) -> None:
        headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-cache"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._events, self._held, self._timeout_s = events, held, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        end = asyncio.get_running_loop().time() + self._timeout_s + SPARE_S
        async with self._held, aclosing(self._events):
            with suppress(TimeoutError):
                async with asyncio.timeout_at(end):
                    await super().__call__(scope, receive, send)


class Chunks:
    """The JSON objects of one reply, whole or in pieces; they share an id.

    tells_logprobs: whether log probabilities were asked for.
    """

    def __init__(self, model: str, tells_logprobs: bool = False) -> None:
        self._tells_logprobs = tells_logprobs
        self.head = {"id": f"chatcmpl-{uuid4().hex}", "created": int(time.time()), "model": model}

    def whole(self, reply: Reply, usage: dict[str, Any], correction: Report | None = None) -> dict[str, Any]:
        """The one object of a reply that is not streamed. correction: what was found out about a corrected one."""
        message = {"role": "assistant", "content": reply.text, "refusal": None}
        logprobs = self._told(reply.logprobs)
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": reply.finish}
        return self.head | {"object": "chat.completion", "choices": [choice], "usage": usage} | _told_of(correction)

    def first(self) -> str:
        return self._event({"role": "assistant", "content": ""}, None)

    def piece(self, delta: Delta) -> str:
        return self._event({"content": delta.text}, None, self._told(delta.logprobs))

    def last(self, finish: str, correction: Report | None = None) -> str:
        return self._event({}, finish, more=_told_of(correction))

    def usage(self, usage: dict[str, Any]) -> str:
        return event(self.head | {"object": "chat.completion.chunk", "choices": [], "usage": usage})

    def _event(
        self, delta: dict[str, Any], finish: str | None, logprobs: dict[str, Any] | None = None,
        more: dict[str, Any] | None = None,
    ) -> str:  # fmt: skip
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return event(self.head | {"object": "chat.completion.chunk", "choices": [choice]} | (more or {}))

    def _told(self, logprobs: Sequence[Logprob]) -> dict[str, Any] | None:
        if not self._tells_logprobs:
            return None
        content = [_token(found) | {"top_logprobs": [_token(top) for top in found.top]} for found in logprobs]
        return {"content": content, "refusal": None}


def _told_of(correction: Report | None) -> dict[str, Any]:
    return {} if correction is None else {"correction": correction.to_json()}


def _token(logprob: Logprob) -> dict[str, Any]:
    return {"token": logprob.text, "logprob": logprob.value, "bytes": list(logprob.bytes)}


def event(content: dict[str, Any]) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def usage_of(last: Delta | Reply, view: View) -> dict[str, Any]:
    """OpenAI's counts, how many of the prompt's tokens were pictures and frames, and what each of these cost."""
    details = {"cached_tokens": last.n_cached, "image_tokens": view.tokens(Image), "video_tokens": view.tokens(Video)}
    told = {"prompt_tokens": last.n_prompt, "completion_tokens": last.n_tokens,
            "total_tokens": last.n_prompt + last.n_tokens, "prompt_tokens_details": details}  # fmt: skip
    return told | ({"media": [one.to_json() for one in view.shown]} if view.shown else {})
