"""Label rule, intervals, bootstrap: against the published rule, the definition, and arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.evaluation.metrics import cluster_bootstrap, ratio, wilson, yes_or_no


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("Yes", "yes"), ("yes.", "yes"), ("YES, there is a dog.", "yes"), ("No", "no"), ("no\n", "no"),
        (" Yes", "yes"), ("  yes", "other"),  # the fourth character is still looked at, the fifth is not
        ("Not sure", "no"), ("None", "no"), ("Answer: no", "other"), ("There is a dog.", "other"), ("", "other"),
    ],
)  # fmt: skip
def test_a_reply_is_labelled_as_mmes_tool_does(reply, label):
    assert yes_or_no(reply) == label


def test_wilson_gives_the_textbook_values():
    # Computed from the closed form with z = 1.96: 8 of 10, and nothing of 10 (upper end z² / (n + z²)).
    found = wilson(8, 10)
    assert (found.value, found.low, found.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10).low == 0
    assert wilson(0, 10).high == pytest.approx(1.959964**2 / (10 + 1.959964**2), abs=1e-6)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_ends_are_the_shares_from_which_the_found_one_lies_just_1_96_deviations_away(counts):
    right, of = counts
    found = wilson(right, of)
    assert 0 <= found.low <= found.value <= found.high <= 1
    for end in (found.low, found.high):  # the definition, of which the code has the closed solution
        away = abs(end - right / of)
        assert away == pytest.approx(1.959964 * np.sqrt(end * (1 - end) / of), abs=1e-6)


def test_nothing_asked_is_no_share():
    with pytest.raises(ValueError, match="no share"):
        wilson(0, 0)


def test_the_bootstrap_of_a_mean_is_as_wide_as_its_standard_error_says():
    rows = np.random.default_rng(1).random((400, 1))
    found = cluster_bootstrap(rows, lambda means: means[..., 0])
    assert found.value == pytest.approx(rows.mean())
    half = 1.96 * rows.std() / np.sqrt(400)
    assert (found.value - found.low, found.high - found.value) == pytest.approx((half, half), rel=0.1)


def test_the_bootstrap_repeats_itself_and_depends_on_its_seed():
    rows = np.random.default_rng(1).random((30, 1))
    first, again, other = (cluster_bootstrap(rows, lambda means: means[..., 0], seed) for seed in (0, 0, 1))
    assert first == again != other


def test_pictures_are_resampled_whole():
    """Ten pictures of two equal answers each say as much as ten answers, not as twenty."""
    pictures = [(1.0,)] * 5 + [(0.0,)] * 5
    found = cluster_bootstrap(pictures, lambda means: means[..., 0])
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 10), abs=0.1)


def test_a_ratio_over_nothing_is_zero():
    assert ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0])).tolist() == [0.5, 0.0]
