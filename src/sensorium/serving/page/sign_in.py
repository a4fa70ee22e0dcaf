"""A page on a server with keys: the key is typed once, and a cookie answers for it from then on.

The guard knows one way in, a bearer key. So the form sends the key as one, to a route that gives out a cookie; and the
page's later requests, to which a browser can add no header, get theirs from the cookie. The cookie holds a code that
only this process can check, never the key; other sites cannot make a browser send it; and the API does not take it.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import json
import secrets
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, Response

from sensorium.serving.page.gate import Receive, Scope, Send, is_of_page
from sensorium.serving.page.words import LANGUAGES, language_of

COOKIE = "sensorium-page"
PATH = "/sign-in"
_FORM = Path(__file__).with_name("sign_in.html")
_SECRET = secrets.token_bytes(32)


class SignIn:
    """ASGI middleware, outside the guard: a page's request with the cookie gets the key; `/` without one, the form."""

    def __init__(self, app: Any, keys: tuple[str, ...]) -> None:
        self.app, self._codes = app, {_code(key): key for key in keys}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_of_page(scope["method"], scope["path"]):
            headers = dict(scope["headers"])
            if b"authorization" not in headers:
                key = self._key(headers.get(b"cookie", b"").decode("latin-1"))
                if key is None and scope["path"] == "/":
                    await _form(headers.get(b"accept-language", b"").decode("latin-1"))(scope, receive, send)
                    return
                if key is not None:
                    scope = {**scope, "headers": [*scope["headers"], (b"authorization", f"Bearer {key}".encode())]}
        await self.app(scope, receive, send)

    def _key(self, cookies: str) -> str | None:
        try:
            given = SimpleCookie(cookies).get(COOKIE)
        except CookieError:
            return None
        fits = [key for code, key in self._codes.items() if given and hmac.compare_digest(code, given.value)]
        return fits[0] if fits else None


async def sign_in(request: Request) -> Response:
    """Who comes as far as this has passed the guard with a key; the cookie remembers which."""
    response = Response(status_code=204)
    key = request.headers["authorization"].partition(" ")[2].strip()
    response.set_cookie(COOKIE, _code(key), httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return response


def _code(key: str) -> str:
    return hmac.new(_SECRET, key.encode(), hashlib.sha256).hexdigest()


def _form(accepted: str) -> HTMLResponse:
    language = language_of(accepted)
    words = LANGUAGES[language]
    page = _FORM.read_text(encoding="utf-8").replace("{language}", "zh-CN" if language == "zh" else "en")
    for name in ("sign_in", "key", "enter"):
        page = page.replace(f"{{{name}}}", html.escape(words[name]))
    page = page.replace("{wrong_key}", json.dumps(words["wrong_key"])).replace("{path}", PATH)
    return HTMLResponse(page, 401, {"content-security-policy": "default-src 'self' 'unsafe-inline'; img-src data:"})
