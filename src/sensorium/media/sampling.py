"""Which frames of a video are looked at: evenly, by a rate, by scenes, by subtitles, or where most is different.

Every method is a rule that makes times; frames are then read at those times and no others. The two that must look at
the video first (`scenes`, `difference`) look at small pictures of it, so an hour takes no more memory than a minute.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Generic, Literal, TypeVar, get_args

import numpy as np
from PIL import Image as PILImage

from sensorium.conversation import Video
from sensorium.errors import SensoriumError, did_you_mean
from sensorium.media.change import Rows, most_different, scene_times
from sensorium.media.container import Source
from sensorium.media.subtitles import Line
from sensorium.media.video import (
    DEFAULT_LIMITS,
    Check,
    Frame,
    VideoInfo,
    VideoLimits,
    VideoReader,
    clock,
    no_check,
    open_video,
)

Method = Literal["uniform", "uniform-inner", "uniform-ends", "fps", "scenes", "subtitles", "difference"]
METHODS: tuple[Method, ...] = get_args(Method)
# Pictures -> [n, d]; the Euclidean distance of two rows says how much two pictures differ.
Kept = TypeVar("Kept")
Features = Callable[[Sequence[PILImage.Image]], "np.ndarray[Any, Any]"]

FRAMES = 8  # where nobody says how many
MAX_FRAMES = 1024
MAX_SIDE = 768  # pixels; what an answer is to be read from must not fill the memory with hours of it
_GLANCES = 2048  # at most; of an hour, one each 1.8 s
_GLANCE_SIDE, _POINTS = 64, 16
_FEATURE_SIDE, _FEATURE_BATCH = 256, 32
_SCENE_FPS, _DIFFERENCE_FPS = 4.0, 1.0  # LongVU looks at one frame a second as well
_GLANCES_A_FRAME, _CLIP_FPS = 4, 8.0  # in a clip of seconds: so many to choose from for each frame wanted
_CUT_OFF_S = 1.0  # by how much a file may end early without a word


@dataclass(frozen=True)
class Plan:
    """How to sample. n_frames: at most; None: FRAMES, or with `fps` as many as there are. fps: of the method `fps`."""

    method: Method = "uniform"
    n_frames: int | None = None
    fps: float = 0.0

    @classmethod
    def of(cls, video: Video) -> Plan:
        """What a part of a conversation asks for. Raises SensoriumError for what is not known."""
        method, fps = parse_sampling(video.sampling)
        if video.frames is not None and not 1 <= video.frames <= MAX_FRAMES:
            raise SensoriumError("frames", f"{video.frames} is out of range.", f"Take 1 to {MAX_FRAMES}.")
        return cls(method, video.frames, fps)

    def count(self, duration_s: float) -> int:
        """How many frames of so long a video at most. Raises SensoriumError when a rate gives more than MAX_FRAMES."""
        if self.method != "fps":
            return self.n_frames or FRAMES
        n_frames = max(1, ceil(duration_s * self.fps - 1e-6))  # at 0, 1 / fps, … below the length
        if self.n_frames is None and n_frames > MAX_FRAMES:
            what = f"takes {n_frames:,} frames of {clock(duration_s)}; at most {MAX_FRAMES:,} are taken."
            raise SensoriumError(f"fps:{self.fps:g}", what, "Give a lower rate, or a number of frames.")
        return min(n_frames, self.n_frames or n_frames)

    def most(self, info: VideoInfo) -> int:
        """How many frames of a video at most: `count`, and no more than its header says it has."""
        n_frames = self.count(info.duration_s)
        return min(n_frames, info.n_frames or n_frames)


@dataclass(frozen=True)
class Sampled(Generic[Kept]):
    """Frames in order, or what was made of each. remark: what was wrong with the file, "" where nothing was."""

    info: VideoInfo
    frames: tuple[Kept, ...]
    remark: str = ""


def parse_sampling(text: str) -> tuple[Method, float]:
    """`uniform`, `scenes`, … or `fps:0.5` -> (method, rate). Raises SensoriumError."""
    name, _, rate = text.partition(":")
    if name not in METHODS or (rate and name != "fps"):
        raise SensoriumError("sampling", f"`{text}` is not known.", did_you_mean(name, METHODS))
    if name == "fps" and not (re.fullmatch(r"\d{1,3}(\.\d+)?|\.\d+", rate) and float(rate) > 0):
        raise SensoriumError("sampling", f"`{text}` tells no rate.", "Write frames a second, as in fps:0.5.")
    return name, float(rate or 0)


def sample(
    video: Source,
    plan: Plan,
    lines: Sequence[Line] = (),
    features: Features | None = None,
    max_side: int | None = MAX_SIDE,
    limits: VideoLimits = DEFAULT_LIMITS,
    check: Check = no_check,
) -> Sampled[Frame]:
    """The frames that a plan asks for, each once; fewer where the video has fewer.

    lines: of the subtitles, which the method `subtitles` goes by. features: of pictures, for the method `difference`;
    without them, their colours at a few points. max_side: larger frames are shrunk to it.
    check: may end the work by raising.
    Raises SensoriumError when the video cannot be opened, or the plan cannot be kept to.
    """
    return sample_as(lambda frame: frame, video, plan, lines, features, max_side, limits, check)


def sample_as(
    keep: Callable[[Frame], Kept],
    video: Source,
    plan: Plan,
    lines: Sequence[Line] = (),
    features: Features | None = None,
    max_side: int | None = MAX_SIDE,
    limits: VideoLimits = DEFAULT_LIMITS,
    check: Check = no_check,
) -> Sampled[Kept]:
    """As `sample`, but of each frame only what `keep` makes of it is held: a thousand as JPEGs take a tenth."""
    with open_video(video, limits, check) as reader:
        times = _times(reader, plan, reader.info.duration_s, lines, features)
        frames = [keep(frame) for frame in reader.frames_at(times, max_side)]
        last_s = reader.ended_at_s
        if last_s is not None and last_s < reader.info.duration_s - _CUT_OFF_S and last_s < times[-1] - _CUT_OFF_S:
            # Planned by a length that the file does not have: what there is deserves all the frames.
            end_s = last_s + (1 / reader.info.fps if reader.info.fps else 0)
            times = _times(reader, plan, end_s, lines, features)
            frames = [keep(frame) for frame in reader.frames_at(times, max_side)]
        return Sampled(reader.info, tuple(frames), _remark(reader))


def _times(
    reader: VideoReader, plan: Plan, duration_s: float, lines: Sequence[Line], features: Features | None
) -> list[float]:
    n = plan.count(duration_s)
    if plan.method == "scenes":
        times, rows = _glances(reader, duration_s, _SCENE_FPS, None)
        return scene_times(rows, times, duration_s, n)
    if plan.method == "difference":
        fps = max(_DIFFERENCE_FPS, min(_CLIP_FPS, _GLANCES_A_FRAME * n / max(duration_s, 1e-6)))
        times, rows = _glances(reader, duration_s, fps, features)
        return [times[i] for i in most_different(rows, n)]
    require_lines(plan, lines)
    frame_s = 1 / reader.info.fps if reader.info.fps else 0.0
    return planned_times(plan, duration_s, frame_s, lines)


def require_lines(plan: Plan, lines: Sequence[Line]) -> None:
    """Raises SensoriumError when a plan goes by subtitles and there are none."""
    if plan.method == "subtitles" and not lines:
        raise SensoriumError("sampling", "`subtitles` needs subtitles.", "Give them, or choose another sampling.")


def planned_times(plan: Plan, duration_s: float, frame_s: float, lines: Sequence[Line] = ()) -> list[float]:
    """The times of a method that need not look at the video first. frame_s: how long a frame is shown.

    `uniform`: the middles of n equal stretches. `uniform-inner`: k / (n + 1) of the length, as VLMEvalKit has it.
    `uniform-ends`: from the first frame to the last, as lmms-eval has it. `fps`: 0, 1 / fps, …; where that is more than
    n, as `uniform`. `subtitles`: the middle of each line; where those are more than n, of n lines at even ranks.
    """
    n = plan.count(duration_s)
    if plan.method == "uniform-ends":
        return [float(time_s) for time_s in np.linspace(0, max(0.0, duration_s - frame_s), n)]
    if plan.method == "uniform-inner":
        return [duration_s * k / (n + 1) for k in range(1, n + 1)]
    if plan.method == "fps" and n >= duration_s * plan.fps - 1e-6:
        return [k / plan.fps for k in range(n)]
    if plan.method == "subtitles":
        middles = sorted({(line.start_s + line.end_s) / 2 for line in lines if line.start_s < duration_s})
        kept = middles if len(middles) <= n else [middles[int((k + 0.5) * len(middles) / n)] for k in range(n)]
        return kept or [duration_s / 2]
    return [duration_s * (k + 0.5) / n for k in range(n)]


def _glances(
    reader: VideoReader, duration_s: float, fps: float, features: Features | None
) -> tuple[list[float], Rows]:
    """Times at an even rate, and a row of numbers for the frame at each; the pictures are kept while they are used."""
    step = max(1 / fps, duration_s / _GLANCES)
    wanted = [k * step for k in range(max(1, ceil(duration_s / step - 1e-6)))]
    times: list[float] = []
    rows: list[Any] = []
    frames = reader.frames_at(wanted, _GLANCE_SIDE if features is None else _FEATURE_SIDE)
    for batch in _batches(frames, _FEATURE_BATCH):
        times += [frame.time_s for frame in batch]
        pictures = [frame.picture for frame in batch]
        rows.append(_points(pictures) if features is None else np.asarray(features(pictures), dtype=np.float32))
    return times, np.concatenate(rows)


def _points(pictures: Sequence[PILImage.Image]) -> Rows:
    """[n, d]: colours 0–1 of each picture, averaged over the fields of a coarse grid."""
    small = [picture.resize((_POINTS, _POINTS), PILImage.Resampling.BOX) for picture in pictures]
    return np.stack([np.asarray(one, dtype=np.float32).ravel() / 255 for one in small])


def _batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    batch: list[Frame] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _remark(reader: VideoReader) -> str:
    said = []
    last_s, duration_s = reader.ended_at_s, reader.info.duration_s
    if last_s is not None and last_s < duration_s - _CUT_OFF_S:
        said.append(f"its pictures end at {clock(last_s)} of {clock(duration_s)}")
    if reader.n_damaged:
        said.append(f"{reader.n_damaged} damaged packets or frames were passed over")
    return "; ".join(said)
