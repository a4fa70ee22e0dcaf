"""The page joined to the API's application: one process, one port, one queue."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from sensorium.serving.correcting import Correcting
from sensorium.serving.metrics import Metrics
from sensorium.serving.page.answering import Desk
from sensorium.serving.page.engines import EngineChoice
from sensorium.serving.page.events import MOST_TALKS
from sensorium.serving.page.gate import Gate
from sensorium.serving.page.layout import I18N, build_page
from sensorium.serving.page.look import CSS, FAVICON, ON_LOAD, THEME
from sensorium.serving.page.quiet_gradio import FOLDER, gradio
from sensorium.serving.page.sign_in import PATH, SignIn, sign_in
from sensorium.serving.queue import FairQueue
from sensorium.serving.settings import ServerSettings
from sensorium.serving.viewing import Viewing

MOST_BYTES = 2 * 10**9  # of what is kept for the page, all visitors together


def mount_page(
    app: FastAPI, engines: EngineChoice, queue: FairQueue, viewing: Viewing, metrics: Metrics, settings: ServerSettings,
    correcting: Correcting | None = None,
) -> None:  # fmt: skip
    """Serve the page at `/` of the API's application. To be called before the guard is added, which stands outside.

    With keys, `SignIn` must stand outside of the guard as well: see `let_in`.
    """
    blocks = build_page(Desk(engines, queue, viewing, metrics, settings, correcting))
    blocks.queue(default_concurrency_limit=None, api_open=False)
    blocks.state_session_capacity = MOST_TALKS
    page = gradio.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None), blocks, "/", allowed_paths=[], footer_links=[],
        run_history=False, ssr_mode=False, mcp_server=False, enable_monitoring=False, pwa=False, show_error=False,
        max_file_size=int(settings.max_body_mb * 1e6), i18n=I18N, theme=THEME, css_paths=CSS, js=ON_LOAD,
        favicon_path=str(FAVICON),
    )  # fmt: skip
    blocks.has_launched = True  # a mounted page never is, and Gradio then does not check whose files an event names
    _live_together(app, page)
    app.add_middleware(Gate, page=page, folder=FOLDER, most_bytes=MOST_BYTES)


def let_in(app: FastAPI, settings: ServerSettings) -> None:
    """With keys: a form at `/` and what remembers that it was filled in. To be called after the guard is added."""
    if settings.keys:
        app.add_api_route(PATH, sign_in, methods=["POST"], include_in_schema=False)
        app.add_middleware(SignIn, keys=settings.keys)


def _live_together(app: FastAPI, page: FastAPI) -> None:
    """The page starts and ends with the application: what it does then is not part of a request."""
    before = app.router.lifespan_context

    @asynccontextmanager
    async def both(running: Any) -> Any:
        async with before(running) as state, page.router.lifespan_context(page):
            yield state

    app.router.lifespan_context = both
