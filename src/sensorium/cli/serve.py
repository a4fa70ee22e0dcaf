"""`sensorium serve`: a model behind a web page and an HTTP API that OpenAI's clients speak."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import webbrowser
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sensorium.cli.terminal import Preparation, note
from sensorium.engine.names import RUN_BY, find_model
from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from sensorium.engine import Engine
    from sensorium.serving.correcting import Correcting
    from sensorium.serving.page.engines import EngineChoice


def serve(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="`default`, a model folder, a hub id, or a server's address: http://HOST/v1#MODEL.")
    ] = "default",
    host: Annotated[str, typer.Option(help="0.0.0.0: the whole network may ask; give --key then.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    engine: Annotated[
        str, typer.Option(metavar="auto|llamacpp|torch|transformers|remote",
                     help="What computes; auto: what runs the model, and of ours llamacpp where it can, else torch."),
    ] = "auto",
    api_key: Annotated[
        str | None, typer.Option(envvar="OPENAI_API_KEY", show_default=False, help="Of the server, for an address.")
    ] = None,
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
    remote_pictures: Annotated[
        bool, typer.Option("--remote-pictures", help="Fetch pictures by their web address, from public machines only.")
    ] = False,
    picture_host: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Fetch them only from here and below; repeatable.")
    ] = None,
    allow_origin: Annotated[list[str] | None, typer.Option(help="Another site's web page may ask; repeatable.")] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="A name by which this machine's server is asked as well.")
    ] = None,
    correct: Annotated[
        bool, typer.Option(help="Correct answers where a caller or visitor asks for it; needs `[correct]`.")
    ] = True,
    verifier: Annotated[
        list[str] | None, typer.Option(help="Who looks then: detector, colour, text, open_vocabulary, asked.")
    ] = None,
    page: Annotated[bool, typer.Option(help="The web page, at `/`.")] = True,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Show the page in the browser, on a desktop.")
    ] = True,
) -> None:
    """Serve a model: a web page to talk with it, and an HTTP API for OpenAI's clients.

    The page is at http://127.0.0.1:8000/ and needs no other machine. The API:
    POST /v1/chat/completions with text and pictures (as data URLs), whole or streamed, corrected where "correct" is
    true; POST /v1/corrections with a picture and what is said about it; GET /v1/models, /health, and /metrics for
    Prometheus. Nothing is read from this machine's disk on behalf of a request, nor fetched from elsewhere
    unless --remote-pictures says so. Ctrl-C ends it when running replies are finished; a second Ctrl-C at once.

    \b
    Examples:
      sensorium serve
      sensorium serve runs/mine --port 9000 --key "$KEY" --no-page
      curl http://127.0.0.1:8000/v1/models
    """
    try:
        from sensorium.serving import ServerSettings, create_server

        if page:
            import sensorium.serving.page.mount  # noqa: F401 (now, before the model takes its time)
    except ModuleNotFoundError as error:
        raise SensoriumError("sensorium serve", f"needs the package {error.name}.",
                             "Install it: pip install 'sensorium[serve]'.") from error
    from sensorium.engine.loading import load_engine

    find_model(model)
    experts = _experts(verifier, correct)
    keys = tuple(one for given in key or [] for one in given.split() if one)
    with Preparation() as preparation:
        loaded = load_engine(  # it checks the names
            model, preparation, engine=engine, quantization=quantization,  # type: ignore[arg-type]
            slots=max_running, context_length=context_length, api_key=api_key,
        )
    sock = _listening(host, port)
    number, taken = sock.getsockname()[:2]
    is_local = ip_address(number).is_loopback
    settings = ServerSettings(
        keys=keys, max_body_mb=max_body_mb, max_running=max_running, max_waiting=max_waiting,
        reply_timeout_s=reply_timeout_s, max_new_tokens=max_new_tokens, allow_origins=tuple(allow_origin or ()),
        allow_remote_pictures=remote_pictures or bool(picture_host), picture_hosts=tuple(picture_host or ()),
        allow_hosts=("localhost", number, *map(str.lower, (host, *(allow_host or ())))) if is_local else (),
        page=page,
    )
    address = f"http://{_in_address(host)}:{taken}"
    places = f"{address}/ and to programs at {address}/v1" if page else f"{address}/v1"
    note(f"Serving {Path(model).name or model} at {places} (Ctrl-C ends it).")
    if not is_local and not keys:
        note("Anybody who reaches this machine may ask; --key KEY lets in only who knows the key.")
    choice = _choice(loaded, model, quantization, max_running, context_length)
    server = create_server(loaded, settings, choice, _correcting(experts, loaded))
    if page and open_page and _on_a_desktop():
        webbrowser.open(f"http://{_reachable(host)}:{taken}/")  # the socket listens: the browser waits
    # Asked to end in either way, it finishes the running replies and then raises the signal again, for us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[sock])


def _experts(named: list[str] | None, wanted: bool) -> tuple[str, ...]:
    """Who looks at pictures where correction is asked for; without the packages for it, nobody unless they are named.

    Raises SensoriumError for unknown names.
    """
    from sensorium.correction.loading import EXPERTS, can_correct, check_verifiers

    check_verifiers(named or ())
    if not wanted or not (named or can_correct()):
        return ()
    return tuple(named or EXPERTS)


def _correcting(experts: tuple[str, ...], engine: Engine) -> Correcting | None:
    """Loaded when correction is first asked for."""
    if not experts:
        return None
    from sensorium.correction import Setting
    from sensorium.correction.loading import load_corrector
    from sensorium.serving.correcting import Correcting

    return Correcting(lambda: load_corrector(experts, Setting(engine=engine)))


def _choice(loaded: Engine, model: str, quantization: str, slots: int, context_length: int) -> EngineChoice:
    """The engine that is loaded, and the other one that can run the model, where there is one."""
    from sensorium.engine.llamacpp.engine import LlamaCppEngine
    from sensorium.engine.loading import load_engine
    from sensorium.serving.page.engines import EngineChoice, Loader

    def loader(name: str) -> Loader:
        return lambda progress: load_engine(
            model, progress, engine=name, quantization=quantization,  # type: ignore[arg-type]
            slots=slots, context_length=context_length,
        )

    able = RUN_BY[find_model(model).kind]
    name = able[0] if len(able) == 1 else "llamacpp" if isinstance(loaded, LlamaCppEngine) else "torch"
    return EngineChoice(name, loaded, {other: loader(other) for other in able if other != name})


def _on_a_desktop() -> bool:
    """Whether a person sits before a screen here: a terminal, and a display of this machine."""
    if not sys.stderr.isatty() or "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))


def _reachable(host: str) -> str:
    """An address of that host for a browser on this machine."""
    return _in_address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host))


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises SensoriumError when the port is taken or the address is not ours."""
    where, remedy = f"{_in_address(host)}:{port}", "Choose an address of this machine as --host."
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError) as error:  # ValueError: a name that no name server could have
        raise SensoriumError(where, f"is no address ({getattr(error, 'strerror', error)}).", remedy) from error
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
        sock.listen(128)  # from now on nobody is turned away, though the server needs a moment more
    except OSError as error:
        sock.close()
        if error.errno != errno.EADDRNOTAVAIL:
            remedy = "Choose another --port."
        raise SensoriumError(where, f"cannot be served at ({error.strerror}).", remedy) from error
    return sock
