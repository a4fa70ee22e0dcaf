"""What every engine that runs a model itself must do, asked of each in turn, with one model of the real parts."""

from __future__ import annotations

import json
import math
import threading
from typing import Any

import pytest

from sensorium.conversation import Conversation, Image, assistant, system, user
from sensorium.engine import YES_NO, Boxes, JsonSchema, OneOf, Reply, Sampling
from sensorium.errors import SensoriumError
from sensorium.grounding import parse_grounded

from .conftest import ASKED, BLUE, RED, SEVERAL


def _reply(engine: Any, conversation: Conversation, **options: object) -> str:
    return engine.answer([conversation], Sampling(**options))[0].text


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "seed": 4}, {"temperature": 1.0, "stop": ("e", "th")}])
def test_the_stream_joined_is_the_answer(any_engine, options):
    sampling = Sampling(max_new_tokens=24, **options)
    for conversation in SEVERAL:
        deltas = list(any_engine.stream(conversation, sampling))
        reply = any_engine.answer([conversation], sampling)[0]
        assert "".join(delta.text for delta in deltas) == reply.text
        assert (deltas[-1].finish, deltas[-1].n_tokens) == (reply.finish, reply.n_tokens)
        assert deltas[-1].n_prompt == reply.n_prompt == len(any_engine.renderer.render(conversation, generate=True))
        assert all(delta.finish is None for delta in deltas[:-1])


def test_seeds_are_reproducible(any_engine):
    def reply(seed: int) -> str:
        return _reply(any_engine, ASKED, max_new_tokens=12, temperature=1.0, seed=seed)

    assert reply(1) == reply(1) != reply(2)


def test_a_stop_string_ends_the_reply_and_is_not_part_of_it(any_engine):
    whole = _reply(any_engine, SEVERAL[1], max_new_tokens=20)
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    assert len(stop) == 3
    reply = any_engine.answer([SEVERAL[1]], Sampling(max_new_tokens=20, stop=(stop,)))[0]
    assert reply.finish == "stop" and reply.text == whole[: whole.index(stop)]


def test_the_limit_ends_a_reply_as_length(any_engine):
    reply = any_engine.answer([SEVERAL[1]], Sampling(max_new_tokens=3))[0]
    assert (reply.finish, reply.n_tokens) == ("length", 3)


def test_a_reply_ends_with_its_turn(any_engine):
    """The bare language model answers such a question in one sentence."""
    question = Conversation((user("What is the capital of France?"),))
    reply = any_engine.answer([question], Sampling(max_new_tokens=60))[0]
    assert reply.finish == "stop" and "<|im_end|>" not in reply.text


def test_candidates_scored_together_score_as_alone_and_rank(any_engine):
    candidates = ["cat", "a very long answer about the picture", "Yes", "cat"]
    together = any_engine.score(ASKED, candidates)
    assert together == pytest.approx([any_engine.score(ASKED, [c])[0] for c in candidates], rel=5e-3)
    assert together[0] == pytest.approx(together[3], rel=1e-4) and together[1] < together[0] < 0
    assert any_engine.score(ASKED, []) == []


def test_scores_agree_with_what_is_said(any_engine):
    """The likeliest reply by the engine's own choice scores above its neighbours."""
    question = Conversation((user("What is the capital of France?"),))
    said = any_engine.answer([question], Sampling(max_new_tokens=60))[0]
    assert said.finish == "stop"
    scores = any_engine.score(question, [said.text, "Cucumber, thirty-one."])
    assert scores[0] > scores[1]


def test_the_count_is_of_the_tokens_that_are_scored(any_engine):
    for candidate in ("", "a cat", "🦊"):
        labels = any_engine.renderer.render(ASKED + assistant(candidate)).labels
        assert any_engine.count(candidate) == sum(label != -100 for label in labels)


def test_marks_typed_by_a_user_are_characters(any_engine):
    """Were `<|im_end|>` the token, it would end the user's turn, and be one token instead of many."""
    plain, typed = (any_engine.answer([Conversation((user(text),))], Sampling(max_new_tokens=1))[0].n_prompt
                    for text in ("Hi", "Hi<|im_end|><img><box>"))
    assert typed - plain > 10


def test_a_conversation_too_long_names_the_numbers(any_engine):
    long = Conversation((user(RED, BLUE, "a " * 9000),))
    with pytest.raises(SensoriumError, match=r"has \d+ tokens \(2 pictures of 64\); with 256 .* than the \d+"):
        any_engine.answer([long])
    with pytest.raises(SensoriumError, match="lower max_new_tokens"):
        next(any_engine.stream(ASKED, Sampling(max_new_tokens=9000)))


@pytest.mark.parametrize("last", [assistant("Yes"), None])
def test_only_a_users_turn_is_answered(any_engine, last):
    conversation = ASKED + last if last else Conversation((system("Be brief."),))
    with pytest.raises(SensoriumError, match="nothing to answer"):
        any_engine.answer([conversation])


def test_a_picture_that_does_not_open_is_named(any_engine, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(SensoriumError, match=r"bad.png"):
        any_engine.answer([Conversation((user(Image(str(tmp_path / "bad.png")), "What?"),))])


def test_many_threads_get_each_its_own_reply(any_engine):
    """More at once than there are slots; each reply is what the question gets alone."""
    words = ("red", "seven", "lamp", "river", "bee")
    questions = [Conversation((user(f"Repeat after me: {word}."),)) for word in words]
    alone = [_reply(any_engine, question, max_new_tokens=12) for question in questions]
    found: dict[int, str] = {}

    def ask(number: int) -> None:
        found[number] = _reply(any_engine, questions[number % len(questions)], max_new_tokens=12)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: alone[number % len(questions)] for number in range(10)}


def test_a_stream_left_early_harms_nobody(any_engine):
    expected = _reply(any_engine, SEVERAL[1], max_new_tokens=12)
    for _ in range(6):  # more often than there are slots
        stream = any_engine.stream(SEVERAL[1], Sampling(max_new_tokens=200))
        next(stream)
        stream.close()
    assert _reply(any_engine, SEVERAL[1], max_new_tokens=12) == expected


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
    for seed, conversation in enumerate(SEVERAL[:3]):
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
    for temperature in (0.0, 1.0):
        sampling = Sampling(max_new_tokens=60, temperature=temperature, constrain=Boxes(1))
        reply = any_engine.answer([ASKED], sampling)[0]
        if reply.finish == "stop":
            [found] = parse_grounded(reply.text)
            assert found.span == (0, len(reply.text)) and found.name and len(found.boxes) == 1
        else:
            assert reply.text.startswith("<ref>") and reply.n_tokens == 60


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
    for sampling in (Sampling(constrain=CAT), Sampling(constrain=YES_NO, stop=("e",))):
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
    for seed in range(2):
        sampling = Sampling(max_new_tokens=16, temperature=1.0, seed=seed, logprobs=2, **options)
        deltas = list(any_engine.stream(ASKED, sampling))
        told = [logprob for delta in deltas for logprob in delta.logprobs]
        assert len(told) == deltas[-1].n_tokens
        assert all(len(logprob.top) == 2 for logprob in told)
        text = b"".join(logprob.bytes for logprob in told).decode(errors="replace")
        assert text.startswith("".join(delta.text for delta in deltas))
        assert any_engine.answer([ASKED], sampling)[0].logprobs == tuple(told)


def test_without_being_asked_nothing_is_told(any_engine):
    assert any_engine.answer([FRANCE], Sampling(max_new_tokens=4))[0].logprobs == ()
