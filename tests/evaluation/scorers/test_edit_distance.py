"""The distance against the table of Wagner and Fischer (1974)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sensorium.evaluation.scorers.edit_distance import edit_distance


def _by_table(first: str, second: str) -> int:
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        corner, row[0] = row[0], i
        for j, b in enumerate(second, start=1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (a != b))
    return row[-1]


@given(st.text("abé", max_size=80), st.text("abé", max_size=12))
def test_it_is_the_tables_distance_both_ways(first, second):
    assert edit_distance(first, second) == edit_distance(second, first) == _by_table(first, second)


def test_known_distances():
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "abc") == 3
    assert edit_distance("x" * 5000, "x" * 4999 + "y") == 1
