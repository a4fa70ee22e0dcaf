"""A video's frames at given times, decoded one by one, upright, by the clock of the file; never the file as a whole.

`VideoReader` answers the one question that everything above it asks: which picture is on the screen at time t? Frames
are found by their timestamps and not by counting, so a variable frame rate costs nothing; times far apart are reached
by the file's own index of keyframes. At most two decoded frames are held. What is damaged is passed over and told.

Limits are decided from the header, before anything is decoded.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image as PILImage
from pydantic import BaseModel, ConfigDict, Field

from sensorium.errors import SensoriumError
from sensorium.media.container import PICTURE_CODECS, Source, damage, opened, pyav

_THREADS = 8  # at most: each decodes a frame of its own, and holds it
_COVER = 0x0400  # FFmpeg: the stream is a still picture that goes with a recording
_NEAR_S = 0.2  # not worth a look into the index
_GAP_S = 2.0  # a leap worth making where the file has no index
_EARLIER_S = 10.0  # how far before a time to begin where the keyframe that was found lies behind it
_TICK_S = 1e-4  # below any frame's duration, above what rounding to a file's time base moves a time by
_QUARTERS = {90: 1, 180: 2, 270: 3}  # of a turn; other angles are no recording's


class VideoLimits(BaseModel):
    """What a video may be at most, by what its header claims. max_pixels: of one frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int = Field(default=8 * 2**30, ge=1)
    max_pixels: int = Field(default=4096 * 2304, ge=1)
    max_seconds: float = Field(default=4 * 3600, gt=0)
    max_frames: int = Field(default=2_000_000, ge=1)

    def lasting(self, max_seconds: float) -> VideoLimits:
        """The same for videos of another length; the header of a longer one may claim as many more frames."""
        n_frames = round(self.max_frames * max(1.0, max_seconds / self.max_seconds))
        return self.model_copy(update={"max_seconds": max_seconds, "max_frames": n_frames})


DEFAULT_LIMITS = VideoLimits()
Check = Callable[[], None]  # called before each packet is read; what it raises ends the reading


@dataclass(frozen=True)
class VideoInfo:
    """width, height: of an upright frame with square pixels. fps: on average, 0 if not told. n_frames: as the header
    claims, or as many as its length and rate make; 0 if neither is told.

    duration_s: as the header claims, or as long as there are packets where it claims nothing. rotation: degrees
    counterclockwise that turn a stored frame upright.
    """

    format: str
    codec: str
    width: int
    height: int
    duration_s: float
    fps: float
    n_frames: int
    rotation: int
    has_sound: bool


@dataclass(frozen=True)
class Frame:
    """time_s: when it appears, from the start of the video; pixels: RGB, upright, uint8 [h, w, 3]."""

    time_s: float
    pixels: np.ndarray[Any, np.dtype[np.uint8]]

    @property
    def picture(self) -> PILImage.Image:
        """The pixels as a picture of its own, which takes a third more memory."""
        return PILImage.fromarray(self.pixels)


def no_check() -> None:
    """The check of who has time."""


def video_info(video: Source, limits: VideoLimits = DEFAULT_LIMITS, check: Check = no_check) -> VideoInfo:
    """What the header says, and one frame, so that a file of which nothing can be decoded is found out.

    Raises SensoriumError when it is missing, no video, beyond the limits, or holds no frame that can be decoded.
    """
    with open_video(video, limits, check) as reader:
        return reader.info


@contextmanager
def open_video(
    video: Source, limits: VideoLimits = DEFAULT_LIMITS, check: Check = no_check
) -> Iterator[VideoReader]:
    """A reader of the video's frames. Raises SensoriumError as `video_info` does, and what the check raises."""
    with opened(video, "video", limits.max_bytes, _ffmpeg_limits(limits)) as (where, container):
        yield VideoReader(where, container, limits, check)


def _ffmpeg_limits(limits: VideoLimits) -> dict[str, str]:
    """FFmpeg's own: a frame that is larger than that, whatever the header said, is not even allocated."""
    return {"max_pixels": str(limits.max_pixels)}


class VideoReader:
    """Frames by their times. Made by `open_video`.

    info: see VideoInfo. ended_at_s: when the last frame appears, once the end of what can be decoded has been met.
    """

    def __init__(self, where: str, container: Any, limits: VideoLimits, check: Check = no_check) -> None:
        self.where, self._container, self._limits, self._check = where, container, limits, check
        self._stream = stream = _picture_stream(where, container)
        self._tick_s = float(stream.time_base or 1)
        self._converter = pyav().video.reformatter.VideoReformatter()
        self._start = float((stream.start_time or 0) * stream.time_base) if stream.time_base else 0.0
        self._fps = _positive(stream.average_rate or stream.guessed_rate)
        self._shown: _Timed | None = None
        self._next: _Timed | None = None
        self._has_clock = True
        self._damaged: set[int | None] = set()  # packets by their time, since a leap back meets them again
        self.ended_at_s: float | None = None
        duration = self._duration()
        self._require_limits(duration)
        context = stream.codec_context
        context.options = _ffmpeg_limits(limits)
        context.thread_type, context.thread_count = "AUTO", min(_THREADS, os.cpu_count() or 1)
        self._frames = self._decoded()
        self._next = next(self._frames, None)
        if self._next is None:
            what = f"holds no picture that can be decoded, or none of at most {limits.max_pixels:,} pixels."
            raise SensoriumError(where, what, "Get the file again.")
        first = self._next.frame
        self._aspect = _positive(stream.sample_aspect_ratio) or 1.0
        rotation = round(first.rotation) % 360
        width, height = _square_size(first, self._aspect)
        if rotation in (90, 270):
            width, height = height, width
        self.info = VideoInfo(
            format=container.format.name, codec=context.name, width=width, height=height, duration_s=duration,
            fps=self._fps, n_frames=self._claimed(duration), rotation=rotation, has_sound=bool(container.streams.audio),
        )  # fmt: skip

    @property
    def n_damaged(self) -> int:
        """Packets met that could not be decoded."""
        return len(self._damaged)

    def frames_at(self, times: Iterable[float], max_side: int | None = None) -> Iterator[Frame]:
        """The frame on the screen at each time, each frame once; times in seconds, in order, from 0.

        A time before the first frame gives the first, one after the last the last. max_side: larger frames are shrunk
        to it. Nothing is decoded ahead of the iteration. May be called again, for any times.
        """
        told = -math.inf
        for time_s in times:
            timed = self._at(time_s + _TICK_S)
            if timed is not None and timed.time_s > told:
                told = timed.time_s
                yield Frame(max(0.0, told), self._pixels(timed.frame, max_side))

    def _pixels(self, frame: Any, max_side: int | None) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """A decoded frame as RGB with square pixels, upright, at most max_side pixels either way."""
        width, height = shrunk(_square_size(frame, self._aspect), max_side)
        # Bicubic of a larger frame looks at all its pixels, not only at the nearest.
        # One converter for all frames: making one takes longer than its work.
        pixels = self._converter.reformat(frame, width, height, "rgb24", interpolation="BICUBIC").to_ndarray()
        quarters = _QUARTERS.get(self.info.rotation)
        return pixels if quarters is None else np.ascontiguousarray(np.rot90(pixels, quarters))

    def _at(self, time_s: float) -> _Timed | None:
        if self._is_far(time_s):
            here = self._shown or self._next
            self._seek(time_s)
            if self._next is None or self._next.time_s > time_s:
                self._seek(time_s - _EARLIER_S)
            if self._next is None and here is not None:
                self._seek(here.time_s)  # the file is cut off before that time: on from here, as far as it goes
        while self._next is not None and self._next.time_s <= time_s:
            self._shown, self._next = self._next, next(self._frames, None)
        if self._next is None and self._shown is not None:
            self.ended_at_s = self._shown.time_s
        return self._shown or self._next

    def _is_far(self, time_s: float) -> bool:
        """Whether to seek: back, or to a keyframe between here and there, before which nothing need be decoded."""
        if self._shown is not None and time_s < self._shown.time_s:
            return True  # back
        here = self._next
        if here is None or time_s - here.time_s < _NEAR_S or not self._has_clock:
            return False
        index = self._stream.index_entries
        if not index:
            return time_s - here.time_s > _GAP_S
        place = index.search_timestamp(self._ticks(time_s), backward=True)
        # The index tells when a packet is decoded, which is a little before its frame is shown.
        return place >= 0 and index[place].timestamp > self._ticks(here.time_s)

    def _seek(self, time_s: float) -> None:
        self._shown = self._next = None
        try:
            self._container.seek(max(self._ticks(time_s), 0), stream=self._stream, backward=True)
        except damage():
            self._rewind()
        self._frames = self._decoded()
        self._next = next(self._frames, None)

    def _rewind(self) -> None:
        """Back to the first packet. Raises SensoriumError where a damaged file does not even allow that."""
        try:
            self._container.seek(0)
        except damage():
            try:
                self._container.seek(0, unsupported_byte_offset=True)  # a file without a clock has places, not times
            except damage() as error:
                what = "is damaged: it cannot be read again from its start."
                raise SensoriumError(self.where, what, "Get the file again.") from error

    def _ticks(self, time_s: float) -> int:
        return round((time_s + self._start) / self._tick_s)

    def _decoded(self) -> Iterator[_Timed]:
        """Frames in the order in which they are shown, from where the container stands; damaged ones left out."""
        for packet in self._packets():
            try:
                frames = packet.decode()
            except damage():
                self._damaged.add(packet.pts)
                continue
            for frame in frames:
                # After a leap some frames lack those that they were made from; these are not damage.
                if not frame.is_corrupt and frame.width * frame.height <= self._limits.max_pixels:
                    yield _Timed(self._time(frame), frame)

    def _packets(self) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        while True:
            self._check()
            try:
                yield next(packets)
            except StopIteration:
                return
            except damage():
                self._damaged.add(None)
                return

    def _time(self, frame: Any) -> float:
        if frame.time is not None:
            return float(frame.time) - self._start
        self._has_clock = False
        before = self._next or self._shown  # without a clock of its own, the frame rate is its clock
        return before.time_s + 1 / (self._fps or 25) if before else 0.0

    def _duration(self) -> float:
        """In seconds: what the header says, or when the last packet ends."""
        stream = self._stream
        if stream.duration and stream.time_base:
            return max(0.0, float(stream.duration * stream.time_base))
        if self._container.duration and self._container.duration > 0:
            return float(self._container.duration) / 1e6
        last = 0.0
        for packet in self._packets():
            if packet.pts is not None:
                last = max(last, float((packet.pts + (packet.duration or 0)) * packet.time_base) - self._start)
            if last > self._limits.max_seconds:
                break
        self._rewind()
        self._damaged.clear()
        return last

    def _claimed(self, duration_s: float) -> int:
        return max(int(self._stream.frames), round(duration_s * self._fps))

    def _require_limits(self, duration_s: float) -> None:
        limits, context = self._limits, self._stream.codec_context
        width, height = context.width, context.height
        if width * height > limits.max_pixels:
            what = f"has frames of {width:,} x {height:,} pixels; at most {limits.max_pixels:,} pixels are allowed."
            raise SensoriumError(self.where, what, "Make the video smaller, or raise `max_pixels` (--max-pixels).")
        if duration_s > limits.max_seconds:
            what = f"lasts {clock(duration_s)}; at most {clock(limits.max_seconds)} are allowed."
            remedy = "Cut out the part that matters, or raise `max_seconds` (--max-seconds)."
            raise SensoriumError(self.where, what, remedy)
        n_frames = self._claimed(duration_s)
        if n_frames > limits.max_frames:
            what = f"claims {n_frames:,} frames; at most {limits.max_frames:,} are allowed."
            raise SensoriumError(self.where, what, "Cut out the part that matters.")


@dataclass(frozen=True)
class _Timed:
    """A decoded frame, PyAV's, and when it is shown."""

    time_s: float
    frame: Any


def clock(time_s: float) -> str:
    """A time as people write it: 0:05, 12:34, 1:02:03; of part of a second nothing is said."""
    minutes, seconds = divmod(int(time_s + _TICK_S), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def shrunk(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    """(width, height) of a frame of that size once it is at most max_side pixels either way."""
    width, height = size
    if max_side is None or max(width, height) <= max_side:
        return size
    scale = max_side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _square_size(frame: Any, aspect: float) -> tuple[int, int]:
    """(width, height) of a stored frame once its pixels are square: some recordings are stored narrow.

    aspect: width of a stored pixel over its height; one that no recording has is not believed.
    """
    return (round(frame.width * aspect) if 0.25 <= aspect <= 4 else frame.width), frame.height


def _picture_stream(where: str, container: Any) -> Any:
    """The first stream of moving pictures; a song's cover is none. Raises SensoriumError where there is none."""
    streams = [stream for stream in container.streams.video if not stream.disposition & _COVER]
    if not streams:
        has_sound = bool(container.streams.audio)
        what = "holds sound and no pictures." if has_sound else "holds no pictures."
        raise SensoriumError(where, what, "Give a video file.")
    codec = getattr(streams[0].codec_context, "name", None)
    if codec not in PICTURE_CODECS:
        remedy = "Convert it to MP4 with H.264."
        raise SensoriumError(where, f"is coded in {codec or 'an unknown way'}, which is not read.", remedy)
    return streams[0]


def _positive(rate: Any) -> float:
    value = float(rate or 0)
    return value if math.isfinite(value) and value > 0 else 0.0
