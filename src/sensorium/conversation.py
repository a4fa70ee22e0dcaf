"""What is said: the one type that every floor of the house speaks.

A `Conversation` is a frozen tuple of messages, a message a role and a tuple of parts, a part text or a medium. JSON in
and out is the content-parts form shared by the OpenAI API and Hugging Face chat templates; what was read is written
back byte for byte (`from_json` then `to_json`, keys in their order), so datasets can pass through Sensorium without a
diff.

Media parts hold a *source* (a path, a `data:` URL, bytes), not pixels: a conversation of a thousand pictures costs
nothing until `media` opens them. Text is only text: `<image>` typed by a user is seven characters, never a picture.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sensorium.errors import SensoriumError, did_you_mean

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")


@dataclass(frozen=True)
class Text:
    """Words. Never parsed for marks: special tokens come from the renderer alone."""

    text: str
    # How the JSON was written, for the round trip; says nothing about what is said.
    text_first: bool = field(default=False, compare=False, repr=False)


@dataclass(frozen=True)
class Medium:
    """A picture, clip or recording, by source; opened lazily in `sensorium.media`.

    source: a path, a `data:` URL, an http(s) URL, or the encoded bytes themselves.
    extra: what else the JSON part said (for example OpenAI's `detail`), kept for the round trip.
    """

    source: str | bytes
    extra: tuple[tuple[str, Any], ...] = field(default=(), compare=True)

    @property
    def digest(self) -> str:
        """sha256 of the encoded bytes: the same picture has one digest whatever its path. Reads the file."""
        return _sha256(self.source)


@dataclass(frozen=True)
class Image(Medium):
    """A still picture."""


@dataclass(frozen=True)
class Video(Medium):
    """A clip with pictures over time, and how its frames are chosen: see `sensorium.media.sampling`.

    frames: at most so many, None for the sampling's own number. sampling: `uniform`, `fps:0.5`, `scenes`, `subtitles`,
    `difference`. subtitles: a source of theirs, whose lines are said at the frames' times. timestamps: whether each
    frame's time is said before it.
    """

    frames: int | None = None
    sampling: str = "uniform"
    subtitles: str | bytes | None = None
    timestamps: bool = True

    @property
    def digest(self) -> str:
        """Of all that decides what is seen: the bytes, the subtitles, and how frames are chosen. Reads the files."""
        chosen = (self.frames, self.sampling, self.timestamps)
        subtitles = "" if self.subtitles is None else _sha256(self.subtitles)
        return hashlib.sha256(f"{_sha256(self.source)} {subtitles} {chosen}".encode()).hexdigest()


@dataclass(frozen=True)
class Audio(Medium):
    """A recording."""


Part = Text | Image | Video | Audio


@dataclass(frozen=True)
class Message:
    """One turn. `plain` remembers that the JSON content was a bare string, not a list of parts."""

    role: Role
    parts: tuple[Part, ...]
    plain: bool = False
    content_first: bool = field(default=False, compare=False, repr=False)

    @property
    def text(self) -> str:
        """The words of the turn, media left out."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def images(self) -> tuple[Image, ...]:
        return tuple(part for part in self.parts if isinstance(part, Image))


def user(*parts: Part | str) -> Message:
    """A user's turn from parts; strings become text."""
    return Message("user", tuple(Text(part) if isinstance(part, str) else part for part in parts))


def assistant(text: str) -> Message:
    """A reply."""
    return Message("assistant", (Text(text),))


def system(text: str) -> Message:
    """Standing instructions; must come first."""
    return Message("system", (Text(text),))


@dataclass(frozen=True)
class Conversation:
    """Turns in order. A system message only first; at least one turn.

    Raises SensoriumError when that does not hold.
    """

    messages: tuple[Message, ...]

    def __post_init__(self) -> None:
        if not self.messages:
            raise SensoriumError("conversation", "has no messages; at least one is needed.")
        for index, message in enumerate(self.messages[1:], start=1):
            if message.role == "system":
                raise SensoriumError(f"messages[{index}]", "a system message may only come first.")

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)

    def __add__(self, message: Message) -> Conversation:
        """This conversation and one more turn."""
        return Conversation((*self.messages, message))

    @property
    def images(self) -> tuple[Image, ...]:
        """All pictures, in the order in which they are shown."""
        return tuple(image for message in self.messages for image in message.images)

    @property
    def last_picture(self) -> Image | None:
        """The picture that a reply's boxes and claims are about: the one shown last. None where a video was shown after
        it: nobody knows which of its frames they mean."""
        media = [part for message in self.messages for part in message.parts if isinstance(part, Image | Video)]
        return media[-1] if media and isinstance(media[-1], Image) else None

    @classmethod
    def from_json(cls, messages: Any, where: str = "conversation") -> Conversation:
        """From a list of `{"role", "content"}` objects, or from a JSON string of one.

        content: a string, or a list of parts: `{"type": "text", "text"}`, `{"type": "image_url", "image_url": {"url"}}`
        (OpenAI), `{"type": "image", "image" | "url" | "path"}` (Hugging Face); likewise video and audio.
        A video's part may also say `frames`, `sampling`, `subtitles` and `timestamps`, see `Video`.
        Raises SensoriumError naming the message and part at fault.
        """
        if isinstance(messages, str):
            try:
                messages = json.loads(messages)
            except (ValueError, RecursionError) as error:  # beside syntax: numbers too long, brackets too deep
                raise SensoriumError(where, f"is not JSON ({error}).") from error
        if isinstance(messages, Mapping) and "messages" in messages:
            messages = messages["messages"]
        if not isinstance(messages, list):
            raise SensoriumError(where, "expected a list of messages.", 'Write [{"role": "user", "content": "…"}].')
        read = tuple(_message(item, f"{where}.messages[{i}]") for i, item in enumerate(messages))
        try:
            return cls(read)
        except SensoriumError as error:  # which says where in the conversation, not in which
            place = where if error.where == "conversation" else f"{where}.{error.where}"
            raise SensoriumError(place, error.what, error.remedy) from error

    def to_json(self) -> list[dict[str, Any]]:
        """The content-parts form; bytes become base64 `data:` URLs."""
        written = []
        for m in self.messages:
            item = {"role": m.role, "content": m.text if m.plain else [_part_to_json(part) for part in m.parts]}
            written.append(dict(reversed(item.items())) if m.content_first else item)
        return written


def _message(item: Any, where: str) -> Message:
    if not isinstance(item, Mapping):
        raise SensoriumError(where, "expected an object with `role` and `content`.")
    if unknown := set(item) - {"role", "content"}:
        name = min(map(str, unknown))
        raise SensoriumError(where, f"unknown key `{name}`.", did_you_mean(name, ["role", "content"]))
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        raise SensoriumError(where, f"unknown role {role!r}.", did_you_mean(str(role), ROLES))
    content_first = next(iter(item)) == "content"
    if isinstance(content, str):
        return Message(role, (Text(content),), True, content_first)
    if not isinstance(content, list):
        raise SensoriumError(where, "`content` must be a string or a list of parts.")
    parts = tuple(_part(part, f"{where}.content[{i}]") for i, part in enumerate(content))
    return Message(role, parts, False, content_first)


# The JSON spellings of a medium: type -> (our class, keys that may hold the source). The first key is OpenAI's.
_MEDIA: dict[str, tuple[type[Image] | type[Video] | type[Audio], tuple[str, ...]]] = {
    "image_url": (Image, ("image_url",)),
    "image": (Image, ("image", "url", "path", "base64")),
    "video_url": (Video, ("video_url",)),
    "video": (Video, ("video", "url", "path", "base64")),
    "audio_url": (Audio, ("audio_url",)),
    "audio": (Audio, ("audio", "url", "path", "base64")),
    "input_audio": (Audio, ("input_audio",)),
}
# Where the JSON holds bare base64; we give it the head of a `data:` URL, or it could not be told from a path.
_BARE = ("base64", "input_audio.data")
_BARE_HEAD = "data:application/octet-stream;base64,"


def _part(item: Any, where: str) -> Part:
    if isinstance(item, str):
        raise SensoriumError(where, "a part must be an object.", 'Write {"type": "text", "text": "…"}.')
    if not isinstance(item, Mapping) or not isinstance(item.get("type"), str):
        raise SensoriumError(where, "a part must be an object with a `type`.")
    kind = item["type"]
    if kind == "text":
        if not isinstance(item.get("text"), str) or set(item) != {"type", "text"}:
            raise SensoriumError(where, "a text part has exactly `type` and `text`, a string.")
        return Text(item["text"], text_first=next(iter(item)) == "text")
    if kind not in _MEDIA:
        raise SensoriumError(where, f"unknown part type {kind!r}.", did_you_mean(kind, ["text", *_MEDIA]))
    cls, keys = _MEDIA[kind]
    key = next((k for k in keys if item.get(k) is not None), None)  # tables write null for what is not there
    if key is None:
        raise SensoriumError(where, f"a part of type {kind!r} needs `{keys[0]}`.")
    value, path_of_source = item[key], key
    if isinstance(value, Mapping):
        inner = "data" if kind == "input_audio" else "url"
        value, path_of_source = value.get(inner), f"{key}.{inner}"
    if not isinstance(value, str) or not value:
        raise SensoriumError(where, f"`{path_of_source}` must be a non-empty string.")
    # `extra` holds the whole part with the source left out, keys in their order, so that writing repeats reading.
    shape = json.dumps(_without_source(item, path_of_source), ensure_ascii=False)
    extra: tuple[tuple[str, Any], ...] = (("json", shape), ("at", path_of_source))
    if path_of_source in _BARE and not value.startswith("data:"):
        value, extra = _BARE_HEAD + value, (*extra, ("bare", True))
    return Video(value, extra, **_choices(item, where)) if cls is Video else cls(value, extra)


# How a video's frames are chosen, in our words and in those of Qwen's and vLLM's clients.
_CHOICES: dict[str, tuple[str, type]] = {
    "frames": ("frames", int), "nframes": ("frames", int), "num_frames": ("frames", int), "max_frames": ("frames", int),
    "sampling": ("sampling", str), "subtitles": ("subtitles", str), "timestamps": ("timestamps", bool),
}  # fmt: skip
_KINDS = {int: "a whole number", str: "a string", bool: "true or false"}
_DEFAULTS = {"frames": None, "sampling": "uniform", "subtitles": None, "timestamps": True}


def _choices(item: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of a Video that its JSON part sets. Raises SensoriumError for values of another kind."""
    found: dict[str, Any] = {}
    if (fps := item.get("fps")) is not None:
        if isinstance(fps, bool) or not isinstance(fps, int | float):
            raise SensoriumError(where, "`fps` must be a number.")
        found["sampling"] = f"fps:{fps:g}"
    for key, (name, kind) in _CHOICES.items():
        value = item.get(key)
        if value is None:
            continue
        if type(value) is not kind:
            raise SensoriumError(where, f"`{key}` must be {_KINDS[kind]}.")
        found[name] = value
    return found


def _with_choices(item: dict[str, Any], video: Video) -> dict[str, Any]:
    """The JSON part with the video's choices, where these are not what it says already."""
    subtitles = video.subtitles
    if isinstance(subtitles, bytes):
        subtitles = f"data:text/plain;base64,{base64.b64encode(subtitles).decode()}"
    wanted = {"frames": video.frames, "sampling": video.sampling, "subtitles": subtitles,
              "timestamps": video.timestamps}  # fmt: skip
    if _DEFAULTS | _choices(item, "video") == wanted:
        return item
    kept = {key: value for key, value in item.items() if key not in (*_CHOICES, "fps")}
    return kept | {key: value for key, value in wanted.items() if value != _DEFAULTS[key]}


def _without_source(item: Mapping[str, Any], path: str) -> dict[str, Any]:
    head, _, rest = path.partition(".")
    return {k: (None if not rest else _without_source(v, rest)) if k == head else v for k, v in item.items()}


def _part_to_json(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"text": part.text, "type": "text"} if part.text_first else {"type": "text", "text": part.text}
    source = part.source
    kind = type(part).__name__.lower()
    if isinstance(source, bytes):
        source = f"data:{_media_type(source)};base64,{base64.b64encode(source).decode()}"
    extra = dict(part.extra)
    if "json" not in extra:
        item = {"type": f"{kind}_url", f"{kind}_url": {"url": source}}
        return _with_choices(item, part) if isinstance(part, Video) else item
    if "bare" in extra:
        source = source.partition(",")[2]
    item = json.loads(extra["json"])
    head, _, rest = extra["at"].partition(".")
    if rest:
        item[head][rest] = source
    else:
        item[head] = source
    return _with_choices(item, part) if isinstance(part, Video) else item


def _media_type(data: bytes) -> str:
    """The MIME type of encoded bytes by their first bytes; the octet stream when unknown."""
    if data[:4] == b"RIFF":  # one container, several contents
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(data[8:12], "application/octet-stream")
    if data[4:8] == b"ftyp":
        return "video/mp4"
    signatures = {
        b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"\x1aE\xdf\xa3": "video/webm",
    }  # fmt: skip
    return next((kind for magic, kind in signatures.items() if data.startswith(magic)), "application/octet-stream")


def _sha256(source: str | bytes) -> str:
    """Of what a source holds, read piece by piece. Raises SensoriumError when it cannot be read."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    if source.startswith("data:"):
        return hashlib.sha256(decode_data_url(source)).hexdigest()
    try:
        with Path(source).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise SensoriumError(source, f"cannot be read ({getattr(error, 'strerror', error)}).") from error


def decode_data_url(url: str) -> bytes:
    """The bytes of a base64 `data:` URL. Raises SensoriumError when it is malformed."""
    head, comma, body = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise SensoriumError(url[:40] + "…", "is not a base64 data URL.", "Write data:image/png;base64,….")
    try:
        return base64.b64decode("".join(body.split()), validate=True)  # some writers break the lines
    except ValueError as error:
        raise SensoriumError(url[:40] + "…", f"its base64 is damaged ({error}).") from error
