"""The HTTP API: `/v1/chat/completions`, `/v1/models`, `/health`, `/metrics`, as OpenAI's clients and Prometheus ask;
and `/v1/score` and `/v1/corrections` of our own.

A request goes through the guard (key, size, time), becomes a conversation, waits for its turn, and streams from the
engine; everything that can be wrong with it is found before the first byte of the answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from sensorium import __version__
from sensorium.conversation import Conversation
from sensorium.correction.records import Report
from sensorium.engine import Delta, Engine, Reply
from sensorium.errors import SensoriumError
from sensorium.serving.correcting import CorrectedReply, Correcting, Corrections
from sensorium.serving.described import EVENTS, METRICS, Health, ModelCard, ModelList, ScoreReply, errors
from sensorium.serving.errors import ApiError, unsupported
from sensorium.serving.guard import Guard
from sensorium.serving.metrics import Metrics
from sensorium.serving.page.engines import EngineChoice
from sensorium.serving.pictures import Pictures
from sensorium.serving.protocol import ChatRequest
from sensorium.serving.queue import FairQueue, caller_of
from sensorium.serving.replies import Chunks, EventStream, event, stream_reply, usage_of
from sensorium.serving.score import Scoring
from sensorium.serving.settings import ServerSettings
from sensorium.serving.size import check_size
from sensorium.serving.viewing import View, Viewing, viewed

log = logging.getLogger(__name__)


def create_app(
    engine: Engine, settings: ServerSettings | None = None, engines: EngineChoice | None = None,
    correcting: Correcting | None = None,
) -> FastAPI:  # fmt: skip
    """The application that answers with an engine; it is served by any ASGI server.

    engines: among which visitors of the page may choose; the API's callers are answered by `engine`. correcting: what
    corrects texts about pictures; None: nothing does.
    """
    settings = settings or ServerSettings()
    service = _Service(engine, settings, correcting)
    app = _Documented(title="Sensorium", version=__version__, docs_url=None, redoc_url=None)
    if settings.page:
        from sensorium.serving.page.mount import let_in, mount_page  # Gradio takes seconds to import

        choice = engines or EngineChoice(engine.card.name, engine)
        mount_page(app, choice, service.queue, service.viewing, service.metrics, settings, correcting)
    app.add_middleware(Guard, settings=settings)
    if settings.page:
        let_in(app, settings)
    if settings.allow_origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(settings.allow_origins), allow_methods=["*"],
                           allow_headers=["*"])
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(Exception, _server_error)
    app.add_api_route("/v1/chat/completions", service.chat, methods=["POST"], response_model=None,
                      responses=errors(400, 404, 501, 504) | {200: EVENTS})
    scoring = Scoring(engine, service.queue, service.pictures, service.viewing, settings)
    app.add_api_route("/v1/score", scoring.score, methods=["POST"], response_model=ScoreReply,
                      responses=errors(400, 404))
    if correcting is not None:
        corrections = Corrections(correcting, service.queue, service.pictures, settings)
        app.add_api_route("/v1/corrections", corrections.correct, methods=["POST"], response_model=Report,
                          responses=errors(400, 501))
    app.add_api_route("/v1/models", service.models, methods=["GET"], response_model=ModelList, responses=errors())
    app.add_api_route("/v1/models/{name:path}", service.model, methods=["GET"], response_model=ModelCard,
                      responses=errors(400, 404))
    app.add_api_route("/health", service.health, methods=["GET"], response_model=Health, responses=errors())
    app.add_api_route("/metrics", service.metrics_text, methods=["GET"], response_class=Response,
                      responses=errors() | {200: METRICS})
    return app


class _Documented(FastAPI):
    """Its document leaves out the status 422 that FastAPI puts there by itself: `_validation_error` says 400."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        for operations in document["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(name, None)
        return document


class _Service:
    """One engine behind one queue."""

    def __init__(self, engine: Engine, settings: ServerSettings, correcting: Correcting | None = None) -> None:
        self.engine, self.settings, self.correcting = engine, settings, correcting
        self.queue = FairQueue(settings.max_running, settings.max_waiting)
        self.pictures, self.viewing = Pictures(settings), Viewing(engine, settings)
        self.metrics = Metrics(self.queue)
        self.started = int(time.time())

    async def chat(self, asked: ChatRequest, request: Request) -> Response:
        """A reply, whole or streamed; nothing is done for a caller who has left, whatever it waited for."""
        answer = asyncio.create_task(self._counted(asked, caller_of(request, self.settings)))
        gone = asyncio.create_task(_gone(request))
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            return Response(status_code=499)
        finally:
            gone.cancel()
            answer.cancel()

    async def _counted(self, asked: ChatRequest, caller: str) -> Response:
        """The answer; one that never begins is counted here, the others where they end."""
        try:
            return await self._answer(asked, caller)
        except (asyncio.CancelledError, Exception) as error:
            self.metrics.broken_off(error)
            raise

    async def _answer(self, asked: ChatRequest, caller: str) -> Response:
        if asked.model != self.engine.card.name:
            raise ApiError(404, f"There is no model `{asked.model}`; this server has `{self.engine.card.name}`.",
                           "model_not_found", "model")
        begun = time.perf_counter()
        check_size(asked.messages, self.engine.card)
        sampling = asked.sampling(self.settings.max_new_tokens)
        conversation = await asyncio.to_thread(asked.conversation, self.settings.allow_remote_pictures)
        conversation = await self.pictures.fetched(conversation, caller)
        corrected = self._corrected(asked, conversation)
        view = await viewed(self.viewing, conversation, caller)
        await self.queue.enter(caller)  # and the place is free when the engine is, not when the caller leaves
        reply = stream_reply(self.engine, view.conversation, sampling, self.settings.reply_timeout_s, self.queue.leave)
        async with AsyncExitStack() as stack:
            deltas = await stack.enter_async_context(aclosing(reply))
            limited = self._limited(self.metrics.timed(deltas, begun), asked)
            if corrected is not None:
                limited = corrected.of(limited)
            first = await anext(limited)  # whatever is wrong with the request shows here, before anything is sent
            chunks = Chunks(self.engine.card.name, sampling.logprobs is not None)
            if asked.stream:
                wants_usage = asked.stream_options is not None and asked.stream_options.include_usage
                events = self._events(chunks, first, limited, view, wants_usage, corrected)
                return EventStream(events, stack.pop_all(), self.settings.reply_timeout_s)
            whole = Reply.of([first, *[delta async for delta in limited]])
            self.metrics.answered(whole)
            report = corrected.report if corrected else None
            return JSONResponse(chunks.whole(whole, usage_of(whole, view), report))

    def _corrected(self, asked: ChatRequest, conversation: Conversation) -> CorrectedReply | None:
        """What corrects the reply, where that is asked for. Raises ApiError when nothing does."""
        if not asked.correct:
            return None
        if self.correcting is None:
            raise unsupported("correct", "this server does not correct.")
        picture = conversation.last_picture
        if picture is None:
            what = "correct: no picture has been shown, or a video after it."
            raise ApiError(400, what, "invalid_request", "correct")
        return CorrectedReply(self.correcting, picture, conversation.messages[-1].text, self.settings.reply_timeout_s)

    async def _events(
        self,
        chunks: Chunks,
        first: Delta,
        deltas: AsyncIterator[Delta],
        view: View,
        wants_usage: bool,
        corrected: CorrectedReply | None,
    ) -> AsyncGenerator[str, None]:
        """The chunks in their order. What goes wrong in the middle is the last one."""
        yield chunks.first()
        last = first
        try:
            if first.text or first.logprobs:
                yield chunks.piece(first)
            async for last in deltas:
                if last.text or last.logprobs:
                    yield chunks.piece(last)
        except (asyncio.CancelledError, GeneratorExit) as error:
            self.metrics.broken_off(error)
            raise
        except Exception as error:  # noqa: BLE001 (the caller hears of it here or not at all)
            self.metrics.broken_off(error)
            yield event(_told(error).body)
            return
        yield chunks.last(last.finish or "stop", corrected.report if corrected else None)
        if wants_usage:
            yield chunks.usage(usage_of(last, view))
        yield "data: [DONE]\n\n"
        self.metrics.answered(last)

    async def _limited(self, deltas: AsyncIterator[Delta], asked: ChatRequest) -> AsyncIterator[Delta]:
        """The deltas; a reply that takes too long is an error, and what the engine refuses is the caller's."""
        try:
            async for delta in deltas:
                yield delta
        except TimeoutError:
            what = f"The reply took longer than {self.settings.reply_timeout_s:g} s (reply_timeout_s)."
            raise ApiError(504, what, "reply_timeout") from None
        except SensoriumError as error:
            raise asked.refusal(error) from error

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


def _told(error: Exception) -> ApiError:
    """What the caller may know of an error; the rest is for the log."""
    if isinstance(error, ApiError):
        return error
    log.error("a reply broke off", exc_info=error)
    return ApiError(500, "The server failed at this request.", "server_error")


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


async def _server_error(_: Request, error: Exception) -> Response:  # which the server then writes into its log
    return JSONResponse(ApiError(500, "The server failed at this request.", "server_error").body, 500)
