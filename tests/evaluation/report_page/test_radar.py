"""The radar's geometry: zero is the middle, the top is the outermost ring, and an interval lies on its axis."""

from __future__ import annotations

import math

import pytest

from sensorium.evaluation.report_page.radar import HEIGHT, RADIUS, WIDTH, radar
from sensorium.evaluation.report_page.view import Bucket


def buckets(*values):
    return [Bucket(f"kind {i}", value, value / 2, value) for i, value in enumerate(values)]


def reach(point):
    return math.dist(point, (WIDTH / 2, HEIGHT / 2)) / RADIUS


def test_values_lie_at_their_share_of_the_way_out():
    found = radar(200, [("m", buckets(200, 100, 50, 0))])
    assert [reach(point) for point in found.series[0].points] == pytest.approx([1, 0.5, 0.25, 0], abs=0.01)
    # The first axis points up, the next ones follow the clock: right, down.
    assert found.series[0].points[0] == (WIDTH / 2, HEIGHT / 2 - RADIUS)
    assert found.series[0].points[1] == (WIDTH / 2 + RADIUS / 2, HEIGHT / 2)


def test_intervals_lie_on_their_axis_around_the_value():
    found = radar(1, [("m", buckets(1.0, 0.5, 0.5))])
    x1, y1, x2, y2 = found.series[0].whiskers[0]
    assert x1 == x2 == WIDTH / 2
    assert (reach((x1, y1)), reach((x2, y2))) == pytest.approx((0.5, 1.0), abs=0.01)


def test_what_cannot_be_beyond_the_rim_is_drawn_on_it():
    found = radar(1, [("m", [Bucket(str(i), 1.0, 0.5, 1.4) for i in range(3)])])
    assert reach(found.series[0].whiskers[0][2:]) == pytest.approx(1.0, abs=0.01)


def test_series_are_matched_by_name_and_what_is_missing_is_nothing():
    first, second = buckets(0.5, 0.5, 0.5), list(reversed(buckets(0.2, 0.4, 0.6)))[:2]
    found = radar(1, [("A", first), ("B", second)])
    assert [reach(point) for point in found.series[1].points] == pytest.approx([0, 0.4, 0.6], abs=0.01)
    assert len(found.series[1].whiskers) == 2


def test_buckets_without_an_interval_have_none():
    found = radar(1, [("m", [Bucket(str(i), 0.5, None, None) for i in range(3)])])
    assert found.series[0].whiskers == ()


@pytest.mark.parametrize("n", [1, 2, 17, 120])
def test_two_axes_are_no_shape_and_a_hundred_no_picture(n):
    assert radar(1, [("m", buckets(*[0.5] * n))]) is None


def test_labels_stay_inside_the_drawing():
    names = ["Action Recognition and more words", "a" * 60, "object_reasoning", "OCR Problems", "x"]
    found = radar(1, [("m", [Bucket(name, 0.5, None, None) for name in names])])
    for label in found.labels:
        width = 8 * max(map(len, label.lines))  # an "a" of 13 px in a wide typeface
        left = {"start": 0, "middle": width / 2, "end": width}[label.anchor]
        assert label.x - left >= 0 and label.x - left + width <= WIDTH
        assert label.y >= 10 and label.y + 14 * (len(label.lines) - 1) <= HEIGHT
