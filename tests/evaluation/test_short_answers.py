"""Short answers are read as people give them, and only where they are given."""

from __future__ import annotations

import pytest

from sensorium.data.records import ANSWER_SUBSETS
from sensorium.evaluation.short_answers import best_constant, is_answer, read_answer


@pytest.mark.parametrize(("subset", "reply", "said"), [
    ("several_which", "The second one.", "second"),
    ("several_which", "Picture 1.", "first"),
    ("several_more", "There are more dogs in the first picture.", "first"),
    ("several_odd", "Image three has none.", "third"),
    ("several_larger", "2", "second"),
    ("several_odd", "Neither.", ""),
    ("several_odd", "Picture 12", ""),
    ("several_order", "Picture 2, picture 1, picture 3.", "second first third"),
    ("several_order", "Smallest first: picture three, then picture 1, then picture 2.", "third first second"),
    ("several_order", "The third one, the second one and the first one", "third second first"),
    ("several_order", "2 is smaller than 1, and 1 than 3.", "second first third"),
    ("several_order", "Picture 2, picture 1.", ""),
    ("several_sum", "Five.", "5"),
    ("several_sum", "Together there are 12 dogs.", "12"),
    ("several_sum", "There are none.", "0"),
    ("several_sum", "Many.", ""),
    ("several_both", "Yes, both do.", "yes"),
    ("several_same", "No.", "no"),
    ("several_same", "The same.", ""),
    ("reading_card", "HARBOR  lights.", "harbor lights"),
    ("reading_card", 'The card says "Harbor".', "harbor"),
    ("reading_page", "The third word is \u201charbor\u201d.", "harbor"),
    ("reading_page", " ", ""),
])  # fmt: skip
def test_what_a_reply_says(subset, reply, said):
    assert read_answer(reply, subset) == said


@pytest.mark.parametrize(("subset", "reply", "truth", "is_right"), [
    ("reading_card", "harbor", "HARBOR", True),
    ("reading_card", "harbor light", "Harbor", False),
    ("reading_card", "The harbor", "harbor", False),
    ("several_both", "Yes", "Yes", True),
    ("several_sum", "two", "2", True),
    ("several_which", "the first", "second", False),
])  # fmt: skip
def test_an_answer_is_right_when_it_is_the_whole_truth_in_either_case(subset, reply, truth, is_right):
    assert is_answer(reply, truth, subset) is is_right


def test_every_subset_of_short_answers_can_be_read():
    assert all(read_answer("", subset) == "" for subset in ANSWER_SUBSETS)


def test_the_best_constant_is_the_most_frequent_answer():
    assert best_constant(["2", "3", "2", "4"]) == 0.5
    assert best_constant(["Harbor", "harbor", "kite"]) == pytest.approx(2 / 3)
