"""Does a model lean towards yes? Signal detection on questions of yes and no (Green and Swets, 1966).

d' is how well it tells the two apart, whatever it prefers; the criterion is what it prefers: below 0 yes, above 0 no.
Accuracy mixes the two: always saying yes has a d' of 0 and half of the questions right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from sensorium.evaluation.benchmarks.base import Answer, Judged
from sensorium.evaluation.headlines import Part
from sensorium.evaluation.intervals import Clusters
from sensorium.evaluation.metrics import Floats

_YES_NO = ("yes", "no")


class Polarity(Part):
    """Of the replies that say yes or no."""

    questions: int
    d_prime: float = Field(description="z(hits) - z(false alarms), a half added to each count (Hautus, 1995).")
    d_prime_low: float
    d_prime_high: float
    criterion: float = Field(description="-(z(hits) + z(false alarms)) / 2; below 0 leans towards yes.")
    criterion_low: float
    criterion_high: float
    yes_ratio: float
    true_yes_ratio: float


def polarity_of(answers: Sequence[Answer], judged: Sequence[Judged]) -> Polarity | None:
    """None for a benchmark of other answers, or where either truth is missing."""
    sums = Clusters()  # said yes to a yes, yeses; said yes to a no, noes
    for answer, one in zip(answers, judged, strict=True):
        truth = answer.truth.get("answer")
        if truth in _YES_NO and one.said in _YES_NO:
            is_yes, said = truth == "yes", one.said == "yes"
            sums.add(answer.cluster, is_yes and said, is_yes, not is_yes and said, not is_yes)
    rows = sums.rows
    if not len(rows) or not rows[:, 1].sum() or not rows[:, 3].sum():
        return None
    hits, yeses, alarms, noes = rows.sum(0)
    n = len(rows)
    d_low, d_high = sums.interval(lambda means: d_prime(means * n))
    c_low, c_high = sums.interval(lambda means: criterion(means * n))
    return Polarity(
        questions=int(yeses + noes), d_prime=float(d_prime(rows.sum(0))), d_prime_low=d_low, d_prime_high=d_high,
        criterion=float(criterion(rows.sum(0))), criterion_low=c_low, criterion_high=c_high,
        yes_ratio=float((hits + alarms) / (yeses + noes)), true_yes_ratio=float(yeses / (yeses + noes)),
    )  # fmt: skip


def d_prime(counts: Floats) -> Floats:
    """[..., (hits, yeses, false alarms, noes)] -> [...]"""
    hits, alarms = _rates(counts)
    return hits - alarms


def criterion(counts: Floats) -> Floats:
    """[..., (hits, yeses, false alarms, noes)] -> [...]"""
    hits, alarms = _rates(counts)
    return -(hits + alarms) / 2


def _rates(counts: Floats) -> tuple[Floats, Floats]:
    """z of both rates, never infinite: a half is added to each count, one to each total."""
    from scipy.special import ndtri

    hits, yeses, alarms, noes = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    return ndtri((hits + 0.5) / (yeses + 1)), ndtri((alarms + 0.5) / (noes + 1))
