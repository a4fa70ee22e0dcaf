"""Who gives how much, and that every place of the sequence is the same for everybody."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.data.mixture import Mixture, shares
from sensorium.errors import SensoriumError


@dataclass(frozen=True)
class Wanted:
    title: str = "source"
    weight: float | None = None
    samples: int | None = None
    epochs: float | None = None


def test_without_a_word_every_source_is_taken_once():
    assert shares([Wanted(), Wanted()], [30, 12], None) == [30, 12]


def test_samples_and_epochs_are_what_they_say():
    assert shares([Wanted(samples=50), Wanted(epochs=1.5)], [30, 12], None) == [50, 18]


def test_weights_divide_what_the_others_leave():
    wanted = [Wanted(samples=40), Wanted(weight=2), Wanted(weight=1)]
    assert shares(wanted, [10, 10, 10], 100) == [40, 40, 20]
    assert shares([Wanted(), Wanted()], [30, 10], 100) == [75, 25]  # by length where no weight is given


def test_temperature_evens_out():
    """Weights 900 and 100; roots 30 and 10."""
    assert shares([Wanted(), Wanted()], [900, 100], 400, temperature=2) == [300, 100]


def test_shares_of_tokens():
    """Half of the tokens each, one with samples three times as long: a quarter and three quarters of the samples."""
    wanted = [Wanted(weight=1), Wanted(weight=1)]
    assert shares(wanted, [10, 10], 400, tokens=[300, 100]) == [100, 300]


@pytest.mark.parametrize(("wanted", "total", "message"), [
    ([Wanted(samples=5), Wanted(samples=5)], 11, "is 11, but the sources give 10"),
    ([Wanted(samples=9), Wanted()], 9, "leaves 0 for 1 sources"),
])
def test_totals_that_do_not_fit_are_refused(wanted, total, message):
    with pytest.raises(SensoriumError, match=message):
        shares(wanted, [10, 10], total)


def test_weights_are_for_all_or_for_none():
    with pytest.raises(SensoriumError, match="b: weight: is missing"):
        shares([Wanted("a", weight=2), Wanted("b")], [10, 600_000], 100)


def test_an_empty_source_is_named():
    with pytest.raises(SensoriumError, match=r"mix.json: has no samples"):
        shares([Wanted("mix.json")], [0], 10)


@given(st.lists(st.tuples(st.floats(0.01, 100), st.integers(1, 1000)), min_size=1, max_size=6), st.integers(6, 5000))
def test_weights_give_exactly_the_total_and_something_of_each(sources, total):
    counts = shares([Wanted(weight=w) for w, _ in sources], [n for _, n in sources], total)
    assert sum(counts) == total and min(counts) >= 1
    whole = sum(w for w, _ in sources)
    for (weight, _), count in zip(sources, counts, strict=True):
        assert abs(count - weight / whole * total) <= len(sources)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), min_size=1, max_size=5), st.integers(0, 99))
def test_each_source_gives_its_count_in_whole_passes(sources, seed):
    counts, lengths = [count for count, _ in sources], [length for _, length in sources]
    mixture = Mixture.of(counts, lengths, seed)
    assert len(mixture) == sum(counts)
    drawn = [mixture[place] for place in range(len(mixture))]
    for number, (count, length) in enumerate(sources):
        rows = [row for source, row in drawn if source == number]
        assert len(rows) == count
        for start in range(0, count, length):
            one_pass = rows[start : start + length]
            assert len(set(one_pass)) == len(one_pass) and max(one_pass) < length
    again = Mixture.of(counts, lengths, seed)
    assert np.array_equal(mixture.source, again.source) and np.array_equal(mixture.row, again.row)


def test_sources_are_mixed_and_another_seed_is_another_order():
    one, other = (Mixture.of([500, 500], [100, 100], seed) for seed in (1, 2))
    assert Counter(one.source[:100].tolist()).keys() == {0, 1} and 30 < int(one.source[:100].sum()) < 70
    assert not np.array_equal(one.source, other.source) and not np.array_equal(one.row, other.row)
    first, second = one.row[one.source == 0][:100], one.row[one.source == 0][100:200]
    assert sorted(first) == sorted(second) and not np.array_equal(first, second)  # each pass has its own order
