"""Multiple choice: plain and circular, groups of rotations, tables that do not fit."""

from __future__ import annotations

import random

import pytest

from sensorium.errors import SensoriumError
from sensorium.evaluation.scorers import mcq
from sensorium.evaluation.scorers.mcq import ChoiceReply

OPTIONS = {"A": "cat", "B": "dog"}


def _reply(index, answer, reply, **groups):
    return ChoiceReply(index, OPTIONS, answer, reply, {name.replace("_", "-"): value for name, value in groups.items()})


CIRCLE = [
    _reply(1, "A", "A", category="x"), _reply(1_000_001, "B", "(B)"),  # both right
    _reply(2, "A", "the cat", category="x"), _reply(1_000_002, "B", "A"),  # one wrong
    _reply(3, "B", "B", category="y"), _reply(1_000_003, "A", "no idea"),  # one unread, which is wrong without a judge
]  # fmt: skip


def test_a_question_is_right_only_if_all_its_rotations_are():
    outcome = mcq.score(CIRCLE)
    assert outcome["overall"] == pytest.approx(1 / 3)
    assert outcome["vanilla"] == pytest.approx(4 / 6)
    assert outcome["by"] == {"category": {"x": 0.5, "y": 0.0}}
    assert (outcome["questions"], outcome["rows"], outcome["unread"]) == (3, 6, 1)
    assert outcome.notes == ()
    assert mcq.score(random.Random(3).sample(CIRCLE, 6)).to_json() == outcome.to_json()


def test_plain_scoring_counts_each_row():
    outcome = mcq.score(CIRCLE, is_circular=False)
    assert outcome["overall"] == pytest.approx(4 / 6)
    assert "vanilla" not in outcome.values
    assert mcq.score(CIRCLE[::2])["overall"] == 1  # no rotations: plain


def test_rotations_without_their_question_and_short_circles_are_told():
    with pytest.raises(SensoriumError, match="index 1: is missing"):
        mcq.score(CIRCLE[1:])
    assert mcq.score(CIRCLE[:5]).notes == ("1 questions are not asked once for each of their options",)


def test_lmms_eval_reads_on_where_the_others_stop():
    reply = _reply(1, "A", "I would say xA")
    assert mcq.score([reply])["overall"] == 0
    assert mcq.score([reply], "lmms-eval")["overall"] == 1


TABLE = "index\tquestion\tA\tB\tC\tanswer\tcategory\tsplit\n{}"


def test_tables_alone_and_beside_predictions_are_read(write):
    rows = "1\twhat?\tcat\tdog\t\tB\tx\tdev\n2\twho?\tme\tyou\tus\tA\ty\ttest\n"
    questions = write("q.tsv", TABLE.format(rows))
    expected = [
        ChoiceReply(1, {"A": "cat", "B": "dog"}, "B", "dog", {"category": "x", "split": "dev"}),
        ChoiceReply(2, {"A": "me", "B": "you", "C": "us"}, "A", "", {"category": "y", "split": "test"}),
    ]
    predictions = write("p.jsonl", [{"index": 2, "prediction": ""}, {"index": 1, "prediction": "dog"}])
    assert mcq.read(predictions, questions) == expected
    heading = "index\tA\tB\tC\tanswer\tcategory\tsplit\tprediction\n"
    together = write("p.tsv", f"{heading}1\tcat\tdog\t\tB\tx\tdev\tdog\n2\tme\tyou\tus\tA\ty\ttest\t\n")
    assert mcq.read(together) == expected
    assert mcq.score(expected)["by"]["split"] == {"dev": 1.0, "test": 0.0}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("1\tq\ta\tb\t\tC\tx\tdev\n", "q.tsv line 2: the answer 'C' is none of A, B"),
        ("1\tq\ta\t\t\tA\tx\tdev\n", "q.tsv line 2: has fewer than two options"),
        ("1\tq\ta\tb\t\tA\tx\tdev\n01\tq\ta\tb\t\tA\tx\tdev\n", "q.tsv line 3: index 1 was there before"),
        ("one\tq\ta\tb\t\tA\tx\tdev\n", "q.tsv line 2: `index` is 'one'"),
        ("1\tq\ta\tb\t\tA\tx\tdev\n5\tq\ta\tb\t\tA\tx\tdev\n", "q.tsv line 3: index 5 has no prediction"),
        ("2\tq\ta\tb\t\tA\tx\tdev\n", "p.jsonl line 1: index 1 is not in q.tsv"),
    ],
)
def test_what_does_not_fit_names_its_line(write, rows, said):
    with pytest.raises(SensoriumError) as caught:
        mcq.read(write("p.jsonl", [{"index": 1, "prediction": ""}]), write("q.tsv", TABLE.format(rows)))
    assert said in str(caught.value)
