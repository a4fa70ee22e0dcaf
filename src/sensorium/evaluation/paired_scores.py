"""Official scores of two runs over the same questions: F1, CIDEr, MME's sums, accuracy+; by how much do they differ?

Such scores are no means of questions, so no test of means is theirs. What they are is a statistic of sums over clusters
(`intervals.Measure`), and whole clusters are resampled, both runs' sums of a picture together: what makes a picture
hard is common to both and cancels. p is of the test that exchanges the two runs, cluster by cluster: if neither is
better, any of these exchanges might as well have been observed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import erfc, sqrt
from typing import Any

import numpy as np

from sensorium.evaluation.intervals import Interval, Measure, Sampled, Statistic, bootstrap
from sensorium.evaluation.metrics import Z95, Floats
from sensorium.evaluation.scorers.outcome import Outcome
from sensorium.evaluation.statistics.paired import Z80, holm

EXCHANGES = 5_000
COLUMNS = ("score", "A", "B", "B - A", "95 %", "p", "detectable", "B is")


@dataclass(frozen=True)
class ScoreDifference:
    """second - first, in the unit of the official tool; low, high: of the difference, 95 %. p: adjusted by Holm over
    the headlines, or over all that stands below one. smallest: the least true difference that data like these would
    have shown in four of five tries."""

    name: str
    first: float
    second: float
    low: float
    high: float
    p_exchange: float
    p: float
    smallest: float

    @property
    def value(self) -> float:
        return self.second - self.first

    @property
    def verdict(self) -> str:
        """Not better or worse: of some scores, as the share of yes or CHAIR's, more is not better."""
        if self.p >= 0.05 or self.value == 0:
            return "tied"
        return "higher" if self.value > 0 else "lower"

    @property
    def cells(self) -> tuple[str, ...]:
        """As tables show it, under `COLUMNS`."""
        return (
            self.name, _shown(self.first), _shown(self.second), _signed(self.value),
            f"{_signed(self.low)} to {_signed(self.high)}", f"{self.p:.3g}", f"{self.smallest:.3g}", self.verdict,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        return {
            "score": self.name, "first": self.first, "second": self.second, "difference": self.value,
            "interval": [self.low, self.high], "p_exchange": self.p_exchange, "p_adjusted": self.p,
            "smallest_detectable": self.smallest, "verdict": self.verdict,
        }  # fmt: skip


def score_differences(first: Outcome, second: Outcome, seed: int = 0) -> list[ScoreDifference]:
    """Of every score that both have with an interval. The outcomes must be of the same questions, in the same order."""
    found: list[ScoreDifference] = []
    others = dict(_measured((), second.values, second.intervals))
    for name, (value, measure) in _measured((), first.values, first.intervals):
        other = others.get(name)
        if other is None or (rows := _rows(measure, other[1])) is None:
            continue
        statistic = _differing(measure.statistic)
        spread = bootstrap(rows, statistic, seed)
        p = _exchanged(rows, statistic, spread, seed)
        low, high = _around(other[0] - value, spread)
        found.append(ScoreDifference(name, value, other[0], low, high, p, p, (Z95 + Z80) * spread.error))
    return _adjusted(found)


def _measured(
    path: tuple[str, ...], values: Mapping[str, Any], intervals: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[float, Measure]]]:
    for name, interval in intervals.items():
        value = values[name]
        if isinstance(interval, Mapping):
            yield from _measured((*path, name), value, interval)
        elif value is not None and isinstance(interval, Interval):
            yield ".".join((*path, name)), (value, interval.measure)


def _rows(first: Measure, second: Measure) -> list[Floats] | None:
    """Of each stratum [clusters, 2k]: the first run's sums, then the second's."""
    if len(first.strata) != len(second.strata):
        return None
    rows = [one.beside(other) for one, other in zip(first.strata, second.strata, strict=True)]
    kept = [one for one in rows if one is not None and one.size]
    return kept if kept and len(kept) == len(rows) else None


def _differing(statistic: Statistic) -> Statistic:
    def second_less_first(means: Floats) -> Floats:
        half = means.shape[-1] // 2
        return statistic(means[..., half:]) - statistic(means[..., :half])

    return second_less_first


def _around(value: float, spread: Sampled) -> tuple[float, float]:
    """The interval about the difference of the numbers as printed: some tools round theirs."""
    return value + spread.low - spread.value, value + spread.high - spread.value


def _exchanged(rows: Sequence[Floats], statistic: Statistic, spread: Sampled, seed: int) -> float:
    """Two-sided; the observed arrangement counts as one of the draws, so that p is never 0.

    Clusters with equal sums are exchanged together as a binomial count. Where there are too many different ones, p is
    that of the normal distribution, as the interval is.
    """
    if all(bool((table == np.roll(table, table.shape[1] // 2, axis=1)).all()) for table in rows):
        return 1.0
    if spread.is_normal:
        return erfc(abs(spread.value) / spread.error / sqrt(2)) if spread.error else 1.0
    generator = np.random.default_rng(seed)
    drawn = sum(_exchanges(table, statistic, generator) for table in rows)
    observed = abs(spread.value) * (1 - 1e-9)  # equal ones must count, whatever rounding did to them
    return float((1 + np.sum(np.abs(drawn) >= observed)) / (1 + EXCHANGES))


def _exchanges(table: Floats, statistic: Statistic, generator: np.random.Generator) -> Floats:
    distinct, counts = np.unique(table, axis=0, return_counts=True)
    exchanged = np.roll(distinct, distinct.shape[1] // 2, axis=1)
    part = max(1, 4_000_000 // len(distinct))  # of draws at a time: a few tens of megabytes
    found = []
    for start in range(0, EXCHANGES, part):
        many = generator.binomial(counts, 0.5, size=(min(part, EXCHANGES - start), len(counts)))
        found.append(statistic((many @ exchanged + (counts - many) @ distinct) / counts.sum()))
    return np.concatenate(found)


def _adjusted(found: Sequence[ScoreDifference]) -> list[ScoreDifference]:
    """By Holm over the headlines, and over what stands below each of them: all subtasks, all buckets."""
    levels: dict[str, dict[str, float]] = {}
    for one in found:
        above, _, below = one.name.partition(".")
        levels.setdefault(above if below else "", {})[one.name] = one.p_exchange
    adjusted = {name: p for level in levels.values() for name, p in holm(level).items()}
    return [replace(one, p=adjusted[one.name]) for one in found]


def _signed(value: float) -> str:
    """Three digits; what only rounding has left of a nought is a nought."""
    return f"{round(value, 9) + 0.0:+.3g}"


def _shown(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.4g}"
