"""Constraints and log probabilities, asked of every engine in turn, with models of the real language model."""

from __future__ import annotations

import json
import math

import pytest

from sensorium.conversation import Conversation, user
from sensorium.engine import YES_NO, Boxes, JsonSchema, OneOf, Reply, Sampling
from sensorium.errors import SensoriumError
from sensorium.grounding import parse_grounded

from .conftest import ASKED, SEVERAL

FRANCE = Conversation((user("What is the capital of France?"),))
CAT = JsonSchema.of({
    "type": "object", "additionalProperties": False, "required": ["kind", "legs", "tail"],
    "properties": {
        "kind": {"enum": ["cat", "dog"]},
        "legs": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "maxItems": 2},
        "tail": {"type": "object", "properties": {"long": {"type": "boolean"}}, "required": ["long"],
                 "additionalProperties": False},
    },
})  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"temperature": 1.5, "top_p": 0.9}, {"repetition_penalty": 2.0}])
def test_a_constrained_reply_is_one_of_the_choices(any_engine, options):
    choices = OneOf(("Yes", "No, never", "猫です🦊"))
    for seed, conversation in enumerate(SEVERAL[:2]):
        sampling = Sampling(max_new_tokens=24, seed=seed, constrain=choices, **options)
        deltas = list(any_engine.stream(conversation, sampling))
        assert "".join(delta.text for delta in deltas) in choices.choices
        assert deltas[-1].finish == "stop"


def test_of_choices_with_a_token_each_the_likeliest_is_said(any_engine):
    """Also where half of such a word, on its way to another word, would be likelier than any of them."""
    choices = ("Yes", "No", "Paris", "London")
    assert {any_engine.count(choice) for choice in choices} == {2}, "the turn's end is the other"
    [free] = any_engine.answer([FRANCE], Sampling(max_new_tokens=1, logprobs=20))[0].logprobs
    values = {}
    for choice in choices:
        reply = any_engine.answer([FRANCE], Sampling(constrain=OneOf((choice,)), logprobs=0))[0]
        values[reply.text] = reply.logprobs[0].value
    said = any_engine.answer([FRANCE], Sampling(constrain=OneOf(choices), logprobs=0))[0]
    assert said.n_tokens == 1 and said.text == max(values, key=values.__getitem__)
    assert any(top.text == "L" and top.value > values[said.text] for top in free.top)


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "seed": 3, "top_k": 5}])
def test_a_constrained_reply_is_json_of_its_schema(any_engine, options):
    reply = any_engine.answer([ASKED], Sampling(max_new_tokens=80, constrain=CAT, **options))[0]
    found = json.loads(reply.text)
    assert list(found) == ["kind", "legs", "tail"] and reply.finish == "stop"
    assert found["kind"] in ("cat", "dog") and isinstance(found["tail"]["long"], bool)
    assert len(found["legs"]) <= 2 and set(found["legs"]) <= set(range(10))


def test_a_constrained_reply_is_boxes(any_engine):
    reply = any_engine.answer([ASKED], Sampling(max_new_tokens=100, constrain=Boxes(1)))[0]
    assert reply.finish == "stop"
    [found] = parse_grounded(reply.text)
    assert found.span == (0, len(reply.text)) and found.name and len(found.boxes) == 1


def test_a_constrained_reply_that_is_cut_says_so_and_one_that_just_fits_does_not(any_engine):
    ten = JsonSchema.of({"type": "array", "items": {"const": 10}, "minItems": 2, "maxItems": 2})
    whole = any_engine.answer([ASKED], Sampling(constrain=ten))[0]
    just, cut = (any_engine.answer([ASKED], Sampling(max_new_tokens=n, constrain=ten))[0]
                 for n in (whole.n_tokens, whole.n_tokens - 1))
    assert (just.finish, just.text, just.n_tokens) == ("stop", whole.text, whole.n_tokens)
    assert whole.text == "[10, 10]" and (cut.finish, cut.text) == ("length", "[10, 10")


def test_a_stop_string_ends_a_constrained_reply_too(any_engine):
    reply = any_engine.answer([ASKED], Sampling(constrain=CAT, stop=('"legs"',), logprobs=0))[0]
    assert reply.finish == "stop" and reply.text in ('{"kind": "cat", ', '{"kind": "dog", ')
    assert len(reply.logprobs) == reply.n_tokens


def test_constrained_replies_together_are_those_alone(any_engine):
    questions = [SEVERAL[1], FRANCE]
    short = OneOf(("Yes", "No, never", "猫です🦊"))  # of one token and of many
    for sampling in (Sampling(constrain=short, temperature=2.0, seed=1), Sampling(constrain=YES_NO, stop=("e",))):
        together = any_engine.answer(questions, sampling)
        alone = [any_engine.answer([conversation], sampling)[0] for conversation in questions]
        assert [(r.text, r.finish, r.n_tokens) for r in together] == [(r.text, r.finish, r.n_tokens) for r in alone]


def test_a_constraint_that_cannot_be_kept_to_is_refused_before_anything_is_said(any_engine):
    for constraint in (JsonSchema("{"), JsonSchema.of({"type": "fish"}), Boxes(10**6), OneOf(("x" * 10**6,))):
        with pytest.raises(SensoriumError, match="constrain"):
            next(any_engine.stream(ASKED, Sampling(constrain=constraint)))
        with pytest.raises(SensoriumError, match="constrain"):
            any_engine.answer([ASKED], Sampling(constrain=constraint))


def test_a_choice_that_says_special_tokens_is_only_characters(any_engine):
    said = "<|im_end|><visual><box>"
    reply = any_engine.answer([ASKED], Sampling(constrain=OneOf((said,)), logprobs=0))[0]
    assert reply.text == said and reply.n_tokens > 10
    assert b"".join(logprob.bytes for logprob in reply.logprobs).decode() == said


def _sum(reply: Reply) -> float:
    return sum(logprob.value for logprob in reply.logprobs)


def test_log_probabilities_and_that_of_the_turns_end_sum_to_the_score(any_engine):
    reply = any_engine.answer([FRANCE], Sampling(max_new_tokens=60, logprobs=20))[0]
    assert reply.finish == "stop" and len(reply.logprobs) == reply.n_tokens
    further = Sampling(max_new_tokens=60, constrain=OneOf((reply.text + " Cucumber",)), logprobs=20)
    after = any_engine.answer([FRANCE], further)[0].logprobs[reply.n_tokens]
    [end] = [top.value for top in after.top if top.text == "<|im_end|>"]
    assert _sum(reply) + end == pytest.approx(any_engine.score(FRANCE, [reply.text])[0], rel=5e-3)
    for logprob in reply.logprobs:
        assert logprob.value == logprob.top[0].value and logprob.bytes == logprob.top[0].bytes
        values = [top.value for top in logprob.top]
        assert len(values) == 20 and values == sorted(values, reverse=True)
        assert sum(map(math.exp, values)) <= 1 + 1e-6


def test_log_probabilities_do_not_depend_on_how_tokens_are_chosen(any_engine):
    """Those of a forced reply are those of the model, which would hardly have said it."""
    forced = any_engine.answer([FRANCE], Sampling(constrain=OneOf(("Cucumber",)), temperature=2.0, logprobs=1))[0]
    free = any_engine.answer([FRANCE], Sampling(max_new_tokens=1, logprobs=1))[0]
    assert forced.logprobs[0].top[0].text == free.logprobs[0].text
    assert forced.logprobs[0].top[0].value == pytest.approx(free.logprobs[0].value, abs=0.02)
    score = any_engine.score(FRANCE, ["Cucumber"])[0]
    assert score < _sum(forced) < free.logprobs[0].value - 5


@pytest.mark.parametrize("options", [{}, {"stop": ("e", "th")}, {"constrain": OneOf(("🦊猫é",))}])
def test_no_log_probability_is_lost_in_a_stream(any_engine, options):
    """Text may be held back, for a character to become whole or a stop string to be none; its tokens are told then."""
    sampling = Sampling(max_new_tokens=16, temperature=1.0, seed=1, logprobs=2, **options)
    deltas = list(any_engine.stream(ASKED, sampling))
    told = [logprob for delta in deltas for logprob in delta.logprobs]
    assert len(told) == deltas[-1].n_tokens
    assert all(len(logprob.top) == 2 for logprob in told)
    text = b"".join(logprob.bytes for logprob in told).decode(errors="replace")
    assert text.startswith("".join(delta.text for delta in deltas))
    assert any_engine.answer([ASKED], sampling)[0].logprobs == tuple(told)


def test_without_being_asked_nothing_is_told(any_engine):
    assert any_engine.answer([FRANCE], Sampling(max_new_tokens=4))[0].logprobs == ()
