"""ANLS: its conventions by hand, and where they part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import SensoriumError
from sensorium.evaluation.scorers import anls
from sensorium.evaluation.scorers.anls import DocumentReply, similarity


@pytest.mark.parametrize(
    ("reply", "answers", "official", "strict", "pix2struct"),
    [
        ("Coca Cola", ["coca cola"], 1, 1, 1),
        ("coca  cola", ["coca cola"], 1, 1, 0.9),  # pix2struct leaves blanks alone: 1 of 10
        ("ab", ["ac"], 0.5, 0, 0.5),  # just a half: kept, nothing, kept
        ("abc", ["abd", "xyz"], 2 / 3, 2 / 3, 2 / 3),
        ("abc", ["xyz"], 0, 0, 0),
        ("abx   ", ["abc"], 5 / 6, 2 / 3, 0),  # the length of the raw text is 6; pix2struct: 4 of 6 differ
        ("axx" + " " * 3, ["abc"], 4 / 6, 0, 0),  # blanks make a wrong answer right enough
        ("", ["abc"], 0, 0, 0),
        ("", [""], 1, 1, 1),
    ],
)  # fmt: skip
def test_conventions_part_at_a_half_and_at_blanks(reply, answers, official, strict, pix2struct):
    assert similarity(reply, answers) == pytest.approx(official)
    assert similarity(reply, answers, "strict") == pytest.approx(strict)
    assert similarity(reply, answers, "pix2struct") == pytest.approx(pix2struct)


@given(st.text("ab C", max_size=8), st.lists(st.text("ab C", max_size=8), min_size=1, max_size=3))
def test_it_is_nothing_or_at_least_a_half_and_more_answers_never_hurt(reply, answers):
    for variant in anls.VARIANTS:
        found = similarity(reply, answers, variant)
        assert found == 0 or 0.5 <= found <= 1
        assert found >= similarity(reply, answers[:1], variant)


def test_a_reply_of_ten_million_characters_takes_no_time():
    assert similarity("x" * 10_000_000, ["short"]) == 0


def test_the_score_is_a_mean_and_percent_for_some():
    replies = [DocumentReply(("abc",), "abc"), DocumentReply(("abc",), "abd"), DocumentReply(("abc",), "")]
    assert anls.score(replies)["anls"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert anls.score(replies, "vlmevalkit")["anls"] == pytest.approx(100 * (1 + 2 / 3) / 3)
    assert anls.score(replies[::-1]).to_json() == anls.score(replies).to_json()
    low, high = anls.score(replies).intervals["anls"]
    assert 0 <= low <= 5 / 9 <= high <= 1


def test_official_files_are_matched_by_id(write):
    rows = [{"questionId": i, "answers": [f"a{i}"]} for i in (1, 2)]
    questions = write("gt.json", {"dataset_name": "d", "data": rows})
    found = anls.read(questions, write("s.json", [{"questionId": 2, "answer": "y"}, {"questionId": 1, "answer": "x"}]))
    assert found == [DocumentReply(("a1",), "x"), DocumentReply(("a2",), "y")]
    with pytest.raises(SensoriumError, match="questionId 2 has no answer"):
        anls.read(questions, write("s.json", [{"questionId": 1, "answer": "x"}]))
    with pytest.raises(SensoriumError, match="`answer` is list"):
        anls.read(questions, write("s.json", [{"questionId": i, "answer": ["x"]} for i in (1, 2)]))
