"""Intervals by cluster: against Wilson's, against the standard error, against the definition of the bootstrap."""

from __future__ import annotations

import random

import numpy as np
import pytest

from sensorium.evaluation import intervals
from sensorium.evaluation.intervals import Clusters, bootstrap
from sensorium.evaluation.metrics import ratio, wilson


def _shares(clusters):
    found = Clusters()
    for name, right, of in clusters:
        found.add(name, right, of)
    return found


def _limits(found):
    return found.low, found.high


def test_one_question_a_picture_is_a_share_with_wilsons_interval():
    found = _shares((i, i < 8, 1) for i in range(10)).mean_interval(100)
    assert found == pytest.approx((100 * wilson(8, 10).low, 100 * wilson(8, 10).high))


def test_questions_about_one_picture_are_one_try():
    """Ten pictures of four equal answers: as wide as ten tries, 1.96 · sqrt(.25 / 10) = .31, not as forty, .15."""
    together = _shares((i // 4, i < 20, 1) for i in range(40)).mean_interval()
    apart = _shares((None, i < 20, 1) for i in range(40)).mean_interval()
    assert together[1] - together[0] == pytest.approx(2 * 0.31, abs=0.05)
    assert apart[1] - apart[0] == pytest.approx(2 * 0.15, abs=0.02)


def test_where_all_are_right_the_pictures_are_counted():
    found = _shares((i // 2, 1, 1) for i in range(20)).mean_interval()
    assert found == pytest.approx((wilson(10, 10).low, 1.0))


def test_the_order_of_adding_changes_nothing():
    rows = [(i % 7, i % 3 == 0, 1) for i in range(100)]
    shuffled = random.Random(0).sample(rows, len(rows))
    assert _shares(rows).mean_interval() == _shares(shuffled).mean_interval()


def test_equal_rows_drawn_together_are_the_same_bootstrap():
    """Against the bootstrap by its definition: draw as many pictures as there are, with replacement."""
    rows = np.random.default_rng(1).integers(0, 3, size=(60, 2)).astype(float)
    found = _limits(bootstrap([rows], lambda means: ratio(means[..., 0], means[..., 1])))
    generator = np.random.default_rng(2)
    drawn = [rows[generator.integers(0, 60, size=60)].sum(0) for _ in range(4000)]
    assert found == pytest.approx(np.percentile([a / b for a, b in drawn], [2.5, 97.5]), abs=0.03)


def test_strata_add_their_variances():
    """Two sums of shares of 100 each: 1.96 · sqrt(.25/100 + .25/100) = .139."""
    rows = np.asarray([[float(i < 50)] for i in range(100)])
    low, high = _limits(bootstrap([rows, rows], lambda means: means[..., 0]))
    assert (low + high) / 2 == pytest.approx(1.0, abs=0.02)
    assert (high - low) / 2 == pytest.approx(0.139, abs=0.015)


def test_the_normal_interval_of_many_rows_is_the_bootstraps(monkeypatch):
    rows = np.random.default_rng(1).random((800, 2)) + 0.5

    def f1(means):
        return ratio(2 * means[..., 0] * means[..., 1], means[..., 0] + means[..., 1])

    resampled = _limits(bootstrap([rows], f1))
    monkeypatch.setattr(intervals, "MOST_DISTINCT_ROWS", 100)
    assert _limits(bootstrap([rows], f1)) == pytest.approx(resampled, abs=0.002)
    assert _limits(bootstrap([rows, rows], f1)) != resampled
