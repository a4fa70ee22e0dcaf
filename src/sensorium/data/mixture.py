"""Which sample comes when: several sources as one sequence, the same for a seed whatever reads it.

How many samples each source gives is settled first (`shares`), then the places of the sequence are dealt to the sources
by a shuffle, and each source fills its places with whole shuffled passes over its rows. A place in the sequence is one
number; whoever has the seed and the lengths can say what stands there, so workers, processes and resumed runs agree
without talking to one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sensorium.data.draw import passes
from sensorium.errors import SensoriumError


class Measured(Protocol):
    """How much of a source is wanted: the part of `SourceSettings` that matters here."""

    @property
    def title(self) -> str: ...
    @property
    def weight(self) -> float | None: ...
    @property
    def samples(self) -> int | None: ...
    @property
    def epochs(self) -> float | None: ...


def shares(
    sources: Sequence[Measured],
    lengths: Sequence[int],
    total: int | None,
    temperature: float = 1.0,
    tokens: Sequence[float] | None = None,
) -> list[int]:
    """How many samples each source gives.

    lengths: rows of each source. total: samples of the whole mixture; None where every source says `samples` or
    `epochs`, or all are taken once. Weights, raised to 1 / temperature (1 leaves them, larger evens them out, T5's
    temperature mixing, arXiv:1910.10683, section 3.5.2), divide what is left of the total. tokens: mean tokens of a
    sample of each source; given, weights are shares of tokens instead of samples.
    Raises SensoriumError where a source is empty, or nothing is left for those that have weights.
    """
    for source, length in zip(sources, lengths, strict=True):
        if length == 0:
            raise SensoriumError(source.title, "has no samples.", "Check the source's path.")
    fixed = [_fixed(source, length) for source, length in zip(sources, lengths, strict=True)]
    weighted = [i for i, count in enumerate(fixed) if count is None]
    counts = [count or 0 for count in fixed]
    if not weighted:
        if total is not None and total != sum(counts):
            raise SensoriumError("samples", f"is {total}, but the sources give {sum(counts)} by themselves.",
                                 "Leave one of the two out.")
        return counts
    if len({sources[i].weight is None for i in weighted}) > 1:
        without = next(sources[i].title for i in weighted if sources[i].weight is None)
        raise SensoriumError(f"{without}: weight", "is missing, while other sources have one.",
                             "Give all of them a weight, or none.")
    left = (sum(lengths[i] for i in weighted) if total is None else total) - (sum(counts) if total is not None else 0)
    if left < len(weighted):
        raise SensoriumError("samples", f"leaves {max(left, 0)} for {len(weighted)} sources that have weights.",
                             "Raise the total, or lower the sources' own `samples`.")
    raw = np.array([float(sources[i].weight or lengths[i]) for i in weighted]) ** (1 / temperature)
    if tokens is not None:
        raw = raw / np.array([tokens[i] for i in weighted])
    for i, count in zip(weighted, _whole(raw / raw.sum() * left, left), strict=True):
        counts[i] = count
    return counts


@dataclass(frozen=True)
class Mixture:
    """The sequence. source, row, lap [samples]: which row of which source stands at each place, in which pass."""

    source: NDArray[np.uint16]
    row: NDArray[np.int64]
    lap: NDArray[np.int64]

    @classmethod
    def of(
        cls, counts: Sequence[int], lengths: Sequence[int], seed: int,
        runs: Sequence[Sequence[int] | None] | None = None,
    ) -> Mixture:
        """counts: samples of each source; lengths: their rows; runs: of each, see `draw.passes`.

        Each source's rows come in whole shuffled passes.
        """
        source = np.repeat(np.arange(len(counts), dtype=np.uint16), counts)
        np.random.default_rng((seed, 0)).shuffle(source)
        row, lap = np.empty((2, len(source)), dtype=np.int64)
        for number, (count, length) in enumerate(zip(counts, lengths, strict=True)):
            row[source == number] = passes(length, count, (seed, 1, number), runs[number] if runs else None)
            lap[source == number] = np.arange(count) // length
        return cls(source, row, lap)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, place: int) -> tuple[int, int]:
        return int(self.source[place]), int(self.row[place])


def _fixed(source: Measured, length: int) -> int | None:
    if source.samples is not None:
        return source.samples
    return max(1, round(source.epochs * length)) if source.epochs is not None else None


def _whole(wanted: NDArray[np.float64], total: int) -> list[int]:
    """Whole numbers that add up to the total, at least one each; what rounding left goes to the largest remainders."""
    counts = np.maximum(1, np.floor(wanted)).astype(int)
    order = np.argsort(-(wanted - np.floor(wanted)), kind="stable")
    for i in order[: max(0, total - int(counts.sum()))]:
        counts[i] += 1
    while (over := int(counts.sum()) - total) > 0:
        counts[int(np.argmax(counts))] -= min(over, int(counts.max()) - 1)
    return [int(count) for count in counts]
