"""Before anything reads a request: does it bring a key, is its body small enough, and does it come in time?"""

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._check_key(scope)
            body = await self._body(scope, receive)
        except ApiError as error:
            await _refuse(error, send)
            return
        if body is None:  # the caller is gone
            return
        parts = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> MutableMapping[str, Any]:
            return parts.pop() if parts else await receive()

        await self.app(scope, replay, send)

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

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_bytes:
            raise self._too_large()
        read = bytearray()
        try:
            async with asyncio.timeout(self.settings.body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    read += message.get("body", b"")
                    if len(read) > self._max_bytes:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return bytes(read)
        except TimeoutError:
            what = f"The request's body did not come within {self.settings.body_timeout_s:g} s (body_timeout_s)."
            raise ApiError(408, what, "request_timeout") from None

    def _too_large(self) -> ApiError:
        what = f"The request is larger than {self.settings.max_body_mb:g} MB (max_body_mb)."
        return ApiError(413, what, "request_too_large")


async def _refuse(error: ApiError, send: Send) -> None:
    body = json.dumps(error.body).encode()
    # The rest of a refused body is not read, so the connection cannot be used again.
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    sent = [(name.lower().encode(), value.encode()) for name, value in (headers | error.headers).items()]
    await send({"type": "http.response.start", "status": error.status, "headers": sent})
    await send({"type": "http.response.body", "body": body})
