"""Two models on the same questions: by how much they differ, and whether that could be chance.

Pairing matters more than anything else: on the same questions two models are right and wrong together, and what they
have in common cancels. Questions about one picture are not independent, so errors are clustered and the permutation
flips whole pictures.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.evaluation.metrics import Z95, Floats
from sensorium.evaluation.statistics.clustered import Mean, cluster_sums, clustered_mean

Z80 = 0.8416212335729143  # the normal quantile of 0.8
EXACT_UP_TO = 16  # clusters that differ: 2^16 signs are all tried
DRAWS = 20_000


@dataclass(frozen=True)
class McNemar:
    """Questions that only the one got right, only the other; p: exact, two-sided. It knows nothing of clusters."""

    only_first: int
    only_second: int
    p: float


@dataclass(frozen=True)
class Difference:
    """second - first. p: of the permutation over clusters. smallest: the least true difference that data like these
    would have shown in four of five tries (power 80 %, level 5 %)."""

    mean: Mean
    first: float
    second: float
    p: float
    smallest: float | None
    mcnemar: McNemar | None


def difference(
    first: Sequence[float], second: Sequence[float], clusters: Sequence[Hashable], are_binary: bool, seed: int = 0
) -> Difference:
    """Of two runs over the same questions, in the same order. are_binary: right or wrong, so that McNemar applies."""
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if len(one) != len(other):
        raise ValueError("paired values must be as many.")
    mean = clustered_mean(other - one, clusters)
    smallest = None if mean.error is None else (Z95 + Z80) * mean.error
    return Difference(
        mean, float(one.mean()), float(other.mean()), sign_flip(cluster_sums(other - one, clusters), seed), smallest,
        mcnemar(one, other) if are_binary else None,
    )  # fmt: skip


def mcnemar(first: Floats, second: Floats) -> McNemar:
    """McNemar's test, exact: of the questions on which they differ, each is a fair coin if they are equally good."""
    from scipy.stats import binomtest

    only_first = int(np.sum((first == 1) & (second == 0)))
    only_second = int(np.sum((first == 0) & (second == 1)))
    n = only_first + only_second
    p = float(binomtest(only_first, n, 0.5).pvalue) if n else 1.0
    return McNemar(only_first, only_second, p)


def sign_flip(sums: Floats, seed: int = 0) -> float:
    """p of the permutation test: if neither is better, each cluster's difference might as well have the other sign.

    sums: [clusters]. Exact where few clusters differ; else drawn, with the observed one counted among the draws, so
    that p is never 0. Clusters whose differences are of one size are flipped together as a binomial count: the same
    distribution, and a million clusters cost no more than a thousand.
    """
    sizes, counts = np.unique(np.abs(sums[sums != 0]), return_counts=True)
    if not len(sizes):
        return 1.0
    observed = abs(float(sums.sum())) * (1 - 1e-12)  # equal ones must count, whatever rounding did to their sum
    if counts.sum() <= EXACT_UP_TO:
        values = np.repeat(sizes, counts)
        signs = 1 - 2 * (np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1)
        return float(np.mean(np.abs(signs @ values) >= observed))
    generator = np.random.default_rng(seed)
    part = max(1, 4_000_000 // len(sizes))
    extreme = 0
    for start in range(0, DRAWS, part):
        plus = generator.binomial(counts, 0.5, size=(min(part, DRAWS - start), len(sizes)))
        extreme += int(np.sum(np.abs((2 * plus - counts) @ sizes) >= observed))
    return (1 + extreme) / (1 + DRAWS)


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """p adjusted for asking several questions at once (Holm, 1979): the chance of even one false alarm stays at 5 %."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    for rank, (name, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, (len(p) - rank) * value))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p}


def verdict(value: float, p: float, level: float = 0.05) -> str:
    """What may be said of second - first: "better", "worse" or "tied"."""
    if p >= level or math.isclose(value, 0.0):
        return "tied"
    return "better" if value > 0 else "worse"
