"""What a video is needed for: the same questions about one frame of it, about its subtitles alone, about fewer frames.

What is said of its subtitles stays as it was asked in the run, so that a difference is the frames' own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from sensorium.conversation import Image, Video
from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks.base import Answer, Judged, Question
from sensorium.evaluation.probes.base import Probe
from sensorium.evaluation.probes.sizes import SHARES, Curve, curve_of
from sensorium.media.sampling import FRAMES as USUAL


def with_one_frame(questions: Sequence[Question]) -> list[Question]:
    """The one that the run's sampling takes when it may take one."""
    return [replace(question, media=partial(_fewer, question, None)) for question in questions]


def with_subtitles_alone(questions: Sequence[Question]) -> list[Question]:
    """Raises SensoriumError where none is asked with subtitles: they would be questions without anything."""
    if all(question.said is None for question in questions):
        raise SensoriumError("--probe subtitles-only", "no question of the run is asked with subtitles.",
                             "Add --subtitles, or take --probe no-picture.")
    return [replace(question, media=tuple) for question in questions]


def in_fewer_frames(questions: Sequence[Question]) -> list[Question]:
    """Each three times."""
    return [
        replace(question, id=f"{question.id}~{share}", media=partial(_fewer, question, divisor))
        for question in questions for share, divisor in SHARES.items()
    ]  # fmt: skip


def _fewer(question: Question, divisor: int | None) -> tuple[Image | Video, ...]:
    """divisor: of the number of frames; None for one frame. Raises SensoriumError for a question about no video."""
    media = question.media()
    if not any(isinstance(medium, Video) for medium in media):
        raise SensoriumError(question.where, "is about no video; this probe is for videos.", "Take --probe sizes.")
    return tuple(
        replace(medium, frames=1 if divisor is None else max(1, (medium.frames or USUAL) // divisor))
        if isinstance(medium, Video) else medium
        for medium in media
    )  # fmt: skip


def frames_of(
    answers: Sequence[Answer], fewer: Sequence[Answer], blind: Sequence[Answer],
    judge: Callable[[Sequence[Answer]], list[Judged]],
) -> Curve | None:  # fmt: skip
    """As `sizes.sizes_of`, of frames."""
    return curve_of("share of the video's frames", answers, fewer, blind, judge)


SINGLE_FRAME = Probe("single-frame", "with one frame of the video", with_one_frame)
SUBTITLES_ONLY = Probe("subtitles-only", "with what is said in the video, and no frame", with_subtitles_alone)
FRAMES = Probe("frames", "with a half, a quarter and an eighth of the frames", in_fewer_frames)
