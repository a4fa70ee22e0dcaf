"""Speech beside the plain language model's."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import sensorium.data.speech
from sensorium.data.speech import speech_prompts
from sensorium.engine import Reply
from sensorium.errors import SensoriumError
from sensorium.evaluation import Reference, evaluate_speech, speech_references
from sensorium.evaluation.speech import PROMPTS


def test_equal_replies_and_log_probabilities_are_counted_by_token(engine_of):
    # The rule engine's score is minus the number of characters: -4 and -10, over 2 + 3 tokens.
    engine = engine_of(lambda question, colour: "Four" if question == "a" else "else")
    finished = [Reference("a", "Four", 2, -1.0), Reference("b", "ten lettrs", 3, -1.5)]
    references = [*finished, Reference("c", "cut", 9, None)]
    found = evaluate_speech(engine, references)
    assert found.equal == pytest.approx(1 / 3)
    assert found.log_p == pytest.approx(-14 / 5)
    assert found.plain_log_p == pytest.approx(-2.5 / 5)
    assert found.scored == 2
    assert found.replies[1] == ("b", "ten lettrs", "else")


def test_a_model_beside_itself_is_unchanged(engine_of):
    engine = engine_of(lambda question, colour: f"You said {question}")
    found = evaluate_speech(engine, speech_references(engine))
    assert found.equal == 1
    assert found.log_p == found.plain_log_p


def test_a_reference_counts_what_its_score_sums(engine_of):
    engine = engine_of(lambda question, colour: "one two three")
    assert [(r.n_tokens, r.log_p) for r in speech_references(engine, ["a"])] == [(5, -13.0)]


def test_a_reply_that_was_cut_off_is_not_scored(engine_of):
    class Endless(engine_of):
        def answer(self, conversations, sampling=None):
            return [Reply("and and", "length", 1, 2) for _ in conversations]

    references = speech_references(Endless(lambda question, colour: ""), ["a"])
    assert references[0].log_p is None
    found = evaluate_speech(Endless(lambda question, colour: ""), references)
    assert (found.log_p, found.plain_log_p, found.scored, found.equal) == (None, None, 0, 1)


def test_without_references_there_is_nothing_to_say(engine_of):
    with pytest.raises(SensoriumError, match="no references"):
        evaluate_speech(engine_of(lambda question, colour: ""), [])


def test_the_prompts_are_none_of_trainings():
    tree = yaml.safe_load(Path(sensorium.data.speech.__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    known = set(speech_prompts(len(tree["questions"]) + len(tree["templates"]) * len(tree["topics"])))
    assert not known & set(PROMPTS)
