"""The server: uvicorn's, with a time for a request's first lines to come, and a number of connections at most.

uvicorn waits for ever for the first request of a connection, so that a thousand half-open ones would use up the
process's file descriptors. Here a request whose lines do not come in time is over; and at the limit a new connection
takes the place of the one that has been without a request for longest, so that whoever asks is heard. Only where all
are being answered is it sent away.
"""

from __future__ import annotations

import asyncio
import json
import logging
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sensorium.engine import Engine
from sensorium.serving.app import create_app
from sensorium.serving.correcting import Correcting
from sensorium.serving.errors import ApiError
from sensorium.serving.page.engines import EngineChoice
from sensorium.serving.settings import ServerSettings

MAX_HEADER_BYTES = 64_000


def create_server(
    engine: Engine, settings: ServerSettings | None = None, engines: EngineChoice | None = None,
    correcting: Correcting | None = None,
) -> uvicorn.Server:  # fmt: skip
    """A server that answers with an engine; `run(sockets=[…])` serves at sockets that are bound already.

    engines, correcting: see `create_app`.

    When it is asked to end, running replies are finished first, in the time that a reply has.
    """
    settings = settings or ServerSettings()
    config = uvicorn.Config(
        create_app(engine, settings, engines, correcting), log_level="warning", access_log=False,
        http=_connection_class(settings), ws="none", server_header=False, timeout_keep_alive=30,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        timeout_graceful_shutdown=int(settings.reply_timeout_s) + 30,
    )  # fmt: skip
    return _Server(config)


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self.force_exit:  # a second Ctrl-C: what breaks off now was meant to, and is no error to be shown
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


class _Connection(H11Protocol):
    """settings: of the server, set by `_connection_class`, since uvicorn makes the objects."""

    settings: ServerSettings
    _deadline: asyncio.TimerHandle | None = None
    _quiet_since = 0.0

    @property
    def is_quiet(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete or self.transport.is_closing()

    def connection_made(self, transport: Any) -> None:
        others = [one for one in self.connections if isinstance(one, _Connection)]
        super().connection_made(transport)
        self._quiet_since = self.loop.time()
        self._expect_request()
        if len(others) < self.settings.max_connections:
            return
        quiet = [one for one in others if one.is_quiet]
        if quiet:
            min(quiet, key=lambda one: one._quiet_since).drop()
            return
        what = f"{len(others)} connections are open (max_connections); try again."
        self._say(ApiError(503, what, "server_busy", headers={"Retry-After": "1"}))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._expect_request()
        else:
            self._expect_nothing()

    def on_response_complete(self) -> None:
        self._quiet_since = self.loop.time()
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:  # the next request has begun already
            self._expect_request()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is told so in the shape of all other errors."""
        if self.is_quiet or not self.cycle.response_started:
            self._say(ApiError(400, msg, "invalid_http"))
        self.transport.close()

    def drop(self) -> None:
        """End the connection at once, whatever is still to be sent."""
        self.connections.discard(self)  # the event loop tells of the end only later
        self.transport.abort()

    def _expect_request(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.settings.header_timeout_s, self._too_late)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        if not self.transport.is_closing():
            what = f"No request came within {self.settings.header_timeout_s:g} s (header_timeout_s)."
            self._say(ApiError(408, what, "request_timeout"))
            self.transport.close()

    def _say(self, error: ApiError) -> None:
        """An answer to a connection rather than to a request."""
        body = json.dumps(error.body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        lines = [f"{name}: {value}" for name, value in (headers | error.headers).items()]
        reason = {400: "Bad Request", 408: "Request Timeout", 503: "Service Unavailable"}[error.status]
        self.transport.write("\r\n".join([f"HTTP/1.1 {error.status} {reason}", *lines, "", ""]).encode() + body)


def _connection_class(settings: ServerSettings) -> type[_Connection]:
    return type("Connection", (_Connection,), {"settings": settings})
