"""A video as every model here sees it: pictures with their times between them, as text.

One place turns a `Video` of a conversation into parts that any engine takes, before anything is rendered:
`0:05 Good morning.` and the frame of that time, again and again. The words are those of the subtitles on the screen at
that time, where there are any. What was watched is remembered, so that a second question about it costs no decoding.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from sensorium.conversation import Conversation, Image, Part, Text, Video
from sensorium.errors import SensoriumError
from sensorium.media.images import encode_image
from sensorium.media.sampling import MAX_SIDE, Features, Frame, Plan, Sampled, require_lines, sample_as
from sensorium.media.subtitles import Line, Subtitles, line_at, open_subtitles, read_subtitles
from sensorium.media.video import DEFAULT_LIMITS, Check, VideoInfo, VideoLimits, clock, no_check, shrunk, video_info

REMEMBERED_BYTES = 256 * 2**20
_LOOK_S = 0.1  # between two looks at whether one who waits still wants to
_QUALITY = 95  # of the JPEGs that frames become; what a video's own compression left survives it

_Key = tuple[object, ...]
TokensOf = Callable[[tuple[int, int]], int]  # (width, height) of a picture -> its visual tokens


@dataclass(frozen=True)
class Watched:
    """info: of the video; parts: what a model is shown; times_s: of its frames; remark: what was wrong with the file
    or had to be guessed about its subtitles, "" where nothing was."""

    info: VideoInfo
    parts: tuple[Text | Image, ...]
    times_s: tuple[float, ...]
    remark: str

    @property
    def frames(self) -> tuple[Image, ...]:
        return tuple(part for part in self.parts if isinstance(part, Image))

    @property
    def n_frames(self) -> int:
        return len(self.times_s)

    @property
    def n_bytes(self) -> int:
        return sum(len(frame.source) for frame in self.frames)


class Watcher:
    """Watches videos for one engine, several at once where several threads ask.

    features: of pictures, by the engine's own vision encoder where it has one in hand; see `media.sampling`.
    """

    def __init__(self, features: Features | None = None, limits: VideoLimits = DEFAULT_LIMITS) -> None:
        self.features, self._limits = features, limits
        self._remembered: OrderedDict[_Key, Watched] = OrderedDict()
        self._under_way: dict[_Key, Future[None]] = {}
        self._looking_up = Lock()

    def under(self, limits: VideoLimits) -> Watcher:
        """Another one with the same eyes and other limits, which remembers for itself."""
        return Watcher(self.features, limits)

    def watch(self, video: Video, check: Check = no_check) -> Watched:
        """The video's frames and words. check: called again and again meanwhile; what it raises ends the work.

        Raises SensoriumError when it or its subtitles cannot be opened.
        """
        key = _key(video)
        while True:
            with self._looking_up:
                if key in self._remembered:
                    self._remembered.move_to_end(key)
                    return self._remembered[key]
                others = self._under_way.get(key)
                if others is None:
                    mine = self._under_way[key] = Future()
                    break
            check()
            wait([others], timeout=_LOOK_S)  # another thread decodes the very same; if it gives up, we begin
        try:
            watched = self._watch(video, check)
            with self._looking_up:
                self._remember(key, watched)
            return watched
        finally:
            with self._looking_up:
                del self._under_way[key]
            mine.set_result(None)

    def _watch(self, video: Video, check: Check) -> Watched:
        subtitles = Subtitles(()) if video.subtitles is None else open_subtitles(video.subtitles)
        lines = subtitles.lines
        sampled = sample_as(_encoded, video, Plan.of(video), lines, self.features, MAX_SIDE, self._limits, check)
        times_s = tuple(frame.time_s for frame in sampled.frames)
        remark = "; ".join(filter(None, (sampled.remark, subtitles.remark)))
        return Watched(sampled.info, _parts(sampled, lines, video.timestamps), times_s, remark)

    def expect(self, video: Video, check: Check = no_check) -> tuple[VideoInfo, int]:
        """What the header says, and how many frames will be shown at most, decoding one of them.

        Raises SensoriumError as `watch` does, but for damage behind the first frame.
        """
        require_lines(Plan.of(video), () if video.subtitles is None else read_subtitles(video.subtitles))
        info = video_info(video, self._limits, check)
        return info, Plan.of(video).most(info)

    def shown(
        self,
        conversation: Conversation,
        visual_tokens: int = 0,
        context_length: int = 0,
        tokens_of: TokensOf | None = None,
    ) -> Conversation:
        """The conversation with each video as pictures and text.

        visual_tokens: of one picture; context_length: tokens there is room for; 0 where that is not known. tokens_of:
        what a frame takes, where its size decides that.
        Raises SensoriumError when a video cannot be opened, is not a user's, or has no room beside the other videos and
        pictures; all are looked at for that before the first is decoded.
        """
        videos = [part for message in conversation for part in message.parts if isinstance(part, Video)]
        if not videos:
            return conversation
        if visual_tokens and context_length:
            room = context_length - visual_tokens * len(conversation.images)
            for video in videos:
                info, n_frames = self._expect(video)
                n_tokens = visual_tokens if tokens_of is None else tokens_of(frame_size(info))
                require_room(video, n_frames, n_tokens, room)
                room -= n_frames * n_tokens
        messages = []
        for i, message in enumerate(conversation):
            parts: list[Part] = []
            for part in message.parts:
                if not isinstance(part, Video):
                    parts.append(part)
                    continue
                if message.role != "user":
                    what = f"has a video in a turn of the {message.role}; only users show them."
                    raise SensoriumError(f"messages[{i}]", what)
                parts += self.watch(part).parts
            messages.append(replace(message, parts=tuple(parts)))
        return Conversation(tuple(messages))

    def _expect(self, video: Video) -> tuple[VideoInfo, int]:
        """As `expect`; of a video that was watched, what was seen."""
        with self._looking_up:
            watched = self._remembered.get(_key(video))
        return self.expect(video) if watched is None else (watched.info, watched.n_frames)

    def _remember(self, key: _Key, watched: Watched) -> None:
        self._remembered[key] = watched
        while len(self._remembered) > 1 and sum(one.n_bytes for one in self._remembered.values()) > REMEMBERED_BYTES:
            self._remembered.popitem(last=False)


def frame_size(info: VideoInfo) -> tuple[int, int]:
    """(width, height) of a video's frames as they are shown."""
    return shrunk((info.width, info.height), MAX_SIDE)


def require_room(video: Video, n_frames: int, visual_tokens: int, room: int) -> None:
    """Raises SensoriumError when a video's frames alone take more than so many tokens."""
    if n_frames * visual_tokens > room:
        where = video.source if isinstance(video.source, str) and not video.source.startswith("data:") else "video"
        what = (f"takes {n_frames} frames of {visual_tokens} visual tokens, {n_frames * visual_tokens:,} in all; "
                f"this model has room for {max(0, room):,}.")  # fmt: skip
        # Words need room as well, so one frame less than would fit.
        most, fewer = room // visual_tokens - 1, "fewer visual tokens of each (--visual-tokens)"
        remedy = f"Look at fewer frames: `frames` (--frames) at most {most}; or at {fewer}." if most > 0 else (
            f"Look at {fewer}, or begin a new conversation.")  # fmt: skip
        raise SensoriumError(where, what, remedy)


def _key(video: Video) -> _Key:
    """The same for what is looked at alike. Raises SensoriumError for a sampling that is not known."""
    return _identity(video.source), _identity(video.subtitles), Plan.of(video), video.timestamps


def _identity(source: str | bytes | None) -> object:
    """What tells a source from another one and from itself before it was changed, without reading a file."""
    if source is None:
        return None
    if isinstance(source, bytes) or source.startswith("data:"):
        return hashlib.sha256(source if isinstance(source, bytes) else source.encode()).hexdigest()
    try:
        state = Path(source).stat()
    except (OSError, ValueError):
        return source  # opening it will say what is wrong
    return str(Path(source).absolute()), state.st_size, state.st_mtime_ns


@dataclass(frozen=True)
class _Encoded:
    """A frame as a model is shown it."""

    time_s: float
    image: Image


def _encoded(frame: Frame) -> _Encoded:
    return _Encoded(frame.time_s, Image(encode_image(frame.picture, "JPEG", _QUALITY)))


def _parts(sampled: Sampled[_Encoded], lines: Sequence[Line], with_times: bool) -> tuple[Text | Image, ...]:
    """Before each frame its time and the line that is said then, if no frame before had it; each ends its line."""
    parts: list[Text | Image] = []
    times = [frame.time_s for frame in sampled.frames]
    stamps = stamps_of(times) if with_times else [""] * len(times)
    said: set[Line] = set()
    pending = ""
    for frame, stamp in zip(sampled.frames, stamps, strict=True):
        line = line_at(lines, frame.time_s)
        words = stamp
        if line is not None and line not in said:
            said.add(line)
            words = f"{stamp} {line.text}".strip()
        if words:
            parts.append(Text(f"{pending}{words} "))
        parts.append(frame.image)
        pending = "\n"
    parts.append(Text("\n"))
    return tuple(parts)


def stamps_of(times_s: Sequence[float]) -> list[str]:
    """Each frame's time as text, with tenths of a second where whole ones would call two frames alike."""
    whole = [clock(time_s) for time_s in times_s]
    if len(set(whole)) == len(whole):
        return whole
    return [f"{clock(time_s)}.{int(time_s * 10 + 1e-3) % 10}" for time_s in times_s]
