"""Accuracy against visual tokens: the same questions about pictures of a half, a quarter, an eighth of their sides.

Models that take a picture as it is spend tokens on its size; those that bring all pictures to one size spend the same
and see less. So a point of the curve has both: the share of the side, and the tokens that a prompt took.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from PIL.Image import Resampling
from pydantic import Field

from sensorium.conversation import Image
from sensorium.evaluation.benchmarks.base import Answer, Judged, Question
from sensorium.evaluation.headlines import Part
from sensorium.evaluation.probes.base import Probe
from sensorium.evaluation.probes.blind import pictures_of
from sensorium.evaluation.statistics import clustered_mean
from sensorium.media import encode_image, open_image

SHARES = {"1/2": 2, "1/4": 4, "1/8": 8}
WHOLE = "1"


class Point(Part):
    """The mean of the questions that were answered at every point of the curve."""

    at: str = Field(description="The share of what the curve is of, `1` for all of it.")
    tokens: float = Field(description="Tokens of a prompt on average, visual and text; 0 where the engine counts none.")
    visual_tokens: float | None = Field(description="Those beyond the prompt without a picture; null if not asked so.")
    mean: float
    low: float | None
    high: float | None


class Curve(Part):
    """What more of the same input brings."""

    of: str = Field(description="What the points differ in.")
    questions: int
    points: list[Point] = Field(description="From the least to all of it.")


def in_smaller_pictures(questions: Sequence[Question]) -> list[Question]:
    """Each three times."""
    return [
        replace(question, id=f"{question.id}~{share}", media=partial(_smaller, question, divisor))
        for question in questions for share, divisor in SHARES.items()
    ]  # fmt: skip


def _smaller(question: Question, divisor: int) -> tuple[Image, ...]:
    return tuple(Image(_shrunk(picture, divisor)) for picture in pictures_of(question))


def _shrunk(image: Image, divisor: int) -> bytes:
    picture = open_image(image)
    width, height = (max(1, round(side / divisor)) for side in picture.size)
    return encode_image(picture.resize((width, height), Resampling.LANCZOS))


def sizes_of(
    answers: Sequence[Answer], shrunk: Sequence[Answer], blind: Sequence[Answer],
    judge: Callable[[Sequence[Answer]], list[Judged]],
) -> Curve | None:  # fmt: skip
    """answers: of the run; shrunk: of the probe; blind: without pictures, if that was asked. None where no question was
    asked in all sizes."""
    return curve_of("share of the picture's sides", answers, shrunk, blind, judge)


def curve_of(
    of: str, answers: Sequence[Answer], shrunk: Sequence[Answer], blind: Sequence[Answer],
    judge: Callable[[Sequence[Answer]], list[Judged]],
) -> Curve | None:  # fmt: skip
    """As `sizes_of`, of whatever was asked at SHARES: its ids end in `~` and the share."""
    by: dict[str, dict[str, Answer]] = {share: {} for share in (*reversed(SHARES), WHOLE)}
    for answer in shrunk:
        name, _, share = answer.id.rpartition("~")
        by[share][name] = replace(answer, id=name)
    by[WHOLE] = {answer.id: answer for answer in answers}
    names = [name for name in by[WHOLE] if all(name in of_share for of_share in by.values())]
    if not names:
        return None
    text = {answer.id: answer.n_prompt for answer in blind}
    points = []
    for share, of_share in by.items():
        chosen = [of_share[name] for name in names]
        mean = clustered_mean([one.worth for one in judge(chosen)], [one.cluster for one in chosen])
        low, high = mean.interval or (None, None)
        beyond = [one.n_prompt - text[one.id] for one in chosen if one.id in text]
        points.append(Point(
            at=share, tokens=sum(one.n_prompt for one in chosen) / len(chosen),
            visual_tokens=sum(beyond) / len(beyond) if beyond else None, mean=mean.value, low=low, high=high,
        ))  # fmt: skip
    return Curve(of=of, questions=len(names), points=points)


SIZES = Probe("sizes", "with its picture at a half, a quarter and an eighth of its sides", in_smaller_pictures)
