"""MathVista: extraction without a model, normalisation of each kind, groups; by the official rules."""

from __future__ import annotations

import pytest

from sensorium.errors import SensoriumError
from sensorium.evaluation.scorers import mathvista
from sensorium.evaluation.scorers.mathvista import MathReply, extracted, is_right, normalised


def _choice(extraction, reply="", answer="big dog", choices=("cat", "big dog", "dot")):
    return MathReply("multi_choice", "text", answer, reply, choices, None, extraction)


def _free(kind, answer, extraction, precision=None, reply=""):
    return MathReply("free_form", kind, answer, reply, (), precision, extraction)


@pytest.mark.parametrize(
    ("extraction", "choice"),
    [
        ("B", "big dog"), (" (b) dog", "big dog"), ("(C) or (A)", "dot"), ("b", "cat"),  # "b": 3 edits from cat and dot
        ("big do", "big dog"), ("The answer is (B)", "big dog"), ("", "cat"), ("D", "cat"), ("dog", "dot"),
    ],
)  # fmt: skip
def test_a_choice_is_a_letter_or_the_nearest_text_the_first_of_equals(extraction, choice):
    assert normalised(extraction, _choice(extraction)) == choice


def test_an_empty_extraction_is_the_shortest_choice_unless_ignored():
    reply = _choice("", answer="cat")
    assert is_right(reply)
    assert not is_right(reply, ignore_empty=True)


@pytest.mark.parametrize(
    ("kind", "extraction", "precision", "value"),
    [
        ("integer", "7.9", None, "7"), ("integer", "-1e2", None, "-100"), ("integer", "seven", None, None),
        ("integer", "inf", None, None), ("float", "1.25", 1, "1.2"), ("float", "3", 2, "3.0"),
        ("float", "1.26", 1.0, "1.3"),
        ("float", "nan", 1, "nan"), ("float", "1.2", None, None), ("list", "[1, 2]", None, "[1, 2]"),
        ("float", "$1.2", 1, None),
    ],
)  # fmt: skip
def test_numbers_are_cut_and_rounded_as_python_does(kind, extraction, precision, value):
    assert normalised(extraction, _free(kind, "", extraction, precision)) == value


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        (_choice(None, "big dog"), "big dog"), (_choice(None, "it is B"), ""),
        (_free("integer", "", None, reply=" 7 "), "7"),
        (_free("float", "", None, reply="7"), "7.0"), (_free("integer", "", None, reply="7.5"), ""),
        (_free("text", "", None, reply='So. The answer is "a cat". Sure.'), "a cat"), (_choice(None, ""), ""),
    ],
)  # fmt: skip
def test_what_needs_no_model_is_extracted(reply, found):
    assert extracted(reply) == found


def test_harnesses_part():
    list_ = _free("list", "[1, 2]", "[1, 2]")
    assert is_right(list_) and is_right(list_, "lmms-eval") and not is_right(list_, "vlmevalkit")
    blanks = _free("list", "[1, 2]", " [1, 2]")
    assert not is_right(blanks) and is_right(blanks, "lmms-eval")
    precision = _free("float", "1.3", "1.26", 1.0)
    assert is_right(precision) and not is_right(precision, "lmms-eval")
    near = _choice("big do")
    assert is_right(near) and not is_right(near, "vlmevalkit")
    from_reply = _choice("", reply="It is (B).")
    assert not is_right(from_reply) and is_right(from_reply, "vlmevalkit")
    number = _free("integer", "7", "7.0")
    assert is_right(number) and not is_right(number, "vlmevalkit")


def _problem(pid, **change):
    return {
        "pid": pid, "question_type": "free_form", "answer_type": "integer", "choices": None, "precision": None,
        "answer": "7", "response": "it is 7", "extraction": "7",
        "metadata": {"task": "counting", "skills": ["arithmetic", "logic"], "grade": None}, **change,
    }  # fmt: skip


def test_scores_are_percent_by_kind_and_skill(write):
    other = {"task": "geometry", "skills": ["logic"]}
    problems = {"1": _problem("1"), "2": _problem("2", extraction="8", metadata=other)}
    outcome = mathvista.score(mathvista.read(write("o.json", problems)))
    assert (outcome["accuracy"], outcome["correct"], outcome["total"]) == (50, 1, 2)
    assert outcome["by"]["task"]["geometry"] == {"accuracy": 0, "correct": 0, "total": 1}
    assert outcome["by"]["skills"] == {"arithmetic": {"accuracy": 100, "correct": 1, "total": 1},
                                       "logic": {"accuracy": 50, "correct": 1, "total": 2}}  # fmt: skip
    assert "grade" not in outcome["by"]
    low, high = outcome.intervals["accuracy"]
    assert 0 <= low <= 50 <= high <= 100


def test_answers_may_stand_in_the_question_file_and_unread_replies_are_counted(write):
    given = {"1": {"response": "7"}, "2": {"response": "seven or so"}}
    asked = {pid: {key: value for key, value in _problem(pid).items() if key not in ("response", "extraction")}
             for pid in given}  # fmt: skip
    for questions in (write("q.json", asked), write("rows.json", list(asked.values()))):
        outcome = mathvista.score(mathvista.read(write("o.json", given), questions))
        assert (outcome["accuracy"], outcome["unread"]) == (50, 1)
        assert outcome.notes[0].startswith("1 replies need a language model")


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ({"answer": None}, "problem 1: has no string `answer`"),
        ({"question_type": 3}, "has no string `question_type`"),
        ({"question_type": "multi_choice"}, "is multi_choice without `choices`"),
        ({"extraction": None, "response": None}, "has neither `extraction` nor `response`"),
    ],
)  # fmt: skip
def test_a_problem_that_does_not_fit_is_named(write, problem, said):
    with pytest.raises(SensoriumError) as caught:
        mathvista.read(write("o.json", {"1": _problem("1", **problem)}))
    assert said in str(caught.value)


def test_sets_that_differ_are_told(write):
    questions = write("q.json", {"1": _problem("1"), "2": _problem("2")})
    with pytest.raises(SensoriumError, match=r"has no problem 2 \(1 missing\)"):
        mathvista.read(write("o.json", {"1": {"response": "7"}}), questions)
    with pytest.raises(SensoriumError, match=r"problem 3: is not in q.json"):
        mathvista.read(write("o.json", {"3": {"response": "7"}}), questions)
