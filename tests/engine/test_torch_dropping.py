"""The torch engine with visual tokens that leave inside the language model: every way of asking it, against the slow
loop of `tests/model/test_shortening.py` and against itself in other company."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from sensorium.conversation import Conversation, Image, assistant, system, user
from sensorium.engine import Sampling
from sensorium.engine.methods import parse_method
from sensorium.engine.torch import TorchEngine
from sensorium.errors import SensoriumError
from sensorium.evaluation.identity import engine_identity
from sensorium.model.checkpoint import save_model
from sensorium.model.dropping import Dropping
from sensorium.model.multimodal import ModelConfig

from ..model.test_shortening import N_LAYERS, Slow, language_of


def noisy(seed: int) -> Image:
    """A picture no two places of which are alike, so that it matters who stays."""
    data = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    Picture.fromarray(pixels).save(data, format="PNG")
    return Image(data.getvalue())


FIRST, SECOND = noisy(1), noisy(2)
ASKED = Conversation((user(FIRST, "What is in the picture?"),))
TWO = Conversation((user(SECOND, " and ", FIRST, " differ?"),))
SEVERAL = [ASKED, Conversation((user("Hi"),)), Conversation((*TWO, assistant("Yes"), user("How? Be careful."))),
           Conversation((system("Be brief."), user("a " * 30)))]  # fmt: skip
LONG = Sampling(max_new_tokens=12)
FASTV, PYRAMID = Dropping.fastv(2, 0.25), Dropping.pyramiddrop((1, 2, 4), 0.5)
DROPPINGS = (FASTV, PYRAMID, FASTV.at_random())


@pytest.fixture
def model(tiny_model_tree) -> Any:
    """16 visual tokens a picture, and five layers for them to leave between."""
    torch.manual_seed(3)
    tree = tiny_model_tree | {"connector": {"kind": "mlp"}}
    model = ModelConfig.model_validate(tree).build().eval()
    model.language = language_of("llama", vocab_size=model.vocabulary_size, max_position_embeddings=512)
    for parameter in model.connector.parameters():  # a model that looks at its pictures, and is sure of what it says
        parameter.data.normal_(0, 0.3)
    model.language.lm_head.weight.data *= 8
    return model


@pytest.fixture(params=DROPPINGS, ids=lambda dropping: dropping.spec)
def engine(model, request) -> TorchEngine:
    return TorchEngine(model, "tiny", dropping=request.param)


class Alone:
    """Logits of what follows a prompt and the reply so far, by the slow loop."""

    def __init__(self, engine: TorchEngine, conversation: Conversation) -> None:
        self.engine, self.slow = engine, Slow(engine.model.language, engine.dropping)
        self.prompt = engine.renderer.render(conversation, generate=True)

    @torch.inference_mode()
    def logits(self, said: list[int]) -> torch.Tensor:
        """[1 + len(said), v]"""
        model, ids = self.engine.model, torch.tensor(self.prompt.ids + said)
        embeddings = model.embed_ids(ids[None])[0]
        slots = (ids == model.slot_id).nonzero().flatten()
        if len(slots):
            embeddings[slots] = torch.cat([self.engine._visual(image) for image in self.prompt.images])
        last = len(self.prompt) - 1
        states, _ = self.slow.states(embeddings, slots.tolist(), last)
        return model.head(torch.stack([states[place] for place in range(last, len(ids))]))


@pytest.mark.parametrize("dropping", [FASTV, PYRAMID], ids=["fastv", "pyramiddrop"])
def test_greedy_replies_are_those_of_the_slow_loop(model, dropping):
    engine = TorchEngine(model, dropping=dropping)
    replies, plain = engine.answer(SEVERAL, LONG), TorchEngine(model).answer(SEVERAL, LONG)
    for conversation, reply in zip(SEVERAL, replies, strict=True):
        alone, said = Alone(engine, conversation), []
        while len(said) < LONG.max_new_tokens:
            token = int(alone.logits(said)[-1].argmax())
            if token in engine.renderer.stop_ids:
                break
            said.append(token)
        assert reply.text == engine.renderer.decode(said).rstrip("\ufffd") and reply.n_tokens == len(said)
    assert replies[0].text != plain[0].text  # whoever drops three of four sees something else
    assert [replies[i] for i in (1, 3)] == [plain[i] for i in (1, 3)]  # no picture, nothing to drop


@pytest.mark.parametrize("dropping", [FASTV, PYRAMID], ids=["fastv", "pyramiddrop"])
def test_scores_are_those_of_the_slow_loop(model, dropping):
    """Candidates of different lengths; whom the prompt looks at is not theirs to say."""
    engine = TorchEngine(model, dropping=dropping)
    candidates = ["a cat", "", "the dog sat on the mat"]
    for conversation in SEVERAL[:3]:
        alone = Alone(engine, conversation)
        for candidate, score in zip(candidates, engine.score(conversation, candidates), strict=True):
            tail = engine.renderer.encode_reply(candidate) + engine.renderer.turn_end
            log_p = alone.logits(tail[:-1]).log_softmax(-1)
            assert score == pytest.approx(float(log_p[range(len(tail)), tail].sum()), abs=1e-3)
    assert engine.score(ASKED, ["a cat"]) != pytest.approx(TorchEngine(model).score(ASKED, ["a cat"]), abs=1e-2)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.8, "seed": 9}])
def test_a_batch_answers_what_each_alone_answers_and_streams(engine, options):
    """A character that about half of the replies hold ends them, so that the batch shrinks."""
    free = engine.answer(SEVERAL, Sampling(max_new_tokens=16, **options))
    whole = [reply.text.replace("\ufffd", "") for reply in free]
    stop = min(sorted(set("".join(whole))), key=lambda c: abs(2 - sum(c in text for text in whole)))
    sampling = Sampling(max_new_tokens=16, stop=(stop,), **options)
    together = engine.answer(SEVERAL, sampling)
    assert together == [engine.answer([conversation], sampling)[0] for conversation in SEVERAL]
    assert [reply.text for reply in together] == [
        "".join(delta.text for delta in engine.stream(conversation, sampling)) for conversation in SEVERAL
    ]
    assert len({reply.n_tokens for reply in together}) > 1


@pytest.mark.parametrize("dropping", [Dropping.fastv(2, 1.0), Dropping.pyramiddrop((1, 3), 1.0)])
def test_an_engine_that_drops_nothing_says_what_the_plain_one_says(model, dropping):
    plain, engine = TorchEngine(model), TorchEngine(model, dropping=dropping)
    sampling = Sampling(max_new_tokens=16, logprobs=2)
    for one, other in zip(engine.answer(SEVERAL, sampling), plain.answer(SEVERAL, sampling), strict=True):
        assert one.text == other.text
        assert [p.value for p in one.logprobs] == pytest.approx([p.value for p in other.logprobs], abs=1e-4)
    candidates = ["a cat", "dog"]
    assert engine.score(ASKED, candidates) == pytest.approx(plain.score(ASKED, candidates), abs=1e-4)


@pytest.mark.parametrize("written", ["vcd", "icd", "cfg", "dola"])
def test_decoding_methods_run_on_what_is_left(model, written):
    """Second branches drop tokens of their own; one without a picture has none."""
    method = parse_method(written)
    seen = [SEVERAL[0], TWO, SEVERAL[1]]
    engine = TorchEngine(model, dropping=FASTV).decoding_by(method)
    together = engine.answer(seen, LONG)
    assert together == [engine.answer([conversation], LONG)[0] for conversation in seen]
    nothing = TorchEngine(model, dropping=Dropping.fastv(2, 1.0)).decoding_by(method)
    plain = TorchEngine(model).decoding_by(method).answer(seen, LONG)
    assert [reply.text for reply in nothing.answer(seen, LONG)] == [reply.text for reply in plain]
    assert together[0].text != plain[0].text


def test_engines_of_one_model_do_not_drop_for_each_other(model):
    plain, engine = TorchEngine(model), TorchEngine(model, dropping=FASTV)
    before = plain.answer(SEVERAL, LONG), engine.answer(SEVERAL, LONG)
    first, second = plain.stream(ASKED, LONG), engine.stream(ASKED, LONG)  # token by token in turns
    said = ["", ""]
    for pieces in zip(first, second, strict=False):
        said = [text + piece.text for text, piece in zip(said, pieces, strict=True)]
    assert said[0] == before[0][0].text[: len(said[0])] and said[1] == before[1][0].text[: len(said[1])]
    assert (plain.answer(SEVERAL, LONG), engine.answer(SEVERAL, LONG)) == before


def test_replies_of_engines_that_drop_otherwise_are_never_shared(model, tiny_model, tmp_path):
    folder = save_model(tiny_model, tmp_path / "model", ["connector"])
    engines = [TorchEngine(model), *(TorchEngine(model, dropping=one) for one in (*DROPPINGS, Dropping.fastv(3, 0.25)))]
    assert len({engine_identity(str(folder), engine.card, "float32") for engine in engines}) == len(engines)
    assert engines[1].card.provenance == {"dropping": "fastv:2=0.25"}
    vcd = engines[1].decoding_by(parse_method("vcd"))
    assert vcd.card.provenance["dropping"] == "fastv:2=0.25" and vcd.dropping == FASTV
    assert engine_identity(str(folder), vcd.card, "float32") != engine_identity(str(folder), engines[1].card, "float32")


def test_a_loaded_engine_drops_as_it_is_told(tiny_model, tmp_path):
    folder = save_model(tiny_model, tmp_path / "model", ["connector"])
    dropping = Dropping.fastv(1, 0.5)
    engine = TorchEngine.load(folder, dropping=dropping)
    assert engine.answer(SEVERAL, LONG) == TorchEngine(tiny_model, dropping=dropping).answer(SEVERAL, LONG)
    assert engine.card.provenance["dropping"] == "fastv:1=0.5"
    with pytest.raises(SensoriumError, match="has 2"):
        TorchEngine.load(folder, dropping=FASTV)


def test_layers_read_as_many_tokens_as_the_dropping_says(model):
    engine = TorchEngine(model, dropping=PYRAMID)
    found: list[int] = []
    for layer in model.decoder.layers:
        layer.mlp.register_forward_pre_hook(lambda _, given: found.append(given[0].shape[1]))
    [reply] = engine.answer([TWO], Sampling(max_new_tokens=3))
    assert found == [reply.n_prompt - 32 + n for n in PYRAMID.counts(32, N_LAYERS)] + [1] * (len(found) - N_LAYERS)
    assert len(found) in (2 * N_LAYERS, 3 * N_LAYERS)
