"""Before anything reads a request: is it meant for us, with a key, is its body small enough, does it come in time?"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from sensorium.serving.errors import ApiError
from sensorium.serving.settings import ServerSettings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
OPEN = ("/health",)  # asked by machines that watch, which have no key


class Guard:
    """ASGI middleware. A body is read here, whole, under limits of size and time, before the app sees the request."""

    def __init__(self, app: Any, settings: ServerSettings) -> None:
        self.app, self.settings = app, settings
        self._max_bytes = int(settings.max_body_mb * 1e6)
        self._max_held = max(self._max_bytes, int(settings.max_held_mb * 1e6))
        self._held = 0  # bytes of all bodies that are being read or answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # nothing here speaks it, and it would come in without a key
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body()
        try:
            if await self._is_let_in(scope, receive, send, body):
                await self.app(scope, body.replay(receive), send)
        finally:
            self._held -= body.held

    async def _is_let_in(self, scope: Scope, receive: Receive, send: Send, body: _Body) -> bool:
        """Whether the request may go on, its body read; if not, it has been answered, or the caller is gone."""
        try:
            self._check_host(scope)
            self._check_key(scope)
            return await self._read(scope, receive, body)
        except ApiError as error:
            await _refuse(error, send)
            return False

    def _check_host(self, scope: Scope) -> None:
        asked = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
        name = asked[1:].partition("]")[0] if asked.startswith("[") else asked.partition(":")[0]
        if self.settings.allow_hosts and name not in self.settings.allow_hosts:
            raise ApiError(403, f"This server is not asked as `{name}`; `sensorium serve --allow-host` names others.",
                           "host_not_allowed")

    def _check_key(self, scope: Scope) -> None:
        keys, path = self.settings.keys, scope["path"]
        if not keys or path in OPEN or scope["method"] == "OPTIONS":
            return
        given = dict(scope["headers"]).get(b"authorization", b"")
        kind, _, key = given.partition(b" ")
        # Every key is compared, in a time that does not depend on how much of it is right.
        fits = [hmac.compare_digest(key.strip(), known.encode()) for known in keys]
        if kind.lower() != b"bearer" or not any(fits):
            raise ApiError(401, "This server wants a key: Authorization: Bearer KEY.", "invalid_api_key",
                           headers={"WWW-Authenticate": "Bearer"})

    async def _read(self, scope: Scope, receive: Receive, body: _Body) -> bool:
        """Whether the whole body came before the caller left."""
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and (len(length) > 20 or int(length) > self._max_bytes):
            raise self._too_large()
        try:
            async with asyncio.timeout(self.settings.body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return False
                    self._hold(body, message.get("body", b""))
                    if not message.get("more_body", False):
                        return True
        except TimeoutError:
            what = f"The request's body did not come within {self.settings.body_timeout_s:g} s (body_timeout_s)."
            raise ApiError(408, what, "request_timeout") from None

    def _hold(self, body: _Body, piece: bytes) -> None:
        if body.held + len(piece) > self._max_bytes:
            raise self._too_large()
        if self._held + len(piece) > self._max_held:
            what = f"The requests that are here have {self.settings.max_held_mb:g} MB already (max_held_mb); try again."
            raise ApiError(429, what, "server_busy", headers={"Retry-After": "1"})
        body.data += piece
        body.held += len(piece)
        self._held += len(piece)

    def _too_large(self) -> ApiError:
        what = f"The request is larger than {self.settings.max_body_mb:g} MB (max_body_mb)."
        return ApiError(413, what, "request_too_large")


class _Body:
    """What has been read of a request. held: bytes counted for it, until it is answered."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.held = 0

    def replay(self, receive: Receive) -> Receive:
        """As if it came now, in one piece, once; then what else comes."""
        parts = [{"type": "http.request", "body": bytes(self.data), "more_body": False}]
        self.data.clear()

        async def again() -> MutableMapping[str, Any]:
            return parts.pop() if parts else await receive()

        return again


async def _refuse(error: ApiError, send: Send) -> None:
    body = json.dumps(error.body).encode()
    # The rest of a refused body is not read, so the connection cannot be used again.
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    sent = [(name.lower().encode(), value.encode()) for name, value in (headers | error.headers).items()]
    await send({"type": "http.response.start", "status": error.status, "headers": sent})
    await send({"type": "http.response.body", "body": body})
