"""The exact interval of a share (Clopper and Pearson, 1934). Wilson's, shorter as a rule, is in `metrics`."""

from __future__ import annotations

from sensorium.evaluation.metrics import Estimate


def exact_interval(right: int, of: int, confidence: float = 0.95) -> Estimate:
    """A share 0-1 with limits that hold at least the confidence whatever the true share is, of independent tries."""
    from scipy.stats import beta

    if not 0 <= right <= of or of == 0:
        raise ValueError(f"{right} right of {of} is no share.")
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, right, of - right + 1)) if right else 0.0
    high = float(beta.ppf(1 - tail, right + 1, of - right)) if right < of else 1.0
    return Estimate(right / of, low, high)
