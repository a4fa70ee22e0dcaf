"""`sensorium serve`: a model behind a web page and an HTTP API that OpenAI's clients speak."""

from __future__ import annotations

import signal
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sensorium.cli.options import ApiKeyOption, CompressorOption, EngineOption, ModelArgument, VisualTokens
from sensorium.cli.place import Place, is_on_a_desktop, listen
from sensorium.cli.terminal import Preparation, note
from sensorium.engine.names import RUN_BY, find_model
from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from sensorium.engine import Engine
    from sensorium.model.fewer import Fewer
    from sensorium.serving import ServerSettings
    from sensorium.serving.correcting import Correcting
    from sensorium.serving.page.engines import EngineChoice


def serve(
    model: ModelArgument = "default",
    host: Annotated[str, typer.Option(help="0.0.0.0: the whole network may ask; give --key then.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    engine: EngineOption = "auto",
    api_key: ApiKeyOption = None,
    quantization: Annotated[str, typer.Option(metavar="q8_0|q4_0|f16", help="Of llamacpp's weights.")] = "q8_0",
    visual_tokens: VisualTokens = None,
    compressor: CompressorOption = None,
    key: Annotated[
        list[str] | None, typer.Option(help="Callers must bring this bearer key; repeatable.", envvar="SENSORIUM_KEYS")
    ] = None,
    max_body_mb: Annotated[float, typer.Option(min=0.001, help="Of a request, pictures and videos included.")] = 32,
    max_megapixels: Annotated[float, typer.Option(min=0.001, max=100, help="Of one picture.")] = 50,
    max_total_megapixels: Annotated[float, typer.Option(min=0.001, help="Of a request's pictures.")] = 200,
    max_frames: Annotated[
        int, typer.Option(min=1, max=1024, help="Looked at, of all videos of a request together.")
    ] = 64,
    max_pixels: Annotated[int, typer.Option(min=1, help="Of one frame of a video.")] = 2560 * 1440,
    max_seconds: Annotated[float, typer.Option(min=1, help="Of one video.")] = 3600,
    watch_timeout_s: Annotated[float, typer.Option(min=0.1, help="For decoding a request's videos, in seconds.")] = 20,
    max_running: Annotated[int, typer.Option(min=1, help="Requests answered at once.")] = 4,
    max_waiting: Annotated[int, typer.Option(min=0, help="Requests that may wait; others are told to come back.")] = 32,
    context_length: Annotated[int, typer.Option(min=64, help="Tokens of a prompt and its reply (llamacpp).")] = 4096,
    shelf_mb: Annotated[
        float, typer.Option(min=0, help="Memory for pictures and chats that were read and wait for more (llamacpp).")
    ] = 256,
    reply_timeout_s: Annotated[float, typer.Option(min=1, help="Of one reply, in seconds.")] = 300,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Of a reply whose request names no limit.")] = 512,
    remote_pictures: Annotated[
        bool, typer.Option("--remote-pictures", help="Fetch pictures and videos by address, from public machines only.")
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
    POST /v1/chat/completions with text, pictures and videos (as data URLs), whole or streamed, corrected where
    "correct" is true; POST /v1/corrections with a picture and what is said about it; GET /v1/models, /health, and
    /metrics for Prometheus. Nothing is read from this machine's disk on behalf of a request, nor fetched from elsewhere
    unless --remote-pictures says so. Ctrl-C ends it when running replies are finished; a second Ctrl-C at once.

    \b
    Examples:
      sensorium serve
      sensorium serve runs/mine --port 9000 --key "$KEY" --no-page
      curl http://127.0.0.1:8000/v1/models
    """
    _require_packages(page)
    from sensorium.engine.loading import load_engine
    from sensorium.model.fewer import fewer_tokens
    from sensorium.serving import ServerSettings, create_server
    from sensorium.serving.settings import STRANGERS

    find_model(model)  # complains at once
    experts = _experts(verifier, correct)
    load = partial(  # it checks the names
        load_engine, model, quantization=quantization, slots=max_running,  # type: ignore[arg-type]
        context_length=context_length, api_key=api_key, shelf_mb=shelf_mb, visual_tokens=visual_tokens,
        compressor=compressor,
    )  # fmt: skip
    with Preparation() as preparation:
        loaded = load(preparation, engine=engine)  # type: ignore[arg-type]
    place = listen(host, port)
    settings = ServerSettings(
        keys=tuple(one for given in key or [] for one in given.split()), max_body_mb=max_body_mb,
        max_running=max_running, max_waiting=max_waiting, reply_timeout_s=reply_timeout_s,
        max_new_tokens=max_new_tokens, allow_remote_pictures=remote_pictures or bool(picture_host),
        picture_hosts=tuple(picture_host or ()), allow_origins=tuple(allow_origin or ()),
        allow_hosts=_names(place, allow_host or []), page=page, max_megapixels=max_megapixels,
        max_total_megapixels=max_total_megapixels, max_frames=max_frames, watch_timeout_s=watch_timeout_s,
        video=STRANGERS.lasting(max_seconds).model_copy(update={"max_pixels": max_pixels}),
    )  # fmt: skip
    _announce(model, place, settings)
    choice = _choice(loaded, model, load, fewer_tokens(visual_tokens, compressor))
    server = create_server(loaded, settings, choice, _correcting(experts, loaded))
    if page and open_page and is_on_a_desktop():
        webbrowser.open(f"{place.for_browser}/")  # the socket listens: the browser waits
    # Asked to end in either way, it finishes the running replies and then raises the signal again, for us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[place.sock])


def _require_packages(page: bool) -> None:
    """Raises SensoriumError when a package that serving needs is not here: now, before the model takes its time."""
    try:
        import sensorium.serving

        if page:
            import sensorium.serving.page.mount  # noqa: F401
    except ModuleNotFoundError as error:
        raise SensoriumError("sensorium serve", f"needs the package {error.name}.",
                             "Install it: pip install 'sensorium[serve]'.") from error


def _names(place: Place, others: list[str]) -> tuple[str, ...]:
    """By which callers may speak to a server that only this machine reaches; to one of the network, by any."""
    return ("localhost", place.number, *map(str.lower, (place.host, *others))) if place.is_local else ()


def _announce(model: str, place: Place, settings: ServerSettings) -> None:
    address = place.address
    places = f"{address}/ and to programs at {address}/v1" if settings.page else f"{address}/v1"
    note(f"Serving {Path(model).name or model} at {places} (Ctrl-C ends it).")
    if not place.is_local and not settings.keys:
        note("Anybody who reaches this machine may ask; --key KEY lets in only who knows the key.")


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


def _choice(loaded: Engine, model: str, load: Callable[..., Engine], fewer: Fewer | None) -> EngineChoice:
    """The engine that is loaded, and the other one that can run the model and see so, where there is one."""
    from sensorium.engine.llamacpp.engine import LlamaCppEngine
    from sensorium.serving.page.engines import EngineChoice

    able = [name for name in RUN_BY[find_model(model).kind] if fewer is None or name in fewer.engines]
    name = able[0] if len(able) == 1 else "llamacpp" if isinstance(loaded, LlamaCppEngine) else "torch"
    return EngineChoice(name, loaded, {other: partial(load, engine=other) for other in able if other != name})
