"""Relaxed accuracy: the five percent in binary floating point, what Python reads as a number, splits."""

from __future__ import annotations

import pytest

from sensorium.errors import SensoriumError
from sensorium.evaluation.scorers import chartqa
from sensorium.evaluation.scorers.chartqa import ChartReply, is_right


@pytest.mark.parametrize(
    ("reply", "answer", "right"),
    [
        ("95", "100", True), ("94.9", "100", False), ("105", "100", True), ("-4", "4", False),
        ("-4", "-4.2", True), ("-4.2", "-4", False),  # .2 / 4.2 is below; .2 / 4 is 0.05000000000000004
        ("50%", "0.5", True), ("50%", "50", False), ("0", "0.0", False), ("0", "0", True), ("0.0001", "0", False),
        ("$5", "5", False), ("1,000", "1000", False), ("1_000", "1000", True), ("1e3", "1000", True),
        (" 5 ", "5", True),
        ("inf", "5", False), ("nan", "5", False), ("Yes", "yes", True), ("yes ", "yes", False), ("", "", True),
        ("%", "5", False), ("five", "5", False),
    ],
)  # fmt: skip
def test_an_answer_is_right_within_five_percent_or_by_its_letters(reply, answer, right):
    assert is_right(reply, answer) == right


def test_the_score_is_the_mean_of_the_splits():
    human = [ChartReply(("5",), "5", "a.png"), ChartReply(("5",), "9", "a.png"), ChartReply(("x", "y"), "Y", "b.png")]
    augmented = [ChartReply(("5",), "5 "), ChartReply(("no",), "no ")]
    outcome = chartqa.score({"human": human, "augmented": augmented})
    assert outcome["splits"] == {"human": pytest.approx(200 / 3), "augmented": 50}
    assert outcome["relaxed_accuracy"] == pytest.approx((200 / 3 + 50) / 2)
    low, high = outcome.intervals["relaxed_accuracy"]
    assert 0 <= low <= outcome["relaxed_accuracy"] <= high <= 100
    # VLMEvalKit takes blanks off the reply: "no " is right then. lmms-eval gives shares.
    assert chartqa.score({"augmented": augmented}, "vlmevalkit")["relaxed_accuracy"] == 100
    assert chartqa.score({"augmented": augmented}, "lmms-eval")["relaxed_accuracy"] == 0.5


def test_files_are_matched_in_order_and_checked(write):
    questions = write("q.json", [{"imgname": "a.png", "query": "how?", "label": "5"},
                                 {"imgname": "b.png", "query": "who?", "label": "x"}])  # fmt: skip
    found = chartqa.read(questions, write("a.jsonl", [{"answer": "5"}, {"answer": "y"}]))
    assert found == [ChartReply(("5",), "5", "a.png"), ChartReply(("x",), "y", "b.png")]
    for rows, said in (
        ([{"answer": "5"}], "holds 1 answers to the 2 questions"),
        ([{"query": "who?", "answer": "5"}, {"query": "how?", "answer": "5"}], "a.jsonl line 1: answers 'who?'"),
        ([{"answer": "5"}, {"reply": "5"}], "a.jsonl line 2: has no `answer` or `prediction`"),
    ):
        with pytest.raises(SensoriumError) as caught:
            chartqa.read(questions, write("a.jsonl", rows))
        assert said in str(caught.value)
