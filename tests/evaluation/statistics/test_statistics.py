"""Intervals, clustered errors and tests: against scipy, against sums by hand, and against the papers' own examples."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from sensorium.evaluation.metrics import wilson
from sensorium.evaluation.statistics import (
    clustered_mean,
    difference,
    exact_interval,
    holm,
    mcnemar,
    sign_flip,
    stability,
)
from sensorium.evaluation.statistics.paired import Z80, verdict


@pytest.mark.parametrize(("right", "of"), [(0, 7), (7, 7), (1, 30), (13, 40), (2000, 2700)])
def test_the_intervals_of_a_share_are_those_of_scipy(right, of):
    for ours, method in ((exact_interval(right, of), "exact"), (wilson(right, of), "wilson")):
        theirs = stats.binomtest(right, of).proportion_ci(0.95, method)
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
        assert ours.value == right / of


def test_the_exact_interval_of_no_success_is_that_of_the_power_of_a_half_tail():
    """(1 - high)^n = 0.025, worked out by hand."""
    assert exact_interval(0, 10).high == pytest.approx(1 - 0.025 ** (1 / 10))


def test_a_share_of_nothing_is_none():
    with pytest.raises(ValueError, match="0 right of 0"):
        exact_interval(0, 0)


def test_with_one_value_a_cluster_the_error_is_the_usual_one():
    values = [0.0, 1.0, 1.0, 0.3]
    mean = clustered_mean(values, range(4))
    assert mean.value == pytest.approx(0.575)
    assert mean.error == pytest.approx(np.std(values) / 2)


def test_the_clustered_error_is_the_variance_and_the_cross_terms():
    """Miller's formula, term by term: SE² = var / n + Σ over clusters Σ i≠j (x_i - m)(x_j - m) / n²."""
    values = np.array([1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.5])
    clusters = ["a", "a", "b", "b", "b", "c", "d"]
    n, centred = len(values), values - values.mean()
    cross = sum(
        centred[i] * centred[j]
        for i, j in itertools.permutations(range(n), 2) if clusters[i] == clusters[j]
    )  # fmt: skip
    expected = math.sqrt(values.var() / n + cross / n**2)
    found = clustered_mean(values, clusters)
    assert found.error == pytest.approx(expected, rel=1e-12)
    assert (found.n, found.clusters) == (7, 4)
    half = stats.t.ppf(0.975, 3) * expected
    assert found.interval == pytest.approx((values.mean() - half, values.mean() + half))


def test_equal_answers_within_clusters_count_as_one():
    """Each question asked three times over: the naive error would shrink by the root of three, the clustered not."""
    rng = np.random.default_rng(1)
    values = rng.integers(0, 2, 50).astype(float)
    once = clustered_mean(values, range(50)).error
    thrice = clustered_mean(np.repeat(values, 3), np.repeat(np.arange(50), 3).tolist()).error
    assert thrice == pytest.approx(once)


def test_one_cluster_has_no_error():
    mean = clustered_mean([1.0, 0.0], ["p", "p"])
    assert mean.error is None and mean.interval is None


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (5, 1), (3, 10), (12, 12), (40, 10)])
def test_mcnemar_is_the_binomial_test_of_the_questions_that_differ(only_first, only_second):
    first = np.array([1] * only_first + [0] * only_second + [1, 0, 1, 0])
    second = np.array([0] * only_first + [1] * only_second + [1, 0, 1, 0])
    found = mcnemar(first, second)
    n = only_first + only_second
    tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1)) / 2**n
    assert (found.only_first, found.only_second) == (only_first, only_second)
    assert found.p == pytest.approx(min(1.0, 2 * tail))


def test_few_clusters_are_flipped_in_all_ways():
    """Three clusters with 1, 2, 3: of eight signs only +++ and --- reach 6."""
    assert sign_flip(np.array([1.0, 2.0, 3.0])) == 2 / 8
    # 1 + 1 - 2: every arrangement is at least as far from 0 as 0 is.
    assert sign_flip(np.array([1.0, 1.0, -2.0])) == 1.0
    assert sign_flip(np.zeros(5)) == 1.0


def test_the_exact_flips_are_those_of_scipy():
    sums = np.array([0.3, -0.1, 0.7, 0.2, 0.25, 0.6, -0.4, 1.1])
    theirs = stats.permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(sums) == pytest.approx(theirs.pvalue)


def test_many_clusters_are_drawn_and_come_near_the_normal_distribution():
    rng = np.random.default_rng(3)
    sums = rng.integers(-1, 3, 4000).astype(float) - 0.48
    z = sums.sum() / math.sqrt((sums**2).sum())
    assert sign_flip(sums) == pytest.approx(2 * stats.norm.sf(abs(z)), abs=0.01)
    assert sign_flip(sums) == sign_flip(sums[::-1].copy()), "the order of pictures changes nothing"


def test_a_certain_difference_is_never_of_probability_zero():
    assert sign_flip(np.ones(100)) == pytest.approx(1 / 20001)


def test_holm_is_worked_out_by_hand():
    """Sorted .005 .011 .02 .04, times 4 3 2 1, and never falling."""
    found = holm({"a": 0.02, "b": 0.005, "c": 0.04, "d": 0.011})
    assert found == pytest.approx({"a": 0.04, "b": 0.02, "c": 0.04, "d": 0.033})
    assert holm({"x": 0.9, "y": 0.8}) == {"x": 1.0, "y": 1.0}
    assert holm({}) == {}


def test_the_smallest_difference_of_2700_questions_is_that_of_the_literature():
    """Standard deviation .5 of either run and correlation .5: 2.7 points at 80 % power (Miller, arXiv:2411.00640)."""
    assert pytest.approx(stats.norm.ppf(0.8)) == Z80
    # 2700 pairs with exactly those moments: 25 % differ, both ways alike.
    first = np.repeat([1, 0, 1, 0], [1012, 1012, 338, 338]).astype(float)
    second = np.repeat([1, 0, 0, 1], [1012, 1012, 338, 338]).astype(float)
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(0.5, abs=0.001)
    found = difference(first, second, range(2700), True)
    assert found.smallest == pytest.approx(0.027, abs=0.0001)
    assert found.mean.value == 0 and found.p > 0.9 and found.mcnemar.p == 1.0


def test_pairs_hide_nothing_that_they_have_in_common():
    """Two runs that differ on ten questions of a thousand, always in favour of the second."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2, 1000).astype(float)
    second = first.copy()
    second[np.flatnonzero(first == 0)[:10]] = 1
    found = difference(first, second, range(1000), True)
    assert found.mean.value == pytest.approx(0.01)
    assert (found.mcnemar.only_first, found.mcnemar.only_second) == (0, 10)
    assert found.mcnemar.p == found.p == pytest.approx(2 / 2**10)
    assert found.mean.error == pytest.approx(math.sqrt(0.01 * 0.99 / 1000))
    assert verdict(found.mean.value, found.p) == "better"
    assert verdict(-found.mean.value, found.p) == "worse"
    assert verdict(found.mean.value, 0.05) == "tied"


def test_questions_of_one_picture_are_flipped_together():
    """Ten questions about one picture are one toss, not ten."""
    found = difference([0.0] * 10 + [1.0], [1.0] * 10 + [1.0], ["p"] * 10 + ["q"], True)
    assert found.p == 1.0
    assert found.mcnemar.p == pytest.approx(2 / 2**10)


def test_stability_is_worked_out_by_hand():
    worth = [[1, 1, 0], [0, 0, 0], [1, 0, 0]]
    said = [["a", "a", "b"], ["c", "c", "c"], ["a", "b", "c"]]
    found = stability(worth, said, ["p", "q", "r"])
    assert found.expected.value == pytest.approx((2 / 3 + 0 + 1 / 3) / 3)
    assert found.consensus.value == pytest.approx(2 / 3)  # a; c; of three equals the first, a
    assert found.variance == pytest.approx((1 / 3 + 0 + 1 / 3) / 3)
    assert found.consistency == pytest.approx((1 / 3 + 1 + 0) / 3)
    assert found.unanimous == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="at least two"):
        stability([[1]], [["a"]], ["p"])
