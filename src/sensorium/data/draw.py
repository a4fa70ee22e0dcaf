"""Drawing at random what builders, rewriters, mixtures and stages draw alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def pick(items: Sequence[Item], rng: np.random.Generator) -> Item:
    """One of them."""
    return items[int(rng.integers(len(items)))]


def passes(
    n_rows: int, samples: int, seed: int | Sequence[int], runs: Sequence[int] | None = None
) -> np.ndarray:
    """Row numbers of `samples` samples: whole shuffled passes over the rows, the last one cut.

    runs: lengths of runs of rows that are fetched together; a pass goes through the runs in shuffled order, each
    shuffled, so that one that is cut needs no more runs than it must.
    """
    random = np.random.default_rng(seed)
    if runs is None:
        rounds = [random.permutation(n_rows) for _ in range(-(-samples // n_rows))]
    else:
        starts = np.cumsum([0, *runs])
        rounds = [
            np.concatenate([starts[run] + random.permutation(runs[run]) for run in random.permutation(len(runs))])
            for _ in range(-(-samples // n_rows))
        ]
    return np.concatenate(rounds)[:samples] if rounds else np.empty(0, dtype=np.int64)
