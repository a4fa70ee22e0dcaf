"""`sensorium serve`: a model behind a web page and an HTTP API that OpenAI's clients speak."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sensorium.cli.terminal import Preparation, note
from sensorium.errors import SensoriumError
from sensorium.model.folder import is_gguf_folder, model_folder

if TYPE_CHECKING:
    from sensorium.engine import Engine
    from sensorium.serving.page.engines import EngineChoice


def serve(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="`default`, or a folder made by `sensorium train` or `export gguf`.")
    ] = "default",
    host: Annotated[str, typer.Option(help="0.0.0.0: the whole network may ask; give --key then.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    engine: Annotated[
        str, typer.Option(metavar="auto|llamacpp|torch", help="What computes; auto: llamacpp where it can, else torch.")
    ] = "auto",
    quantization: Annotated[str, typer.Option(metavar="q8_0|q4_0|f16", help="Of llamacpp's weights.")] = "q8_0",
    key: Annotated[
        list[str] | None, typer.Option(help="Callers must bring this bearer key; repeatable.", envvar="SENSORIUM_KEYS")
    ] = None,
    max_body_mb: Annotated[float, typer.Option(min=0.001, help="Of a request, pictures included.")] = 32,
    max_running: Annotated[int, typer.Option(min=1, help="Requests answered at once.")] = 4,
    max_waiting: Annotated[int, typer.Option(min=0, help="Requests that may wait; others are told to come back.")] = 32,
    context_length: Annotated[int, typer.Option(min=64, help="Tokens of a prompt and its reply (llamacpp).")] = 4096,
    reply_timeout_s: Annotated[float, typer.Option(min=1, help="Of one reply, in seconds.")] = 300,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Of a reply whose request names no limit.")] = 512,
    allow_origin: Annotated[list[str] | None, typer.Option(help="Another site's web page may ask; repeatable.")] = None,
    page: Annotated[bool, typer.Option(help="The web page, at `/`.")] = True,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Show the page in the browser, on a desktop.")
    ] = True,
) -> None:
    """Serve a model: a web page to talk with it, and an HTTP API for OpenAI's clients.

    The page is at http://127.0.0.1:8000/ and needs no other machine. The API:
    POST /v1/chat/completions with text and pictures (as data URLs), whole or streamed; GET /v1/models, /health, and
    /metrics for Prometheus. Pictures are never fetched from elsewhere, nor read from this machine's disk, on behalf of
    a request. Ctrl-C ends it when running replies are finished; a second Ctrl-C at once.

    \b
    Examples:
      sensorium serve
      sensorium serve runs/mine --port 9000 --key "$KEY" --no-page
      curl http://127.0.0.1:8000/v1/models
    """
    try:
        import uvicorn

        from sensorium.serving import ServerSettings, create_app

        if page:
            import sensorium.serving.page.mount  # noqa: F401 (now, before the model takes its time)
    except ModuleNotFoundError as error:
        raise SensoriumError("sensorium serve", f"needs the package {error.name}.",
                             "Install it: pip install 'sensorium[serve]'.") from error
    from sensorium.engine.loading import load_engine

    model_folder(model)
    keys = tuple(one for given in key or [] for one in given.split() if one)
    with Preparation() as preparation:
        loaded = load_engine(  # it checks the names
            model, preparation, engine=engine, quantization=quantization,  # type: ignore[arg-type]
            slots=max_running, context_length=context_length,
        )
    settings = ServerSettings(
        keys=keys, max_body_mb=max_body_mb, max_running=max_running, max_waiting=max_waiting,
        reply_timeout_s=reply_timeout_s, max_new_tokens=max_new_tokens, allow_origins=tuple(allow_origin or ()),
        page=page,
    )
    app = create_app(loaded, settings, _choice(loaded, model, quantization, max_running, context_length))
    sock = _bound(host, port)
    address = f"http://{host}:{sock.getsockname()[1]}"
    places = f"{address}/ and to programs at {address}/v1" if page else f"{address}/v1"
    note(f"Serving {Path(model).name or model} at {places} (Ctrl-C ends it).")
    if host not in ("127.0.0.1", "localhost", "::1") and not keys:
        note("Anybody who reaches this machine may ask; --key KEY lets in only who knows the key.")
    if page and open_page and _on_a_desktop():
        webbrowser.open(f"http://{_reachable(host)}:{sock.getsockname()[1]}/")  # the socket listens: the browser waits
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_keep_alive=30,
                            limit_concurrency=1000, h11_max_incomplete_event_size=64_000, server_header=False)
    uvicorn.Server(config).run(sockets=[sock])


def _choice(loaded: Engine, model: str, quantization: str, slots: int, context_length: int) -> EngineChoice:
    """The engine that is loaded, and the other one where it can run the model."""
    from sensorium.engine.llamacpp.engine import LlamaCppEngine
    from sensorium.engine.loading import load_engine
    from sensorium.serving.page.engines import EngineChoice, Loader

    def loader(name: str) -> Loader:
        return lambda progress: load_engine(
            model, progress, engine=name, quantization=quantization,  # type: ignore[arg-type]
            slots=slots, context_length=context_length,
        )

    name = "llamacpp" if isinstance(loaded, LlamaCppEngine) else "torch"
    others = [] if is_gguf_folder(model_folder(model)) else [other for other in ("llamacpp", "torch") if other != name]
    return EngineChoice(name, loaded, {other: loader(other) for other in others})


def _on_a_desktop() -> bool:
    """Whether a person sits before a screen here: a terminal, and a display of this machine."""
    if not sys.stderr.isatty() or "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))


def _reachable(host: str) -> str:
    """An address of that host for a browser on this machine."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{name}]" if ":" in name else name


def _bound(host: str, port: int):  # type: ignore[no-untyped-def]
    """A socket that listens there. Raises SensoriumError when the port is taken or the address is not ours."""
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except (OSError, OverflowError) as error:
        sock.close()
        raise SensoriumError(f"{host}:{port}", f"cannot be served at ({error}).", "Choose another --port.") from error
    return sock
