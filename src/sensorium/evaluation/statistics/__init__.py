"""How sure a number is, and whether two of them differ: intervals, clustered errors, paired tests, repeated samples.

Everything here takes plain numbers and knows nothing of benchmarks. Sources: Wilson 1927, Clopper and Pearson 1934,
McNemar 1947, Holm 1979; Miller, "Adding Error Bars to Evals", arXiv:2411.00640, for clusters and pairs. Bootstraps over
clusters, for scores that are no means, are in `evaluation.intervals`.
"""

from sensorium.evaluation.statistics.clustered import Mean, clustered_mean
from sensorium.evaluation.statistics.paired import Difference, McNemar, difference, holm, mcnemar, sign_flip
from sensorium.evaluation.statistics.proportions import exact_interval
from sensorium.evaluation.statistics.stability import Stability, stability

__all__ = [
    "Difference", "McNemar", "Mean", "Stability", "clustered_mean", "difference", "exact_interval", "holm", "mcnemar",
    "sign_flip", "stability",
]  # fmt: skip
