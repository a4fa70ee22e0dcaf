"""Compressed pictures are the same on every engine that compresses, and what is remembered knows what it is of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sensorium.conversation import Conversation, Image, assistant, user
from sensorium.correction.verifiers.asked import Asked
from sensorium.engine import Sampling
from sensorium.engine.seeing import Remembered, Run, runs_of
from sensorium.evaluation.identity import engine_identity
from sensorium.model.compressors import COMPRESSORS, Compression
from sensorium.rendering.renderer import Slot

from .conftest import BLUE, RED, picture
from .test_llamacpp import scribble

GREEN = picture((10, 200, 10))


def test_runs_are_the_pictures_of_a_turn_only_where_the_method_compares_them():
    slots = [Slot(1, 4, RED, message=0, question="a"), Slot(9, 4, BLUE, message=0, question="a"),
             Slot(20, 4, RED, message=2, question="b")]  # fmt: skip
    assert runs_of(slots, None) == runs_of(slots, Compression(2, "pool")) == [Run((RED,)), Run((BLUE,)), Run((RED,))]
    assert runs_of(slots, Compression(2, "frames")) == [Run((RED, BLUE)), Run((RED,))]
    assert runs_of(slots, Compression(2, "llama-vid")) == [Run((RED,), "a"), Run((BLUE,), "a"), Run((RED,), "b")]


def test_a_key_tells_pictures_questions_and_company_apart():
    runs = [Run((RED,)), Run((BLUE,)), Run((RED, BLUE)), Run((BLUE, RED)), Run((RED, RED)), Run((RED,), "a"),
            Run((RED,), "b"), Run((RED, BLUE), "a")]  # fmt: skip
    assert len({run.key for run in runs}) == len(runs)
    assert Run((RED,)).key == RED.digest == Run((Image(RED.source),)).key


def test_what_was_asked_for_longest_ago_is_forgotten():
    made: list[str] = []
    kept = Remembered[list[np.ndarray]](2, n_bytes=0)
    for key in "aabacab":
        kept.get(key, lambda key=key: made.append(key) or [np.zeros(2)])
    assert made == ["a", "b", "c", "b"] and "b" in kept and "c" not in kept and len(kept) == 2


def test_of_runs_as_many_pictures_are_remembered_and_not_as_many_runs():
    kept = Remembered[list[np.ndarray]](8, n_bytes=0)
    for key, n, left in (("a", 3, ["a"]), ("b", 3, ["a", "b"]), ("c", 3, ["b", "c"]), ("long", 20, ["long"])):
        kept.get(key, lambda n=n: [np.zeros(2)] * n)
        assert [key for key in ("a", "b", "c", "long") if key in kept] == left


def test_a_video_of_many_frames_is_remembered_whole_where_they_are_small():
    """A thousand frames of 64 tokens of 576 numbers of 4 bytes are 147 MB; so large that 300 are 600 MB, 256 stay."""
    small, large = Remembered[tuple[np.ndarray, str]](), Remembered[tuple[np.ndarray, str]]()
    for frame in range(1000):
        small.get(str(frame), lambda: (np.empty((64, 576), np.float32), "views"))
    assert len(small) == 1000
    for frame in range(300):
        large.get(str(frame), lambda: (np.empty(500_000, np.float32), "views"))
    assert len(large) == 256 and "299" in large and "43" not in large


@pytest.fixture
def both(small_engine: Any, llamacpp_engine: Any) -> Any:
    """The torch and the llamacpp engine of one model with a compression each, by its method and budget."""

    def make(method: str, budget: int) -> tuple[Any, Any]:
        compression = Compression(budget, method)
        return small_engine.compressing(compression), llamacpp_engine.compressing(compression)

    return make


def vectors(engine: Any, conversation: Conversation) -> list[Any]:
    """What stands in the prompt for each picture."""
    slots = [replace(slot, question=conversation.messages[slot.message].text)
             for slot in engine.renderer.render(conversation, generate=True).slots]  # fmt: skip
    return [np.asarray(one[1] if isinstance(one, tuple) else one) for one in engine._shown(slots)]


@pytest.mark.parametrize("method", [*COMPRESSORS])
def test_compressed_pictures_are_the_torch_engines(both, method):
    """Nearly as precise as without compression, see test_llamacpp."""
    reference, engine = both(method, 16)
    asked = Conversation((user(scribble(), GREEN, " and ", RED, "What do they show?"),))
    for theirs, ours in zip(vectors(engine, asked), vectors(reference, asked), strict=True):
        assert theirs.shape == ours.shape and 12 < len(ours) <= 16
        assert np.linalg.norm(theirs - ours) < 2e-3 * np.linalg.norm(ours)


@pytest.mark.parametrize("method", ["pool", "frames", "llama-vid"])
def test_scores_and_replies_about_compressed_pictures_are_the_torch_engines(both, method):
    reference, engine = both(method, 16)
    asked = Conversation((user(GREEN, " and ", RED, "What do they show?"),))
    candidates = ["A cat.", "There are two dogs in the picture."]
    assert engine.score(asked, candidates) == pytest.approx(reference.score(asked, candidates), rel=5e-3)
    theirs, ours = (one.answer([asked], Sampling(max_new_tokens=4))[0] for one in (engine, reference))
    assert (theirs.text, theirs.n_prompt) == (ours.text, ours.n_prompt)
    assert ours.n_prompt == len(reference.renderer.render(asked, generate=True))


@pytest.mark.parametrize("number", [0, 1], ids=["torch", "llamacpp"])
def test_the_question_decides_what_is_seen_and_the_next_turn_changes_nothing(both, number):
    engine = both("llama-vid", 5)[number]
    shown = scribble()

    def tokens(*messages: Any) -> Any:
        return vectors(engine, Conversation(messages))[0]

    cat, dog = tokens(user(shown, "Is it a cat?")), tokens(user(shown, "Where does the dog run?"))
    assert not np.allclose(cat[0], dog[0], atol=1e-4) and np.allclose(cat[1:], dog[1:])  # the context token alone
    assert np.array_equal(cat, tokens(user(shown, "Is it a cat?"), assistant("No"), user("Where does the dog run?")))


def test_another_question_on_the_same_picture_does_not_go_on_from_the_first_ones_tokens(both):
    reference, engine = both("llama-vid", 5)
    for text in ("Is it red?", "How many dogs are there?", "Is it red?"):
        asked = Conversation((user(RED, text),))
        engine.answer([asked], Sampling(max_new_tokens=2))
        assert engine.score(asked, ["Yes."]) == pytest.approx(reference.score(asked, ["Yes."]), rel=5e-3)


def test_compressions_that_share_a_memory_do_not_share_what_they_read(both, llamacpp_engine):
    """Two of one budget: were their pictures one to llama.cpp, the second would go on from the first one's tokens."""
    shown = scribble()
    asked = Conversation((user(shown, "What is it?"),))
    for method in ("random", "tome", "random"):
        reference, engine = both(method, 16)
        found = engine.answer([asked], Sampling(max_new_tokens=2))[0]
        assert engine.score(asked, ["A cat."]) == pytest.approx(reference.score(asked, ["A cat."]), rel=1e-2)
        assert engine.card.provenance["compression"] == f"{method}:16" and engine.card.visual_tokens == 16
    assert found.n_cached == found.n_prompt - 1  # the third time, it was read the first time
    assert engine.compressing(None).card == llamacpp_engine.card


def test_replies_of_two_compressions_are_never_taken_for_each_other(model_folder, small_engine):
    kinds = (None, Compression(16), Compression(8), Compression(16, "tome"))
    engines = [small_engine.compressing(kind) for kind in kinds]
    cards = [engine.card for engine in engines]
    identities = {engine_identity(str(model_folder), card, "float32") for card in cards}
    assert len(identities) == len({Asked(engine).version for engine in engines}) == 4 and cards[0] == small_engine.card
    assert [card.visual_tokens for card in cards] == [64, 16, 6, 16]
