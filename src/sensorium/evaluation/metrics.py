"""Numbers from right and wrong: MME's label rule, Wilson intervals, and the bootstrap over pictures.

Nothing here knows of models or data. An interval belongs to every number, because a difference of three points on 150
pictures is noise; and two questions about one picture are not two independent tries, so what is made of them is
resampled by picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Label = Literal["yes", "no", "other"]

Z95 = 1.959963984540054  # the normal quantile of 0.975
RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval, all in one unit."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> Estimate:
        return Estimate(self.value * factor, self.low * factor, self.high * factor)

    def to_json(self) -> dict[str, float]:
        return {"value": round(self.value, 4), "low": round(self.low, 4), "high": round(self.high, 4)}


def yes_or_no(reply: str) -> Label:
    """What a reply says, by the rule of MME's own tool (arXiv:2306.13394).

    Lower case; `yes` among the first four characters is yes, else `no` among them is no, else other. So "Not sure" is
    no, and what does not begin with its answer is other: wrong for both truths.
    """
    head = reply.lower()[:4]
    return "yes" if "yes" in head else "no" if "no" in head else "other"


def wilson(right: int, of: int) -> Estimate:
    """A share 0–1 with Wilson's score interval (1927): sensible at 0, at 1 and for small counts, unlike ± 2 SE."""
    if not 0 <= right <= of or of == 0:
        raise ValueError(f"{right} right of {of} is no share.")
    share = right / of
    spread = 1 + Z95**2 / of
    centre = (share + Z95**2 / (2 * of)) / spread
    half = Z95 * math.sqrt(share * (1 - share) / of + Z95**2 / (4 * of**2)) / spread
    # At the ends the two terms are equal and only rounding parts them; the share itself must lie inside.
    return Estimate(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def cluster_bootstrap(
    rows: Sequence[Sequence[float]], statistic: Callable[[Floats], Floats], seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """A statistic of sums over clusters, with the percentile interval of resampling whole clusters.

    rows: [clusters, k], what each cluster (a picture) adds to each of k sums. statistic: [..., k] means over clusters
    -> [...]; it must not depend on the scale of its argument's clusters, only on means (ratios of sums are fine).
    The same seed, the same interval.
    """
    table = np.asarray(rows, dtype=np.float64)
    n = len(table)
    if table.ndim != 2 or n == 0:
        raise ValueError("a bootstrap needs at least one cluster.")
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    low, high = np.percentile(statistic(draws @ table / n), [2.5, 97.5])
    return Estimate(float(statistic(table.mean(0))), float(low), float(high))


def ratio(over: Floats, under: Floats) -> Floats:
    """over / under, 0 where under is 0."""
    return np.divide(over, under, out=np.zeros_like(np.asarray(over, dtype=np.float64)), where=np.asarray(under) != 0)
