"""The mean of values that come in clusters, with a standard error that knows it (Miller, arXiv:2411.00640).

Three questions about one picture are wrong together when the picture is misread. The naive error is then too small, up
to the square root of the questions a picture; the clustered one adds the cross terms within each cluster.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.evaluation.metrics import Floats


@dataclass(frozen=True)
class Mean:
    """error: standard error, None where there is but one cluster; low, high: 95 %, by Student's t with clusters - 1
    degrees of freedom, since few clusters say less about their own spread than the normal distribution pretends."""

    value: float
    error: float | None
    n: int
    clusters: int

    @property
    def interval(self) -> tuple[float, float] | None:
        if self.error is None:
            return None
        half = quantile(self.clusters) * self.error
        return self.value - half, self.value + half


def clustered_mean(values: Sequence[float] | Floats, clusters: Sequence[Hashable]) -> Mean:
    """SE² = Σ over clusters of (Σ within it of (value - mean))² / n²: variance plus cross terms, as Miller has it.

    With one value a cluster this is the usual standard error (by n, not n - 1).
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 1 or not len(table) or len(table) != len(clusters):
        raise ValueError("a mean needs values, and a cluster for each.")
    mean = float(table.mean())
    sums = cluster_sums(table - mean, clusters)
    error = math.sqrt(float(sums @ sums)) / len(table) if len(sums) > 1 else None
    return Mean(mean, error, len(table), len(sums))


def cluster_sums(values: Floats, clusters: Sequence[Hashable]) -> Floats:
    """[clusters], in the order in which they first appear."""
    numbers: dict[Hashable, int] = {}
    index = [numbers.setdefault(cluster, len(numbers)) for cluster in clusters]
    return np.bincount(index, weights=values, minlength=len(numbers)).astype(np.float64)


def quantile(clusters: int) -> float:
    """Of 0.975, of Student's t."""
    from scipy.stats import t

    return float(t.ppf(0.975, clusters - 1))
