"""How VQA makes answers alike: each rule and each of its faults, worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.evaluation.scorers.vqa_text import CONTRACTIONS, normalised, one_line, plain_words, without_punctuation


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("red/white", "red white"),  # a mark between letters becomes a space
        ("red / white", "red  white"),  # one that touches a space is deleted, all of its kind with it
        ("a-b -c", "ab c"),
        ("1,000 a/b", "1000 ab"),  # a comma between digits: every mark is deleted
        ("yes!", "yes "), ("what?!", "what  "),
        ("3.5.", "3.5"), ("U.S.A.", "USA"), ("a.b", "ab"), (".5", ".5"), ("3.", "3"),
        ("10:30", "10:30"), ("dog's", "dog's"),  # colons and apostrophes are no marks
        ("." * 40, "." * 8),  # 32 periods at most
    ],
)  # fmt: skip
def test_marks_are_taken_out_as_the_official_tool_does(text, plain):
    assert without_punctuation(text) == plain


def test_harnesses_repaired_two_rules():
    assert without_punctuation("10.", "vlmevalkit") == "10."  # a digit on one side keeps the period
    assert without_punctuation("a. .5", "vlmevalkit") == "a .5"
    assert without_punctuation("1,,0", "official") == "1  0"
    assert without_punctuation("1,,0", "lmms-eval") == "10"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The Dog and a cat", "dog and cat"), ("Ten", "10"), ("none", "0"), ("two dogs", "2 dogs"),
        ("eleven", "eleven"),
        ("dont", "don't"), ("couldn'tve", "couldn't've"), ("couldnt've", "couldn't've"), ("Ive", "ive"),
        ("somebody'd", "somebodyd"), ("yall'll", "y'all'll"), ("an", ""),
    ],
)  # fmt: skip
def test_words_are_made_plain(text, plain):
    assert plain_words(text) == plain


def test_the_table_of_contractions_is_whole():
    """120 entries in the official table; four with capitals never fire, and two give back the word itself."""
    assert len(CONTRACTIONS) == 120 - 4 - 2
    assert all(written.replace("'", "") == word.replace("'", "") for written, word in CONTRACTIONS.items())


def test_line_ends_and_tabs_are_spaces_and_the_ends_are_trimmed():
    assert one_line(" a\tb\nc\n") == "a b c"


@given(st.text("abc 1,.;/-'?theone\t", max_size=30))
def test_what_is_plain_stays_in_words_of_one_space(text):
    found = normalised(one_line(text))
    assert found == " ".join(found.split()) == found.lower()
