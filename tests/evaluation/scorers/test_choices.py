"""Which option a reply means: each harness's rule with the replies on which they part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.evaluation.scorers.choices import (
    by_option_text,
    lmms_eval_letter,
    mmbench_letter_of_lmms_eval,
    videomme_2_letter,
    videomme_letter,
    videomme_letter_of_vlmevalkit,
    vlmevalkit_letter,
)

OPTIONS = {"A": "cat", "B": "Dog", "C": "blue hat", "D": "red"}


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("C", "C"), (" (C) Berries.", "C"), ("The best answer is D", "D"), ("Answer: B", "B"), ("", ""),
        ("Best answer: A", "B"),  # its prefix is never deleted, and B is the first capital
        ("Based on the video, it is A", "B"), ("Cats", "C"), ("the answer is b", ""),
        ("The best option isThe correct option is A", "A"),  # the join of two prefixes is deleted
        ("The best option is A", "A"),
        ("I do not know which of these it could be", ""),
        ("The answer is A because B is wrong", "A"),
    ],
)  # fmt: skip
def test_videomme_reads_the_first_capital_once_its_prefixes_are_gone(reply, letter):
    assert videomme_letter(reply) == letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("The correct answer", ""),  # official deletes it and finds no capital either
        ("it is a blue hat", "C"), ("the answer is b", "B"), ("the answer is blue", "B"), ("no idea", ""),
        ("a cat or a dog", ""),
    ],
)  # fmt: skip
def test_vlmevalkit_goes_on_with_the_options_text(reply, letter):
    assert videomme_letter_of_vlmevalkit(reply, OPTIONS) == letter


def test_the_second_edition_has_eight_options_and_its_prefixes_apart():
    assert videomme_2_letter("Final Answer: H") == "H"
    assert videomme_2_letter("Best answer: A") == "A"
    assert videomme_letter("Best answer: H") == "B"


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"), ("(B).", "B"), ("It is B: the dog", "B"), ("A or B", ""), ("Z", "Z"),
        ("B is what I would say after all of this thinking", ""),  # not among the last five words
        ("The answer is B, I would say after all, not A", "B"),  # two letters, then the pattern
        ("the dog", "B"), ("the dog and the cat", ""), ("Cannot determine the answer, B", "Z"),
        ("dog " + "x" * 40, ""),  # longer than twice all options together (3 + 3 + 8 + 3)
    ],
)  # fmt: skip
def test_vlmevalkit_wants_one_letter_near_the_end_then_one_options_text(reply, letter):
    assert vlmevalkit_letter(reply, OPTIONS) == letter


def test_an_option_that_is_not_there_is_not_read():
    assert vlmevalkit_letter("D", {"A": "x", "B": "y"}) == ""
    assert by_option_text("x and y", {"A": "x", "B": "y"}) == ""


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"), ("(B)", "B"), ("A dog is what I see", "B"), ("A", "A"), ("B. and D,", "B"), ("the blue hat", "C"),
        ("B, C, B:", "B"),  # two stand before a comma, so the comma says nothing; one before a colon
    ],
)  # fmt: skip
def test_lmms_eval_on_mmbench_takes_an_a_among_words_for_the_article(reply, letter):
    assert mmbench_letter_of_lmms_eval(reply, OPTIONS) == letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("Best answer: A", "A"), ("The answer is A because B is wrong", "B"), ("(A) or (C)", "C"), ("C)", "C"),
        ("B. No, D", "B"), ("No, D", "D"), ("Cats", "C"), ("none", ""), ("", ""), ("...", ""), ("my answer is xD", "D"),
    ],
)  # fmt: skip
def test_lmms_eval_takes_the_form_it_trusts_most_and_of_equals_the_last(reply, letter):
    assert lmms_eval_letter(reply) == letter


@given(st.text("ABCDEZ abc().:*is\n", max_size=40))
def test_a_letter_is_an_option_or_none(reply):
    for letter in (videomme_letter(reply), lmms_eval_letter(reply), mmbench_letter_of_lmms_eval(reply, OPTIONS)):
        assert letter in ("", "A", "B", "C", "D", "E")
    assert vlmevalkit_letter(reply, OPTIONS) in ("", "Z", *OPTIONS)
