"""VQA accuracy: agreement with ten people, by hand; what is made alike and what is not; files that do not fit."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import SensoriumError
from sensorium.evaluation.scorers import vqav2
from sensorium.evaluation.scorers.vqav2 import VqaReply, accuracy


@pytest.mark.parametrize(("same", "worth"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (9, 1)])
def test_an_answer_is_worth_what_the_definition_says(same, worth):
    """Of ten left out in turn, those who said it leave same - 1 others, the rest leave same: e.g. 2 said it,
    (2 · 1/3 + 8 · 2/3) / 10 = .6."""
    assert accuracy("red", ["red"] * same + ["blue"] * (10 - same)) == pytest.approx(worth)


@given(st.lists(st.sampled_from(["red", "blue", "a dog", "dog", "two", "2"]), min_size=2, max_size=10))
def test_it_is_the_mean_over_people_left_out(answers):
    from sensorium.evaluation.scorers.vqa_text import normalised

    alike = [normalised(answer) for answer in answers] if len(set(answers)) > 1 else answers
    expected = [min(1, sum(other == "dog" for j, other in enumerate(alike) if j != i) / 3) for i in range(len(alike))]
    assert accuracy("dog", answers) == pytest.approx(sum(expected) / len(expected))


def test_where_all_people_agree_nothing_is_made_alike():
    assert accuracy("Yes", ["yes"] * 10) == 0
    assert accuracy("Yes", ["yes"] * 9 + ["no"]) == 1
    assert accuracy(" yes\n", ["yes"] * 10) == 1  # blanks at the ends go in any case
    assert accuracy("Yes", ["yes"] * 10, "vlmevalkit") == accuracy("Yes", ["yes"] * 10, "lmms-eval") == 1


REPLIES = [
    VqaReply(1, "what", "other", ("a dog",) * 3 + ("cat",) * 7, "Dog."),  # three of ten: .9
    VqaReply(1, "is", "yes/no", ("yes",) * 10, "yes"),  # 1
    VqaReply(2, "how many", "number", ("2",) * 5 + ("3",) * 5, "two"),  # 1
    VqaReply(2, "is", "yes/no", ("yes",) * 10, "Yes"),  # 0
]


def test_overall_and_by_type_are_percent_of_two_decimals():
    outcome = vqav2.score(REPLIES)
    assert outcome["overall"] == 72.5  # (.9 + 1 + 1 + 0) / 4
    assert outcome["per_answer_type"] == {"other": 90.0, "yes/no": 50.0, "number": 100.0}
    assert outcome["per_question_type"] == {"what": 90.0, "is": 50.0, "how many": 100.0}
    low, high = outcome.intervals["overall"]
    assert (low, high) == pytest.approx((50, 95), abs=0.1)  # the two pictures' own scores: (.9+1)/2 and (1+0)/2
    assert vqav2.score(REPLIES, "lmms-eval")["overall"] == 97.5
    assert vqav2.score(random.Random(2).sample(REPLIES, 4)).to_json()["overall"] == 72.5


def _files(write, results):
    questions = [{"question_id": i, "image_id": 7, "question": "?"} for i in (1, 2)]
    annotations = [{"question_id": i, "image_id": 7, "question_type": "is", "answer_type": "yes/no",
                    "answers": [{"answer": "yes", "answer_id": k} for k in range(1, 11)]} for i in (2, 1)]  # fmt: skip
    return (write("q.json", {"info": {}, "questions": questions}), write("an.json", {"annotations": annotations}),
            write("r.json", results))  # fmt: skip


def test_official_files_are_read_by_id(write):
    paths = _files(write, [{"question_id": 1, "answer": "yes"}, {"question_id": 2, "answer": "no"}])
    assert [reply.reply for reply in vqav2.read(*paths)] == ["no", "yes"]
    assert vqav2.score(vqav2.read(*paths))["overall"] == 50


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([{"question_id": 1, "answer": "a"}], "question_id 2 has no answer"),
        ([{"question_id": i, "answer": "a"} for i in (1, 2, 3)], "r.json line 10: question_id 3 is not in an.json"),
        ([{"question_id": i, "answer": "a"} for i in (1, 2, 2)], "r.json line 10: question_id 2 was there before"),
        ([{"question_id": 1, "answer": 3}, {"question_id": 2, "answer": ""}], "line 2: `answer` is int '3'"),
    ],
)
def test_results_that_do_not_fit_name_their_line(write, results, said):
    with pytest.raises(SensoriumError) as caught:
        vqav2.read(*_files(write, results))
    assert said in str(caught.value)
