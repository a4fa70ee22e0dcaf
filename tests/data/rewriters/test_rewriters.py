"""Facts become questions whose answers are what the annotation says, and nothing is asked that it cannot answer."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from pydantic import ValidationError

from sensorium.conversation import Conversation, Image, assistant, user
from sensorium.data.readers import Annotated, Question, Region, Sample
from sensorium.data.rewriters import TASKS, Rewriter, RewriteSettings
from sensorium.errors import SensoriumError
from sensorium.grounding import Box, parse_grounded

PICTURE = Image("a.jpg")
LEFT, RIGHT, LOW = Box(10, 10, 200, 300), Box(600, 20, 800, 400), Box(300, 700, 500, 900)
DOGS = (Region("dog", RIGHT), Region("dog", LEFT), Region("person", LOW))


def _turns(facts: Annotated, task: str, name: str = "x", **settings) -> list[tuple[str, str]]:
    conversation = Rewriter(RewriteSettings(tasks=(task,), **settings))(Sample(name, "row 1", facts))
    said = [message.text for message in conversation]
    assert conversation.messages[0].parts[0] == PICTURE and len(conversation.images) == 1
    return list(zip(said[::2], said[1::2], strict=True))


def _many(facts: Annotated, task: str) -> list[tuple[str, str]]:
    return [turn for i in range(60) for turn in _turns(facts, task, str(i))]


def test_a_conversation_stays_as_it_is():
    said = Conversation((user("Hi"), assistant("Hello")))
    assert Rewriter()(Sample("x", "row 1", said)) is said


def test_a_caption_is_one_of_the_pictures():
    facts = Annotated(PICTURE, captions=("A dog.", "Two dogs."))
    turns = _many(facts, "caption")
    assert {answer for _, answer in turns} == {"A dog.", "Two dogs."}
    assert len({question for question, _ in turns}) > 5


def test_questions_become_one_conversation_with_one_hint():
    asked = tuple(Question(f"Is it {i}?", ("yes", "no")) for i in range(4))
    turns = _turns(Annotated(PICTURE, questions=asked), "answer")
    assert [question.splitlines()[0] for question, _ in turns] == [f"Is it {i}?" for i in range(4)]
    assert [answer for _, answer in turns] == ["yes"] * 4
    hints = [question.endswith("\nAnswer the question using a single word or phrase.") for question, _ in turns]
    assert hints == [True, False, False, False]


def test_long_answers_have_no_hint():
    facts = Annotated(PICTURE, questions=(Question("Why?", ("Because it is late in the day.",)),))
    assert _turns(facts, "answer") == [("Why?", "Because it is late in the day.")]


def test_the_hint_stays_when_its_question_is_not_chosen():
    asked = tuple(Question(f"Is it {i}?", ("yes",)) for i in range(9))
    for i in range(20):
        turns = _turns(Annotated(PICTURE, questions=asked), "answer", str(i), most_turns=2)
        assert len(turns) == 2 and "single word" in turns[0][0] and "single word" not in turns[1][0]


def test_the_letter_is_that_of_the_answer_wherever_it_stands():
    facts = Annotated(PICTURE, questions=(Question("Which?", ("cat",), ("cat", "dog", "cow", "pig")),))
    letters = Counter()
    for question, letter in _many(facts, "choose"):
        assert re.search(rf"^{letter}\. cat$", question, re.M) and "option's letter" in question
        letters[letter] += 1
    assert set(letters) == set("ABCD") and max(letters.values()) < 35


def test_detection_gives_every_box_of_a_class_from_left_to_right():
    for question, answer in _many(Annotated(PICTURE, regions=DOGS), "detect"):
        found = {one.name: one.boxes for one in parse_grounded(answer)}
        assert found.items() <= {"dog": (LEFT, RIGHT), "person": (LOW,)}.items()
        asked = "dog" in question.lower() or "person" in question.lower() or "people" in question.lower()
        assert asked == (len(found) == 1)


def test_a_class_with_a_crowd_is_neither_counted_nor_detected():
    facts = Annotated(PICTURE, regions=DOGS, crowds=("dog",))
    assert {answer for _, answer in _many(facts, "count")} == {"1"}
    assert all([one.name for one in parse_grounded(answer)] == ["person"] for _, answer in _many(facts, "detect"))
    with pytest.raises(SensoriumError, match=r"row 1: offers none of the tasks count\."):
        _turns(Annotated(PICTURE, regions=DOGS[:2], crowds=("dog",)), "count")


def test_counts_are_digits_of_named_plurals():
    turns = _many(Annotated(PICTURE, regions=DOGS), "count")
    assert {("dogs" if "dogs" in q else "people" if "people" in q else q, a) for q, a in turns} == {
        ("dogs", "2"), ("people", "1")}


def test_a_class_is_referred_to_only_where_it_is_single():
    turns = _many(Annotated(PICTURE, regions=DOGS), "refer")
    assert {answer for _, answer in turns} == {"<ref>person</ref><box>(300,700),(500,900)</box>"}
    phrases = (Region("the left one", LEFT, False), Region("the left one", RIGHT, False))
    assert len({answer for _, answer in _many(Annotated(PICTURE, regions=phrases), "refer")}) == 2


def test_a_box_is_described_by_what_it_shows():
    names = {(10, 10): "dog", (600, 20): "dog", (300, 700): "person"}
    for question, answer in _many(Annotated(PICTURE, regions=DOGS), "describe"):
        [grounded] = parse_grounded(question)
        assert names[grounded.boxes[0].corners[:2]] == answer


def test_every_region_gets_its_turn_over_the_passes():
    """Fifty phrases, ten turns a pass: all come within a few passes, and no pass says one twice."""
    regions = tuple(Region(f"thing {i}", Box(i, i, i + 100, i + 100), False) for i in range(50))
    sample = Sample("x", "row 1", Annotated(PICTURE, regions=regions))
    rewriter, seen = Rewriter(RewriteSettings(tasks=("refer",))), set()
    for number in range(40):
        answers = [m.text for m in rewriter(sample, number) if m.role == "assistant"]
        assert len(answers) == len(set(answers)) == 10
        seen.update(answers)
    assert len(seen) == 50


def test_many_boxes_do_not_crowd_out_the_caption():
    regions = tuple(Region(f"thing {i}", Box(i, i, i + 100, i + 100), False) for i in range(50))
    facts = Annotated(PICTURE, captions=("Things.",), regions=regions)
    has_caption = [
        "Things." in [m.text for m in Rewriter()(Sample(str(i), "row 1", facts))] for i in range(50)
    ]
    assert sum(has_caption) > 40


def test_text_and_class():
    facts = Annotated(PICTURE, words=("STOP", "here"), label="sign")
    assert {answer for _, answer in _many(facts, "read")} == {"STOP\nhere"}
    assert {answer for _, answer in _many(facts, "classify")} == {"sign"}


def test_a_rewriter_depends_on_seed_and_sample_only():
    facts = Annotated(PICTURE, ("A dog.",), (Question("What?", ("dog",)),), DOGS, words=("a",), label="dog")
    one, same, other = (Rewriter(seed=seed) for seed in (1, 1, 2))
    samples = [Sample(str(i), "row", facts) for i in range(20)]
    few = RewriteSettings(most_turns=3)
    assert Rewriter(few)(samples[0], 1) != Rewriter(few)(samples[0], 2)
    assert [one(s) for s in samples] == [same(s) for s in reversed(samples)][::-1]
    assert [one(s) for s in samples] != [other(s) for s in samples]
    assert {len(one(s).messages) for s in samples} == {20}  # ten turns, as many as there may be
    assert len(TASKS) == 9


def test_an_unknown_task_is_refused_with_a_suggestion():
    with pytest.raises(ValidationError, match=r"there is no task `detekt`\. Did you mean"):
        RewriteSettings(tasks=("detekt",))
