"""The HTTP API: `/v1/chat/completions`, `/v1/models`, `/health`, `/metrics`, as OpenAI's clients and Prometheus ask.

A request goes through the guard (key, size, time), becomes a conversation, waits for its turn, and streams from the
engine; everything that can be wrong with it is found before the first byte of the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from sensorium.engine import Delta, Engine, Reply
from sensorium.errors import SensoriumError
from sensorium.serving.errors import ApiError
from sensorium.serving.guard import Guard
from sensorium.serving.metrics import Metrics
from sensorium.serving.protocol import ChatRequest
from sensorium.serving.queue import FairQueue
from sensorium.serving.replies import Chunks, event, stream_reply, usage_of
from sensorium.serving.settings import ServerSettings


def create_app(engine: Engine, settings: ServerSettings | None = None) -> FastAPI:
    """The application that answers with an engine; it is served by any ASGI server."""
    settings = settings or ServerSettings()
    service = _Service(engine, settings)
    app = FastAPI(title="Sensorium", docs_url=None, redoc_url=None)
    app.add_middleware(Guard, settings=settings)
    if settings.allow_origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(settings.allow_origins), allow_methods=["*"],
                           allow_headers=["*"])
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(Exception, _server_error)
    app.add_api_route("/v1/chat/completions", service.chat, methods=["POST"], response_model=None)
    app.add_api_route("/v1/models", service.models, methods=["GET"])
    app.add_api_route("/v1/models/{name:path}", service.model, methods=["GET"])
    app.add_api_route("/health", service.health, methods=["GET"])
    app.add_api_route("/metrics", service.metrics_text, methods=["GET"], response_model=None)
    return app


class _Service:
    """One engine behind one queue."""

    def __init__(self, engine: Engine, settings: ServerSettings) -> None:
        self.engine, self.settings = engine, settings
        self.queue = FairQueue(settings.max_running, settings.max_waiting)
        self.metrics = Metrics(self.queue)
        self.started = int(time.time())

    async def chat(self, asked: ChatRequest, request: Request) -> Response:
        """A reply, whole or streamed."""
        if asked.model != self.engine.card.name:
            raise ApiError(404, f"There is no model `{asked.model}`; this server has `{self.engine.card.name}`.",
                           "model_not_found", "model")
        begun = time.perf_counter()
        conversation, sampling = asked.conversation(), asked.sampling(self.settings.max_new_tokens)
        n_image_tokens = len(conversation.images) * self.engine.card.visual_tokens
        caller = request.headers.get("authorization") or (request.client.host if request.client else "")
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.queue.turn(caller))
            streamed = stream_reply(self.engine, conversation, sampling, self.settings.reply_timeout_s)
            deltas = await stack.enter_async_context(aclosing(streamed))
            limited = self._timed(deltas, begun)
            try:
                first = await anext(limited)  # whatever is wrong with the request shows here, before anything is sent
            except SensoriumError as error:
                raise ApiError.of(error) from error
            chunks = Chunks(self.engine.card.name, sampling.logprobs is not None)
            if asked.stream:
                wants_usage = asked.stream_options is not None and asked.stream_options.include_usage
                events = self._events(chunks, first, limited, n_image_tokens, wants_usage, stack.pop_all())
                return StreamingResponse(events, media_type="text/event-stream",
                                         headers={"X-Accel-Buffering": "no", "Cache-Control": "no-cache"})
            pieces = [first]
            gone = asyncio.create_task(_gone(request))
            stack.callback(gone.cancel)
            async for delta in limited:
                pieces.append(delta)
                if gone.done():
                    self.metrics.requests.labels("left").inc()
                    return Response(status_code=499)
            reply = Reply.of(pieces)
            self._count(reply)
            return JSONResponse(chunks.whole(reply, usage_of(reply, n_image_tokens)))

    async def _events(
        self,
        chunks: Chunks,
        first: Delta,
        deltas: AsyncIterator[Delta],
        n_image_tokens: int,
        wants_usage: bool,
        stack: AsyncExitStack,
    ) -> AsyncIterator[str]:
        """The chunks in their order; the turn and the reply end with them, however that comes."""
        async with stack:
            yield chunks.first()
            last = first
            try:
                if first.text or first.logprobs:
                    yield chunks.piece(first)
                async for last in deltas:
                    if last.text or last.logprobs:
                        yield chunks.piece(last)
            except (ApiError, RuntimeError) as error:
                self.metrics.requests.labels("failed").inc()
                api = error if isinstance(error, ApiError) else ApiError(500, str(error), "engine_failed")
                yield event(api.body)
                return
            yield chunks.last(last.finish or "stop")
            if wants_usage:
                yield chunks.usage(usage_of(last, n_image_tokens))
            yield "data: [DONE]\n\n"
            self._count(last)

    async def _timed(self, deltas: AsyncIterator[Delta], begun: float) -> AsyncIterator[Delta]:
        """The deltas, timed for the metrics; a reply that takes too long is an error."""
        n_seen = 0
        try:
            async for delta in deltas:
                n_seen += 1
                if n_seen == 1:
                    self.metrics.first_token.observe(time.perf_counter() - begun)
                yield delta
        except TimeoutError:
            what = f"The reply took longer than {self.settings.reply_timeout_s:g} s (reply_timeout_s)."
            raise ApiError(504, what, "reply_timeout") from None
        self.metrics.reply.observe(time.perf_counter() - begun)

    def _count(self, last: Delta | Reply) -> None:
        self.metrics.requests.labels("answered").inc()
        for kind, n in (("prompt", last.n_prompt), ("cached", last.n_cached), ("reply", last.n_tokens)):
            self.metrics.tokens.labels(kind).inc(n)

    async def models(self) -> dict[str, Any]:
        return {"object": "list", "data": [self._described()]}

    async def model(self, name: str) -> dict[str, Any]:
        if name != self.engine.card.name:
            raise ApiError(404, f"There is no model `{name}`.", "model_not_found", "model")
        return self._described()

    def _described(self) -> dict[str, Any]:
        card = self.engine.card
        return {"id": card.name, "object": "model", "created": self.started, "owned_by": "sensorium",
                "modalities": list(card.modalities), "context_length": card.context_length,
                "visual_tokens": card.visual_tokens, "licence": card.licence}

    async def health(self) -> dict[str, Any]:
        return {"status": "ok", "running": self.queue.running, "waiting": self.queue.waiting}

    async def metrics_text(self) -> Response:
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)


async def _gone(request: Request) -> None:
    """Returns when the caller has closed the connection."""
    while not await request.is_disconnected():
        await asyncio.sleep(0.1)


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body, error.status, error.headers)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    found = ApiError(error.status_code, str(error.detail), "not_found" if error.status_code == 404 else "http_error")
    return JSONResponse(found.body, error.status_code, getattr(error, "headers", None))


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    found = ApiError(400, f"{place or 'body'}: {first['msg']}.", "invalid_request", place or None)
    return JSONResponse(found.body, found.status)


async def _server_error(_: Request, error: Exception) -> Response:
    return JSONResponse(ApiError(500, "The server failed at this request.", "server_error").body, 500)
