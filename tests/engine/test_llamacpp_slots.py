"""What was read is not read again though its slot went to others, comes back bit by bit, and is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sensorium.conversation import Conversation, user
from sensorium.engine import Sampling
from sensorium.engine.llamacpp.threads import threads_for_one_token

from .conftest import picture

pytest.importorskip("xllamacpp", reason="xllamacpp has no wheel for this platform")

SHOWN = [Conversation((user(picture((40 * n, 90, 250 - 40 * n)), "What is it?"),)) for n in range(5)]
BRIEF = Sampling(max_new_tokens=2)
PICTURE = 64  # tokens; 101 with its question and the reply
TRAIL_MB = 101 * 30 * 2 * 192 * 2 / 1e6  # 30 layers, keys and values of 3 heads of 64, in half precision
SHELF_MB = 2.2 * TRAIL_MB


@pytest.fixture(scope="module")
def narrow(gguf_folder) -> Iterator[Any]:
    """A server's engine with more callers than slots: one slot, and a shelf for two pictures and their questions."""
    from sensorium.engine.llamacpp.engine import LlamaCppEngine

    engine = LlamaCppEngine(gguf_folder, threads=1, slots=1, context_length=256, shelf_mb=SHELF_MB)
    yield engine
    engine.close()


def test_pictures_are_not_read_again_when_more_were_shown_than_there_are_slots(narrow):
    read = [narrow.answer([SHOWN[n]], BRIEF)[0].n_cached for n in (0, 1, 2)]
    again = [narrow.answer([SHOWN[n]], BRIEF)[0] for n in (0, 1, 2, 0)]
    assert max(read) < PICTURE
    assert [reply.n_cached for reply in again] == [reply.n_prompt - 1 for reply in again]


def test_what_comes_back_is_what_was_there(narrow):
    first = narrow.score(SHOWN[3], ["A ball.", "A cup."])
    for other in SHOWN[:2]:
        narrow.answer([other], BRIEF)
    assert narrow.score(SHOWN[3], ["A ball.", "A cup."]) == first


def test_the_shelf_is_bounded_and_what_was_longest_left_alone_falls(narrow):
    for conversation in SHOWN:
        narrow.answer([conversation], BRIEF)
        assert narrow._decoder._slots.shelf_bytes <= SHELF_MB * 1e6
    assert narrow._decoder._slots.shelf_bytes > 1.9 * TRAIL_MB * 1e6
    cached = [narrow.answer([SHOWN[n]], BRIEF)[0].n_cached for n in (4, 3, 2, 1)]
    assert min(cached[:3]) > PICTURE > cached[3]


def test_a_trail_that_goes_on_takes_the_place_of_its_beginning(narrow):
    """A chat on the shelf is there once, in its longest form."""
    story = "Tell me about the river, the mountain and the sea, and about all that lives in them and near them."
    for question in (story, f"{story} And about the moon, the sun, the stars, and whoever looks at them at night."):
        narrow.answer([Conversation((user(question),))], BRIEF)
        narrow.answer([SHOWN[0]], BRIEF)
    trails = [kept.trail for kept in narrow._decoder._slots._shelf]
    assert not any(one != other and other[: len(one)] == one for one in trails for other in trails)


def test_nothing_is_kept_beside_the_slots_where_there_is_no_room(gguf_folder):
    from sensorium.engine.llamacpp.engine import LlamaCppEngine

    engine = LlamaCppEngine(gguf_folder, threads=1, slots=1, context_length=256, shelf_mb=0)
    cached = [engine.answer([SHOWN[n]], BRIEF)[0].n_cached for n in (0, 0, 1, 0)]
    engine.close()
    assert [n > PICTURE for n in cached] == [False, True, False, False]


def test_a_reply_among_four_is_the_one_that_is_written_alone(llamacpp_engine):
    """To the last bit, which a batch of several would not give."""
    sampling = Sampling(max_new_tokens=8, temperature=1.0, logprobs=0)
    questions = SHOWN[:4]
    llamacpp_engine.answer(questions, BRIEF)
    alone = [llamacpp_engine.answer([question], sampling)[0] for question in questions]
    assert llamacpp_engine.answer(questions, sampling) == alone


def test_one_thread_reads_single_tokens_of_a_small_model():
    assert [threads_for_one_token(threads, mb) for threads, mb in ((8, 143), (8, 3800), (1, 3800))] == [1, 8, 1]
