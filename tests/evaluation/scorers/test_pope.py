"""POPE: the five numbers by hand, harness by harness, and files that do not fit."""

from __future__ import annotations

import random

import pytest

from sensorium.errors import SensoriumError
from sensorium.evaluation.scorers import pope
from sensorium.evaluation.scorers.pope import PopeReply

# truth, reply -> official: yes yes | yes no | no yes | no no; "Yes." is yes, "NO" is yes.
REPLIES = [
    PopeReply("a", "yes", "Yes."), PopeReply("a", "no", "There is not one."), PopeReply("a", "yes", "yes"),
    PopeReply("b", "no", "NO"), PopeReply("b", "yes", "no"), PopeReply("b", "no", "maybe"),
]  # fmt: skip


def test_the_five_numbers_are_as_worked_out_by_hand():
    outcome = pope.score(REPLIES)
    # TP 2 (Yes., yes), FN 1 (no), TN 1 (not one), FP 2 (NO, maybe).
    assert outcome["accuracy"] == 3 / 6
    assert outcome["precision"] == 2 / 4
    assert outcome["recall"] == 2 / 3
    assert outcome["f1"] == pytest.approx(2 * (1 / 2) * (2 / 3) / (1 / 2 + 2 / 3))
    assert outcome["yes_ratio"] == 4 / 6


def test_lmms_eval_wants_the_bare_word_and_takes_the_share_of_yes_from_the_truth():
    outcome = pope.score(REPLIES, "lmms-eval")
    # Right: "yes" to yes, "NO" to no. Said yes: one, right. Of the true yes, one said yes and one said no.
    assert (outcome["accuracy"], outcome["precision"], outcome["recall"]) == (2 / 6, 1.0, 1 / 2)
    assert outcome["yes_ratio"] == 0.5
    assert outcome["other"] == 3


def test_vlmevalkit_reads_words_and_gives_percent():
    outcome = pope.score(REPLIES, "vlmevalkit")
    # Yes., yes right; NO right; "no" to yes wrong; "not one" and "maybe" unread: wrong for accuracy.
    assert outcome["accuracy"] == 50
    assert (outcome["precision"], outcome["recall"]) == (100, pytest.approx(200 / 3))


def test_never_saying_yes_is_told_not_a_crash():
    outcome = pope.score([PopeReply("a", "yes", "no"), PopeReply("a", "no", "no")])
    assert (outcome["precision"], outcome["f1"], outcome["accuracy"]) == (0, 0, 0.5)
    assert outcome.notes == ("precision is 0 / 0, where the official tool stops; 0 is given",)


def test_the_order_of_questions_changes_nothing_and_intervals_hold_the_numbers():
    outcome = pope.score(REPLIES)
    assert pope.score(random.Random(1).sample(REPLIES, 6)).to_json() == outcome.to_json()
    for name, (low, high) in outcome.intervals.items():
        assert 0 <= low <= outcome[name] <= high <= 1


def _files(write, labels, replies):
    asked = [{"question_id": i, "image": f"{i // 2}.jpg", "text": f"Is there {i}?", "label": label}
             for i, label in enumerate(labels, start=1)]  # fmt: skip
    told = [{"question": f"Is there {i}?", "answer": reply} for i, reply in enumerate(replies, start=1)]
    return asked, told


def test_lines_and_one_array_are_read_alike(write):
    asked, told = _files(write, ["yes", "no"], ["Yes", "No"])
    for suffix in ("jsonl", "json"):
        found = pope.read(write(f"q.{suffix}", asked), write(f"a.{suffix}", told))
        assert found == [PopeReply("0.jpg", "yes", "Yes"), PopeReply("1.jpg", "no", "No")]


def test_files_that_do_not_fit_are_told(write):
    asked, told = _files(write, ["yes", "no", "no"], ["Yes", "No", "No"])
    questions = write("q.jsonl", asked)
    for name, rows, said in (
        ("short.jsonl", told[:2], "short.jsonl: holds 2 answers to the 3 questions"),
        ("turned.jsonl", [told[0], told[2], told[1]], "turned.jsonl line 2: answers 'Is there 3?'"),
        ("ids.jsonl", [{**row, "question_id": 7} for row in told], "ids.jsonl line 1: answers question 7"),
        ("null.jsonl", [{**row, "answer": None} for row in told], "null.jsonl line 1: `answer` is null"),
    ):
        with pytest.raises(SensoriumError) as caught:
            pope.read(questions, write(name, rows))
        assert said in str(caught.value)
    twice = write("twice.jsonl", [asked[0], asked[0], asked[2]])
    with pytest.raises(SensoriumError, match="line 2: question_id 1 was there before, in line 1"):
        pope.read(twice, write("a.jsonl", told))
    with pytest.raises(SensoriumError, match="`label` is 'Yes'"):
        pope.read(write("case.jsonl", [{**row, "label": "Yes"} for row in asked]), write("a.jsonl", told))
