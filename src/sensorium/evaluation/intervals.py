"""95 % intervals of scores whose questions come in clusters: several about one picture or one video.

Questions about one picture are not independent tries, so what is resampled are whole pictures (Miller, "Adding Error
Bars to Evals", arXiv:2411.00640, on why). A cluster is a row of sums, a score is a function of their means; equal rows
are drawn together, which is the same bootstrap and takes a million questions as fast as a thousand.

An interval knows what it is an interval of, so that two runs can be resampled together: see `paired_scores`.

Used by `evaluation.scorers`; knows nothing of benchmarks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.evaluation.metrics import RESAMPLES, Z95, Floats, ratio, wilson

Statistic = Callable[[Floats], Floats]  # [..., k] means over clusters -> [...]

# Above it resampling takes seconds, and the interval of a normal distribution is the same to the third digit.
MOST_DISTINCT_ROWS = 5_000
_STEP = 1e-6  # of the numerical derivative


class Clusters:
    """Sums by cluster: add("picture 1", 1, 2) for one right answer of two. cluster None: one of its own.

    The order in which they are added changes nothing: rows are sorted before they are drawn.
    """

    def __init__(self) -> None:
        self._named: dict[Hashable, list[float]] = {}
        self._single: list[tuple[float, ...]] = []

    def add(self, cluster: Hashable | None, *values: float) -> None:
        if cluster is None:
            self._single.append(values)
        elif cluster in self._named:
            sums = self._named[cluster]
            for i, value in enumerate(values):
                sums[i] += value
        else:
            self._named[cluster] = list(values)

    @property
    def rows(self) -> Floats:
        """[clusters, k]"""
        return np.asarray([*self._named.values(), *self._single], dtype=np.float64)

    def beside(self, other: Clusters) -> Floats | None:
        """[clusters, 2k], the same cluster of both in one row, zeros where only one of the two has it.

        Clusters of one are paired by the order in which they were added; None where they are not as many.
        """
        if len(self._single) != len(other._single):
            return None
        width = len(next(iter([*self._named.values(), *self._single, *other._named.values()]), ()))
        nothing = [0.0] * width
        names = dict.fromkeys([*self._named, *other._named])
        rows = [[*self._named.get(name, nothing), *other._named.get(name, nothing)] for name in names]
        rows += [[*own, *beside] for own, beside in zip(self._single, other._single, strict=True)]
        return np.asarray(rows, dtype=np.float64)

    def interval(self, statistic: Statistic) -> Interval:
        """Of any statistic of the means of the sums."""
        return interval_of_sum([self], statistic)

    @property
    def mean(self) -> float:
        """Sum / count, the two things added for each question; 0 of none."""
        rows = self.rows
        right, of = rows.sum(0) if len(rows) else (0.0, 0.0)
        return float(right / of) if of else 0.0

    def mean_interval(self, scale: float = 1.0) -> Interval:
        """Of `mean`: Wilson's where each cluster is one right or wrong.

        Resampling says nothing where all or none are right; then Wilson's again, each cluster counted as one try. Of no
        questions anything can be: 0 to 1.
        """
        def share(means: Floats) -> Floats:
            return scale * ratio(means[..., 0], means[..., 1])

        measure = Measure((self,), share)
        rows = self.rows
        if not len(rows):
            return Interval(0.0, scale, measure)
        right, of = rows.sum(0)
        n = len(rows)
        if right in (0, of):
            found = wilson(n if right else 0, n)
        elif bool(np.all(rows[:, 1] == 1) and np.all((rows[:, 0] == 0) | (rows[:, 0] == 1))):
            found = wilson(int(right), n)
        else:
            return self.interval(share)
        return Interval(found.low * scale, found.high * scale, measure)


@dataclass(frozen=True)
class Measure:
    """How a score is made of clusters: a statistic of the means of their sums, added up over strata."""

    strata: tuple[Clusters, ...]
    statistic: Statistic


class Interval(tuple[float, float]):
    """(low, high). measure: of what."""

    measure: Measure

    def __new__(cls, low: float, high: float, measure: Measure) -> Interval:
        made = super().__new__(cls, (low, high))
        made.measure = measure
        return made


def interval_of_sum(strata: Sequence[Clusters], statistic: Statistic) -> Interval:
    """Of a statistic summed over strata that are resampled apart (the subtasks of MME)."""
    found = bootstrap([one.rows for one in strata], statistic)
    return Interval(found.low, found.high, Measure(tuple(strata), statistic))


@dataclass(frozen=True)
class Sampled:
    """A statistic, the limits of its 95 % interval, and its standard error. is_normal: by the delta method."""

    value: float
    low: float
    high: float
    error: float
    is_normal: bool = False


def bootstrap(strata: Sequence[Floats], statistic: Statistic, seed: int = 0, resamples: int = RESAMPLES) -> Sampled:
    """The percentile interval of a statistic, summed over strata that are resampled apart.

    strata: each [clusters, k]. The same seed, the same interval. Where a stratum has too many distinct rows, the
    interval is the normal one with the statistic's first derivative (the delta method).
    """
    tables = [np.unique(rows, axis=0, return_counts=True) for rows in strata]
    value = sum(float(statistic(counts @ distinct / counts.sum())) for distinct, counts in tables)
    if any(len(distinct) > MOST_DISTINCT_ROWS for distinct, _ in tables):
        error = math.sqrt(sum(_variance(distinct, counts, statistic) for distinct, counts in tables))
        return Sampled(value, value - Z95 * error, value + Z95 * error, error, is_normal=True)
    generator = np.random.default_rng(seed)
    drawn = sum(_resampled(distinct, counts, statistic, generator, resamples) for distinct, counts in tables)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Sampled(value, float(low), float(high), float(np.std(drawn)))


def _resampled(
    distinct: Floats, counts: np.ndarray, statistic: Statistic, generator: np.random.Generator, resamples: int
) -> Floats:
    n = int(counts.sum())
    part = max(1, 4_000_000 // len(distinct))  # of draws at a time: a few tens of megabytes
    found = []
    for start in range(0, resamples, part):
        draws = generator.multinomial(n, counts / n, size=min(part, resamples - start))
        found.append(statistic(draws @ distinct / n))
    return np.concatenate(found)


def _variance(distinct: Floats, counts: np.ndarray, statistic: Statistic) -> float:
    """Of the statistic over samples of that many clusters: of each cluster's first-order influence on it."""
    n = int(counts.sum())
    means = counts @ distinct / n
    steps = np.eye(len(means)) * (_STEP * np.maximum(1.0, np.abs(means)))
    slope = (statistic(means + steps) - statistic(means)) / steps.sum(0)
    influence = (distinct - means) @ slope
    return float(counts @ influence**2 / n / n)
