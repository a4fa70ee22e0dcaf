"""What a browser may ask of the page's part of the server; all else goes on to the API, as if there were no page.

Gradio brings dozens of routes: for files, addresses to fetch, generated code, monitoring. The page needs a handful,
and only these are let through. A file may be named only where the name is one of the page's own folder: an address,
or a path of this machine, in a handmade event is refused before Gradio sees it.
"""

from __future__ import annotations

import contextlib
import json
import re
import stat
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse

from sensorium.serving.errors import ApiError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

EXAMPLES_FOLDER = "examples"  # in the page's folder; its files stay as long as the server runs
KEPT_S = 24 * 3600.0  # how long other files stay

_FILE = "/gradio_api/file="
_ASSETS = ("/assets/", "/static/")  # of Gradio's own package
_GET = re.compile(r"/|/theme\.css|/favicon\.ico|/gradio_api/(?:upload_progress|queue/data|app_id)")
_POST = re.compile(r"/gradio_api/(?:upload|queue/join)/?")
_EVENTS = re.compile(r"/gradio_api/queue/join/?")
_UPLOAD = re.compile(r"/gradio_api/upload/?")

# What the page loads, it loads from here; a text that smuggles in an address reaches nobody.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-src 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
    "x-dns-prefetch-control": "off",
}


class Gate:
    """ASGI middleware: the page's requests to `page`, the others to `app`.

    folder: the one from which files are shown; most_bytes: that it may hold before uploads are refused.
    """

    def __init__(self, app: Any, page: Any, folder: Path, most_bytes: int) -> None:
        self.app, self.page, self.folder, self.most_bytes = app, page, folder, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_of_page(scope["method"], scope["path"]):
            await self.app(scope, receive, send)
            return
        try:
            receive = await self._checked(scope["path"], receive)
        except ApiError as error:
            await JSONResponse(error.body, error.status)(scope, receive, send)
            return
        await self.page(scope, receive, _with_headers(send))

    async def _checked(self, path: str, receive: Receive) -> Receive:
        """What Gradio may receive. Raises ApiError."""
        if path.startswith(_FILE) and not self._is_ours(path.removeprefix(_FILE)):
            raise ApiError(403, "This file is not one of the page's.", "forbidden")
        if _UPLOAD.fullmatch(path) and _tidied(self.folder) > self.most_bytes:
            raise ApiError(507, "The server holds as much as it may; try again later.", "no_room")
        return await self._checked_event(receive) if _EVENTS.fullmatch(path) else receive

    async def _checked_event(self, receive: Receive) -> Receive:
        """Read the event whole (the guard has limited its size) and refuse one that names a file that is not ours."""
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        try:
            event = json.loads(body)
        except (ValueError, RecursionError):
            raise ApiError(400, "This is not an event of the page.", "invalid_request") from None
        for name in _paths(event):
            if not isinstance(name, str) or not self._is_ours(name):
                what = "Pictures and videos must be uploaded; paths and addresses are not opened."
                raise ApiError(400, what, "invalid_request")
        parts = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> MutableMapping[str, Any]:
            return parts.pop() if parts else await receive()

        return replay

    def _is_ours(self, name: str) -> bool:
        """Whether the name is of a file inside the folder, links followed."""
        if "\0" in name or "://" in name:
            return False
        try:
            path = Path(name).resolve()
            return path.is_relative_to(self.folder) and path.is_file()
        except OSError:  # too long a name, a loop of links
            return False


def is_of_page(method: str, path: str) -> bool:
    """Whether a request is one that the page makes."""
    if method in ("GET", "HEAD"):
        return bool(_GET.fullmatch(path)) or path.startswith((_FILE, *_ASSETS))
    return method == "POST" and bool(_POST.fullmatch(path))


def _paths(value: Any) -> Iterator[Any]:
    """Every `path` in a JSON value, at any depth; not recursive, so that no depth is too deep."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "path" in value:
                yield value["path"]
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _tidied(folder: Path) -> int:
    """Remove the files that are past their time; the bytes that remain."""
    n_bytes, oldest = 0, time.time() - KEPT_S
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # another request tidies as well
            state = path.stat()
            if stat.S_ISREG(state.st_mode):
                if state.st_mtime < oldest and path.parent.name != EXAMPLES_FOLDER:
                    path.unlink()
                else:
                    n_bytes += state.st_size
    return n_bytes


def _with_headers(send: Send) -> Send:
    extra = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await send(message)

    return sending
