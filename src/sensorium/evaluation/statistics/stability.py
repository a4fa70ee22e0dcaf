"""One question asked several times: how much of a score is luck of the draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.evaluation.statistics.clustered import Mean, clustered_mean


@dataclass(frozen=True)
class Stability:
    """Of K replies to each question.

    expected: the mean of all; consensus: of the reply that was given most often, the earliest of equals; variance: of
    worth within a question, mean over questions (by K - 1); consistency: the chance that two replies to one question
    say the same; unanimous: the share of questions to which all do.
    """

    k: int
    expected: Mean
    consensus: Mean
    variance: float
    consistency: float
    unanimous: float


def stability(
    worth: Sequence[Sequence[float]], said: Sequence[Sequence[str]], clusters: Sequence[Hashable]
) -> Stability:
    """worth, said: of each question its K replies, K at least two."""
    table = np.asarray(worth, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError("stability needs the same number of replies to each question, at least two.")
    k = table.shape[1]
    voted, agreeing, unanimous = [], 0.0, 0
    for row, replies in zip(table, said, strict=True):
        counts = Counter(replies)
        winner = counts.most_common(1)[0][0]  # of equals the one that came first
        voted.append(float(row[list(replies).index(winner)]))
        agreeing += sum(n * (n - 1) for n in counts.values()) / (k * (k - 1))
        unanimous += len(counts) == 1
    return Stability(
        k, clustered_mean(table.mean(1), clusters), clustered_mean(voted, clusters),
        float(table.var(axis=1, ddof=1).mean()), agreeing / len(table), unanimous / len(table),
    )  # fmt: skip
