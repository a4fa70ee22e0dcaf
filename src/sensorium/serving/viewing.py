"""What is shown to a server, made ready for its engine: pictures within the limits, videos as frames and words.

All headers are read before anything is decoded, so that what cannot be had costs nothing. Videos are decoded in
threads, a few requests at a time in turns of their callers, under one time limit for each request, and no further once
its caller has left. What each picture and frame costs in visual tokens is told to whoever asks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from sensorium.conversation import Conversation, Image, Part, Video
from sensorium.engine import Engine
from sensorium.errors import SensoriumError
from sensorium.media import image_size
from sensorium.media.sampling import FRAMES
from sensorium.media.watching import Watched, frame_size
from sensorium.serving.errors import ApiError
from sensorium.serving.queue import FairQueue
from sensorium.serving.settings import ServerSettings

MOST_SUBTITLES = 2**20  # bytes: those of a long film have a tenth of that
Medium = TypeVar("Medium", Image, Video)


@dataclass(frozen=True)
class Shown:
    """A picture, or a video's frames. message: its number; visual_tokens: of each; watched: what a video showed."""

    message: int
    part: Image | Video
    visual_tokens: tuple[int, ...]
    watched: Watched | None = None

    def to_json(self) -> dict[str, Any]:
        """For usage: `serving.described.ShownMedium`."""
        told: dict[str, Any] = {"type": "image", "message": self.message, "visual_tokens": sum(self.visual_tokens)}
        if self.watched is None:
            return told
        assert isinstance(self.part, Video)
        frames = [{"time_s": round(time_s, 3), "visual_tokens": n}
                  for time_s, n in zip(self.watched.times_s, self.visual_tokens, strict=True)]  # fmt: skip
        return told | {"type": "video", "duration_s": round(self.watched.info.duration_s, 3),
                       "sampling": self.part.sampling, "frames": frames, "remark": self.watched.remark}  # fmt: skip


@dataclass(frozen=True)
class View:
    """conversation: as the engine gets it, without videos; shown: pictures and videos in their order."""

    conversation: Conversation
    shown: tuple[Shown, ...] = ()

    def tokens(self, kind: type[Image] | type[Video]) -> int:
        """Visual tokens of all pictures, or of all frames."""
        return sum(sum(one.visual_tokens) for one in self.shown if isinstance(one.part, kind))


class Viewing:
    """Of one server: the API's requests and the page's questions wait for each other here."""

    def __init__(self, engine: Engine, settings: ServerSettings) -> None:
        self._engine, self._settings = engine, settings
        self._watcher = engine.watcher.under(settings.video)
        self._queue = FairQueue(settings.max_watching, settings.max_waiting)

    async def view(self, conversation: Conversation, caller: str) -> View:
        """What the engine is to see.

        Raises SensoriumError for what the caller can mend, ApiError when too many wait.
        """
        media = [part for message in conversation for part in message.parts if isinstance(part, Image | Video)]
        if not media:
            return View(conversation)
        if "image" not in self._engine.card.modalities:
            raise SensoriumError("messages", "have a picture or a video; this model takes text only.")
        if not any(isinstance(part, Video) for part in media):
            return await asyncio.to_thread(self._view, conversation, _Time(self._settings.watch_timeout_s))
        async with self._queue.turn(caller):
            left = _Time(self._settings.watch_timeout_s)
            # Shielded: a caller that leaves gives its turn up only when the thread is done, which it soon is.
            working = asyncio.ensure_future(asyncio.to_thread(self._view, conversation, left))
            try:
                return await asyncio.shield(working)
            except asyncio.CancelledError:
                left.is_over.set()
                await asyncio.wait([working])
                raise

    def require_pictures(self, pictures: Sequence[Image]) -> None:
        """Raises SensoriumError when one of them, or all together, are too large, by their headers."""
        self._require_pixels([(0, picture) for picture in pictures])

    def _view(self, conversation: Conversation, left: _Time) -> View:
        """In a thread: first the headers of everything, then the frames of the videos."""
        conversation = _with_frames(conversation, self._settings.max_frames)
        self._require_limits(conversation, left)
        shown: list[Shown] = []
        messages, n_frames = [], 0
        for i, message in enumerate(conversation):
            parts: list[Part] = []
            for part in message.parts:
                if isinstance(part, Video):
                    with _named(i, part):
                        watched = self._watcher.watch(part, left.check)
                        n_frames += watched.n_frames
                        self._require_frames(n_frames, watched.n_frames)  # a header may claim fewer than there are
                        costs = tuple(self._engine.visual_tokens(frame) for frame in watched.frames)
                    shown.append(Shown(i, part, costs, watched))
                    parts += watched.parts
                    continue
                if isinstance(part, Image):
                    with _named(i, part):
                        shown.append(Shown(i, part, (self._engine.visual_tokens(part),)))
                parts.append(part)
            messages.append(replace(message, parts=tuple(parts)))
        return View(Conversation(tuple(messages)), tuple(shown))

    def _require_limits(self, conversation: Conversation, left: _Time) -> None:
        """Raises SensoriumError for what is too large, by headers; of each video one frame is decoded."""
        card = self._engine.card
        pictures, n_frames = list(_media(conversation, Image)), 0
        self._require_pixels(pictures)
        n_tokens = len(pictures) * card.visual_tokens
        for i, video in _media(conversation, Video):
            with _named(i, video):
                if conversation.messages[i].role != "user":
                    raise SensoriumError("video", "is in another turn than a user's; only users show them.")
                _require_short(video)
                info, expected = self._watcher.expect(video, left.check)
                n_frames += expected
                self._require_frames(n_frames, expected)
                n_tokens += expected * self._engine.visual_tokens(frame_size(info))
        if n_frames and n_tokens > card.context_length > 0:
            what = (f"show {len(pictures)} pictures and {n_frames} frames, {n_tokens:,} visual tokens in all; this "
                    f"model has room for {card.context_length:,}.")  # fmt: skip
            raise SensoriumError("messages", what, "Ask for fewer `frames`.")

    def _require_frames(self, n_frames: int, of_last: int) -> None:
        """Raises SensoriumError where the videos of a request have more frames together than allowed."""
        most = self._settings.max_frames
        if n_frames > most:
            before = ", with those before it" if n_frames > of_last else ""
            what = f"takes {n_frames} frames{before}; at most {most} are allowed (--max-frames)."
            raise SensoriumError("video", what, "Ask for fewer `frames`.")

    def _require_pixels(self, pictures: Sequence[tuple[int, Image]]) -> None:
        settings, n_pixels = self._settings, 0
        for i, picture in pictures:
            with _named(i, picture):
                width, height = image_size(picture)
                if width * height > settings.max_megapixels * 1e6:
                    what = (f"has {width * height / 1e6:,.4g} megapixels; at most {settings.max_megapixels:g} are "
                            "allowed (--max-megapixels).")  # fmt: skip
                    raise SensoriumError("picture", what, "Make it smaller.")
                n_pixels += width * height
        if n_pixels > settings.max_total_megapixels * 1e6:
            what = (f"show {n_pixels / 1e6:,.4g} megapixels of pictures together; at most "
                    f"{settings.max_total_megapixels:g} are allowed (--max-total-megapixels).")  # fmt: skip
            raise SensoriumError("messages", what, "Show fewer, or make them smaller.")


async def viewed(viewing: Viewing, conversation: Conversation, caller: str) -> View:
    """`view` for the API: errors name the message as the field at fault."""
    try:
        return await viewing.view(conversation, caller)
    except SensoriumError as error:
        raise ApiError(400, str(error), "invalid_request", str(error.where).partition(":")[0]) from error


class _Time:
    """How long decoding may take, from now on. is_over: set when nobody waits for it any more."""

    def __init__(self, seconds: float) -> None:
        self.is_over = Event()
        self._seconds, self._end = seconds, time.monotonic() + seconds

    def check(self) -> None:
        """Raises SensoriumError when the time is over."""
        if self.is_over.is_set() or time.monotonic() > self._end:
            what = f"takes longer than {self._seconds:g} s to decode (--watch-timeout-s)."
            raise SensoriumError("video", what, "Show a shorter or smaller one, or ask for fewer `frames`.")


def _with_frames(conversation: Conversation, max_frames: int) -> Conversation:
    """The conversation with a number of frames for each video that names none: the usual one, or at a rate the most."""

    def said(part: Part) -> Part:
        if not isinstance(part, Video) or part.frames is not None:
            return part
        return replace(part, frames=max_frames if part.sampling.startswith("fps") else min(FRAMES, max_frames))

    return Conversation(tuple(replace(m, parts=tuple(map(said, m.parts))) for m in conversation))


def _media(conversation: Conversation, kind: type[Medium]) -> Iterator[tuple[int, Medium]]:
    """(number of the message, picture or video) of that kind."""
    for i, message in enumerate(conversation):
        for part in message.parts:
            if isinstance(part, kind):
                yield i, part


def _require_short(video: Video) -> None:
    """Raises SensoriumError for subtitles that are gone, or longer than any; reading them cannot be broken off."""
    if video.subtitles is None:
        return
    is_sent = isinstance(video.subtitles, bytes)
    try:
        n_bytes = len(video.subtitles) if is_sent else Path(str(video.subtitles)).stat().st_size
    except OSError as error:  # a page's uploads are cleared away after a while
        raise SensoriumError("subtitles", f"cannot be read ({error.strerror}).", "Give them again.") from error
    if n_bytes > MOST_SUBTITLES:
        raise SensoriumError("subtitles", f"have {n_bytes:,} bytes; at most {MOST_SUBTITLES:,} are allowed.")


@contextmanager
def _named(i: int, part: Image | Video) -> Iterator[None]:
    """Errors name the message, or the file as its owner knows it; never a path of this machine."""
    try:
        yield
    except SensoriumError as error:
        if isinstance(part.source, bytes):
            raise SensoriumError(f"messages[{i}]: {error.where}", error.what, error.remedy) from error
        name, path = Path(part.source).name, part.source
        where = name if str(error.where) in (path, "video", "picture") else f"{name}: {error.where}"
        raise SensoriumError(where, error.what, error.remedy) from error
