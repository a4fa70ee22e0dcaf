"""The remote engine before a server that others wrote: llama.cpp's own, from the wheel, with an exported model.

It writes prompts by the chat template in the file and chooses tokens by itself, so that what it says at temperature 0
is to be what our own engine says of the same file.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture

from sensorium.conversation import Conversation, Image, assistant, system, user
from sensorium.engine import YES_NO, Boxes, JsonSchema, Sampling
from sensorium.errors import SensoriumError

pytest.importorskip("openai", reason="the remote engine is an extra")

SHORT = Sampling(max_new_tokens=12)
CAPITAL = Conversation((system("Be brief."), user("What is the capital of France?")))
TURNS = Conversation((user("Hi"), assistant("Hello."), user("Name three animals.")))


@pytest.fixture(scope="module")
def foreign_engine(gguf_folder: Path) -> Iterator[Any]:
    """The remote engine before llama.cpp's server: two slots of 1024 tokens."""
    xllamacpp = pytest.importorskip("xllamacpp", reason="xllamacpp has no wheel for this platform")
    from sensorium.engine.remote.engine import RemoteEngine

    wanted = xllamacpp.CommonParams()
    wanted.model.path, wanted.mmproj.path = str(gguf_folder / "model.gguf"), str(gguf_folder / "mmproj.gguf")
    wanted.n_ctx, wanted.n_parallel, wanted.cpuparams.n_threads, wanted.warmup = 2048, 2, 1, False
    server = xllamacpp.Server(wanted)
    engine = RemoteEngine(f"{server.listening_address}/v1", retries=0, timeout_s=60)
    yield engine
    engine.close()
    del server


@pytest.fixture(scope="module")
def shown() -> Conversation:
    """About a picture of the size that the encoder takes: llama.cpp shows larger ones in pieces."""
    data = io.BytesIO()
    Picture.new("RGB", (224, 224), (200, 120, 40)).save(data, format="PNG")
    return Conversation((user(Image(data.getvalue()), "What colour is it?"),))


def test_it_says_what_our_engine_says_of_the_same_file(foreign_engine, llamacpp_engine):
    for question in (CAPITAL, TURNS):
        [expected], [found] = (engine.answer([question], SHORT) for engine in (llamacpp_engine, foreign_engine))
        assert (found.text, found.finish, found.n_prompt) == (expected.text, expected.finish, expected.n_prompt)
        assert found.n_tokens == expected.n_tokens + (found.finish == "stop")  # it counts the end of the turn


def test_streams_are_the_answers_and_pictures_are_counted(foreign_engine, llamacpp_engine, shown):
    for question in (CAPITAL, TURNS, shown):
        deltas, [reply] = list(foreign_engine.stream(question, SHORT)), foreign_engine.answer([question], SHORT)
        assert "".join(delta.text for delta in deltas) == reply.text
        assert (deltas[-1].finish, deltas[-1].n_prompt) == (reply.finish, reply.n_prompt)
    assert reply.n_prompt == llamacpp_engine.answer([shown], SHORT)[0].n_prompt


def test_its_card_tells_the_room_of_a_slot_and_longer_conversations_are_refused(foreign_engine):
    assert foreign_engine.card.context_length == 1024
    with pytest.raises(SensoriumError, match="exceeds the available context size"):
        foreign_engine.answer([Conversation((user("a " * 1500),))])


def test_seeds_stops_and_limits_reach_it(foreign_engine):
    drawn = [foreign_engine.answer([TURNS], Sampling(max_new_tokens=12, temperature=1.0, seed=seed))[0].text
             for seed in (1, 1, 2)]  # fmt: skip
    assert drawn[0] == drawn[1] != drawn[2]
    [whole] = foreign_engine.answer([CAPITAL], Sampling(max_new_tokens=30))
    stop = whole.text[len(whole.text) // 2 :][:3]
    [stopped] = foreign_engine.answer([CAPITAL], Sampling(max_new_tokens=30, stop=(stop,)))
    assert stopped.text == whole.text[: whole.text.index(stop)] and stopped.finish == "stop"
    [cut] = foreign_engine.answer([CAPITAL], Sampling(max_new_tokens=3))
    assert (cut.finish, cut.n_tokens) == ("length", 3)


def test_it_keeps_to_what_a_reply_may_be_and_tells_probabilities(foreign_engine):
    assert foreign_engine.answer([CAPITAL], Sampling(max_new_tokens=40, constrain=YES_NO))[0].text in ("Yes", "No")
    schema = JsonSchema.of({"type": "array", "items": {"enum": ["a", 1]}, "minItems": 2, "maxItems": 2})
    found = "".join(delta.text for delta in foreign_engine.stream(CAPITAL, Sampling(60, constrain=schema)))
    assert len(json.loads(found)) == 2 and set(json.loads(found)) <= {"a", 1}
    [told] = foreign_engine.answer([CAPITAL], Sampling(max_new_tokens=4, logprobs=2))
    assert "".join(token.text for token in told.logprobs) == told.text
    assert all(token.value == token.top[0].value and len(token.top) == 2 for token in told.logprobs)  # the likeliest
    with pytest.raises(SensoriumError, match="boxes cannot be asked"):
        foreign_engine.answer([CAPITAL], Sampling(constrain=Boxes()))
    with pytest.raises(SensoriumError, match="cannot score"):
        foreign_engine.score(CAPITAL, ["Yes"])


def test_streams_left_early_free_their_slots(foreign_engine):
    expected = foreign_engine.answer([CAPITAL], SHORT)
    for _ in range(4):  # more often than there are slots
        stream = foreign_engine.stream(TURNS, Sampling(max_new_tokens=400))
        next(stream)
        stream.close()
    assert foreign_engine.answer([CAPITAL], SHORT)[0].text == expected[0].text
