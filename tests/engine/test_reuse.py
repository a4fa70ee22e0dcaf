"""A second question about one video reads only what is new in it, says the same, and holds no more than it may."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from transformers import DynamicCache

from sensorium.conversation import Conversation, Image, assistant, user
from sensorium.engine import Sampling
from sensorium.engine import reuse as reuse_module
from sensorium.engine.methods import parse_method
from sensorium.engine.reuse import ReadBefore, batches
from sensorium.engine.torch import TorchEngine

BRIEF = Sampling(max_new_tokens=12)


def noise(seed: int) -> Image:
    data = io.BytesIO()
    pixels = np.random.RandomState(seed).randint(0, 256, (56, 56, 3), dtype=np.uint8)
    Picture.fromarray(pixels).save(data, format="PNG")
    return Image(data.getvalue())


FRAMES = [noise(seed) for seed in range(20)]  # of 6 tokens with their marks


def asked(question: str, frames: list[Image] = FRAMES) -> Conversation:
    return Conversation((user(*frames, question),))


@pytest.fixture
def engine(tiny_model) -> TorchEngine:
    return TorchEngine(tiny_model, "tiny")


@pytest.fixture
def fresh(engine):
    """What an engine says that has read nothing before."""
    return lambda conversation: TorchEngine(engine.model).answer([conversation], BRIEF)[0]


@pytest.fixture
def read(engine, monkeypatch) -> list[int]:
    """How many positions the language model has read at once, again and again."""
    lengths: list[int] = []
    step = engine._step

    def counted(embeddings, *rest):
        lengths.append(embeddings.shape[1])
        return step(embeddings, *rest)

    monkeypatch.setattr(engine, "_step", counted)
    return lengths


def test_a_second_question_reads_only_what_is_new_and_is_answered_alike(engine, fresh, read):
    first = engine.answer([asked("What is it?")], BRIEF)[0]
    assert (first.n_cached, read[0]) == (0, first.n_prompt)
    read.clear()
    second = engine.answer([asked("Which colour is the ball?")], BRIEF)[0]
    assert second.n_cached > 6 * len(FRAMES) and read[0] == second.n_prompt - second.n_cached
    assert second.text == fresh(asked("Which colour is the ball?")).text != first.text


def test_the_next_turn_of_a_chat_reads_the_reply_no_second_time(engine, fresh):
    first = engine.answer([asked("What is it?")], BRIEF)[0]
    chat = asked("What is it?") + assistant(first.text) + user("Sure?")
    *_, last = engine.stream(chat, BRIEF)
    assert last.n_cached >= first.n_prompt, "the question and the beginning of the reply"
    assert last.n_prompt == fresh(chat).n_prompt
    assert "".join(delta.text for delta in engine.stream(chat, BRIEF)) == fresh(chat).text


def test_another_picture_among_them_is_read_and_all_behind_it(engine, fresh):
    engine.answer([asked("What is it?")], BRIEF)
    changed = [*FRAMES[:15], noise(99), *FRAMES[16:]]
    reply = engine.answer([asked("What is it?", changed)], BRIEF)[0]
    before = engine.renderer.render(asked("What is it?"), generate=True).slots[15].start
    assert reply.n_cached == before
    assert reply.text == fresh(asked("What is it?", changed)).text


def test_the_same_question_again_reads_its_last_token(engine):
    first, again = (engine.answer([asked("What is it?")], BRIEF)[0] for _ in range(2))
    assert (again.n_cached, again.text) == (again.n_prompt - 1, first.text)


def test_a_reply_that_nobody_wants_any_more_is_remembered_as_far_as_it_came(engine, fresh):
    stream = engine.stream(asked("What is it?"), BRIEF)
    next(stream)
    stream.close()
    again = engine.answer([asked("What is it?")], BRIEF)[0]
    assert (again.n_cached, again.text) == (again.n_prompt - 1, fresh(asked("What is it?")).text)


def test_reading_that_breaks_off_in_the_midst_leaves_nothing_behind(engine, fresh, monkeypatch):
    layers = engine.model.decoder.layers
    with monkeypatch.context() as broken:
        broken.setattr(layers[1], "forward", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            engine.answer([asked("What is it?")], BRIEF)
    reply = engine.answer([asked("What is it?")], BRIEF)[0]
    assert (reply.n_cached, reply.text) == (0, fresh(asked("What is it?")).text)
    with monkeypatch.context() as broken:  # the first layer's cache has grown by then, the second's has not
        broken.setattr(layers[1], "forward", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            engine.answer([asked("And now?")], BRIEF)
    assert engine.answer([asked("And now?")], BRIEF)[0].text == fresh(asked("And now?")).text


def test_batches_read_everything_and_another_method_remembers_for_itself(engine):
    together = engine.answer([asked("What is it?"), asked("Why?")], BRIEF)
    assert [reply.n_cached for reply in together] == [0, 0]
    assert engine.answer([asked("Why?")], BRIEF)[0].n_cached == 0, "nor are they remembered"
    assert engine.decoding_by(None).answer([asked("Why?")], BRIEF)[0].n_cached == 0


def test_questions_about_one_long_video_are_answered_one_after_another(engine, fresh, monkeypatch):
    monkeypatch.setattr(reuse_module, "WORTH_WAITING", 100)
    short = [Conversation((user(noise(1), "What?"),)), Conversation((user("Hi"),))]
    several = [asked("What is it?"), short[0], asked("Which?", FRAMES[1:]), asked("Why?", FRAMES[1:]), short[1]]
    replies = engine.answer(several, BRIEF)
    assert [reply.n_cached > 100 for reply in replies] == [False, False, False, True, False]
    assert [reply.text for reply in replies] == [fresh(conversation).text for conversation in several]


def test_batches_hold_like_lengths_within_a_number_of_tokens(engine, monkeypatch):
    monkeypatch.setattr(reuse_module, "BATCH_TOKENS", 200)
    prompts = [engine.renderer.render(Conversation((user("a" * n),)), generate=True) for n in (5, 80, 6, 7, 81, 300)]
    found = batches(prompts, 2)
    assert sorted(i for batch in found for i in batch) == list(range(6))
    assert [0, 2] in found and [3] in found, "two at most"
    assert [5] in found and all(len(b) == 1 or len(b) * max(len(prompts[i]) for i in b) <= 200 for b in found)


def cache_of(n: int) -> DynamicCache:
    """One layer with n positions: 2 * n * 4 numbers."""
    cache = DynamicCache()
    cache.update(torch.zeros(1, 1, n, 4), torch.zeros(1, 1, n, 4), 0)
    return cache


def test_what_is_remembered_stays_within_its_limit_but_for_the_last():
    one, two, other = (torch.full((100, 8), float(k)) for k in range(3))
    size = 100 * 8 * 4 + 2 * 100 * 4 * 4
    before = ReadBefore(limit=size)
    before.keep(one, cache_of(100))
    before.keep(two, cache_of(100))
    assert before.n_bytes == size and before.take(one)[0] == 0, "the second took its place"
    assert before.take(two)[0] == 99
    assert before.n_bytes == 0, "what was taken is its taker's"
    small = ReadBefore(limit=size - 1)
    small.keep(one, cache_of(100))
    assert small.n_bytes == size, "the last is kept for the next question"
    assert small.take(other)[0] == 0 and small.n_bytes == 0, "and not beside another prompt"


def test_a_method_that_looks_at_layers_reads_only_what_is_new_as_well(engine):
    method = parse_method("dola")
    questions = [asked("What is it?"), asked("Which colour is the ball?")]
    kept, fresh = (engine.decoding_by(method) for _ in range(2))
    kept.answer(questions[:1], BRIEF)
    [second] = kept.answer(questions[1:], BRIEF)
    assert second.n_cached > 6 * len(FRAMES)
    assert second.text == fresh.answer(questions[1:], BRIEF)[0].text
