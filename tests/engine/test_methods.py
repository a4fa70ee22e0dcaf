"""Decoding methods: each by its published formula, computed here with whole forward passes and no cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sensorium.conversation import Conversation, assistant, user
from sensorium.engine import Sampling
from sensorium.engine.methods import METHODS, Consistent, SelfConsistency, decoding, parse_method
from sensorium.engine.methods.base import Method, is_plausible
from sensorium.engine.methods.consistency import agreed
from sensorium.engine.methods.contrast import Contrast, VisualContrast, signal
from sensorium.engine.methods.guidance import guided
from sensorium.engine.methods.layers import LayerContrast
from sensorium.engine.torch import TorchEngine
from sensorium.errors import SensoriumError

from .conftest import ASKED, BLUE, RED, SEVERAL

LONG = Sampling(max_new_tokens=16)


def seen(image: Any) -> tuple[str, ...]:
    """What a detector that knows two pictures finds."""
    return {RED.digest: ("cat", "ball"), BLUE.digest: ()}[image.digest]


def make(written: str) -> Any:
    method = parse_method(written)
    return method.model_copy(update={"objects": seen}) if method.name == "marine" else method


@pytest.fixture
def engine(tiny_model) -> TorchEngine:
    return TorchEngine(tiny_model, "tiny")


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


class Slow:
    """A conversation's next logits by a forward pass over everything, for any branch and layer."""

    def __init__(self, engine: TorchEngine, conversation: Conversation, noised: VisualContrast | None = None) -> None:
        self.model, self.prompt = engine.model, engine.renderer.render(conversation, generate=True)
        self.visual = [engine._visual(image, noised) for image in self.prompt.images]

    @torch.inference_mode()
    def logits(self, said: list[int]) -> list[np.ndarray]:
        """Of each layer from the embeddings on; the last one normed, the others as they are."""
        embeddings = self.model.embed_ids(torch.tensor([self.prompt.ids + said]))
        for slot, visual in zip(self.prompt.slots, self.visual, strict=True):
            embeddings[0, slot.start : slot.start + slot.length] = visual
        states = self.model.decoder(inputs_embeds=embeddings, output_hidden_states=True, use_cache=False).hidden_states
        return [self.model.head(state[0, -1]).numpy() for state in states]


def kept(logits: np.ndarray, scores: np.ndarray, beta: float) -> np.ndarray:
    p = np.exp(log_softmax(logits))
    return np.where(p >= beta * p.max(), scores, -np.inf)


def contrasted(alpha: float, beta: float = 0.1) -> Any:
    def scores(ours, other):
        good, bad = (one[-1].astype(np.float64) for one in (ours, other))
        return kept(good, (1 + alpha) * good - alpha * bad, beta)

    return scores


def pushed(gamma: float, beta: float) -> Any:
    def scores(ours, other):
        with_it, without = log_softmax(ours[-1]), log_softmax(other[-1])
        return kept(ours[-1], without + gamma * (with_it - without), beta)

    return scores


def layered(ours, _):
    """Of two layers the high bucket is the first alone."""
    last, early = log_softmax(ours[-1]), log_softmax(ours[1])
    return kept(ours[-1], last - early, 0.1)


def behind(words: str) -> Conversation:
    return Conversation((user(RED, f"{words} What is in the picture?"),))


DISTURBED = METHODS["icd"]().words
FORMULAS = {
    "vcd": (contrasted(1.0), ASKED),
    "vcd:alpha=2.5,beta=0.3,step=900": (contrasted(2.5, 0.3), ASKED),
    "icd": (contrasted(1.0), behind(DISTURBED)),
    "cfg:gamma=3": (pushed(3.0, 0.1), Conversation((user("What is in the picture?"),))),
    "marine": (lambda ours, other: pushed(0.7, 0.0)(other, ours), behind("This picture shows cat and ball.")),
    "dola": (layered, ASKED),
}


@pytest.mark.parametrize("written", FORMULAS)
def test_greedy_tokens_are_those_of_the_published_formula(engine, written):
    formula, beside = FORMULAS[written]
    method = make(written)
    ours, other = Slow(engine, ASKED), Slow(engine, beside, method if method.name == "vcd" else None)
    said: list[int] = []
    for _ in range(LONG.max_new_tokens):
        scores = formula(ours.logits(said), other.logits(said))
        scores[engine.model.slot_id] = -np.inf
        if (token := int(scores.argmax())) in engine.renderer.stop_ids:
            break
        said.append(token)
    reply = engine.decoding_by(method).answer([ASKED], LONG)[0]
    assert reply.text == engine.renderer.decode(said).rstrip("\ufffd")
    assert reply.n_tokens == len(said) and reply.text != engine.answer([ASKED], LONG)[0].text


@pytest.mark.parametrize("written", ["vcd:alpha=0", "icd:alpha=0", "cfg:gamma=1", "marine:gamma=0"])
def test_without_its_contrast_a_method_says_what_plain_decoding_says(engine, written):
    several = [*SEVERAL[:1], Conversation((user(BLUE, "And this?"),)), Conversation((user("Hi"),))]
    plain = engine.answer(several, LONG)
    assert [reply.text for reply in engine.decoding_by(make(written)).answer(several, LONG)] == [r.text for r in plain]


@pytest.mark.parametrize("written", ["vcd", "icd", "cfg", "marine", "dola"])
@pytest.mark.parametrize("options", [{}, {"temperature": 0.8, "seed": 4}])
def test_a_batch_says_what_each_alone_and_a_stream_say(engine, written, options):
    sampling = Sampling(max_new_tokens=12, **options)
    asking = engine.decoding_by(make(written))
    together = asking.answer(SEVERAL, sampling)
    assert together == [asking.answer([one], sampling)[0] for one in SEVERAL]
    assert "".join(delta.text for delta in asking.stream(SEVERAL[2], sampling)) == together[2].text
    assert len({reply.text for reply in together}) > 1


def test_other_replies_of_the_same_engine_stay_plain(engine):
    plain = engine.answer([ASKED], LONG)
    asking = engine.decoding_by(make("vcd"))
    assert asking.answer([ASKED], LONG) != plain
    assert engine.answer([ASKED], LONG) == asking.decoding_by(None).answer([ASKED], LONG) == plain
    assert asking.card.provenance["method"] == "vcd:beta=0.1,alpha=1.0,step=500,seed=0"
    assert "method" not in asking.decoding_by(None).card.provenance
    assert asking.score(ASKED, ["cat"]) == engine.score(ASKED, ["cat"])


@pytest.mark.parametrize("beta", [0.001, 0.1, 0.5, 1.0])
def test_the_cut_keeps_exactly_what_is_likely_enough(beta):
    logits = torch.randn(6, 300, generator=torch.Generator().manual_seed(2)) * 3
    p = logits.double().softmax(-1)
    expected = p >= beta * p.max(-1, keepdim=True).values * (1 - 1e-6)
    assert torch.equal(is_plausible(logits, beta), expected)
    scores = Contrast(beta=beta, alpha=1.0).combine(logits, torch.zeros(1, 6, 300))
    assert torch.equal((scores.softmax(-1) > 0), expected)
    assert expected.sum() >= 6 and (beta < 1 or expected.sum() == 6)


def test_nothing_is_cut_at_beta_0_but_visual_slots_are_never_said(engine):
    logits = torch.randn(2, 50)
    assert torch.equal(Contrast(beta=0, alpha=1.0).combine(logits, logits[None]), 2 * logits - logits)
    asking = engine.decoding_by(make("dola:beta=0"))
    scores = asking._logits(torch.randn(2, 3, 32), 3)
    assert (scores[:, engine.model.slot_id] == torch.finfo(torch.float32).min).all()
    assert torch.isfinite(scores).all()


def test_noise_is_that_of_the_diffusion_and_the_same_every_time():
    x = np.linspace(-6, 6, 1000)
    betas = 1 / (1 + np.exp(-x)) * (0.005 - 1e-5) + 1e-5
    left = np.cumprod(1 - betas)
    assert [signal(step) for step in (0, 500, 999)] == pytest.approx(left[[0, 500, 999]])
    method = VisualContrast()
    pixels = torch.full((4, 3, 64, 64), 2.0)
    noised = method.disturb(pixels, RED.digest)
    assert float(noised.mean()) == pytest.approx(2 * left[500] ** 0.5, abs=0.02)
    assert float(noised.std()) == pytest.approx((1 - left[500]) ** 0.5, abs=0.02)
    assert torch.equal(noised, method.disturb(pixels, RED.digest))
    assert not torch.equal(noised, method.disturb(pixels, BLUE.digest))
    assert not torch.equal(noised, VisualContrast(seed=1).disturb(pixels, RED.digest))


def test_guidance_is_that_of_transformers(engine):
    """Its own `guidance_scale` on the language model alone, against the same two prompts here."""

    class Negative(Method):
        name = "negative"
        beta: float = 0.0

        def beside(self, conversation):
            return Conversation((user("Say nothing. " + conversation.messages[-1].text),))

        def combine(self, logits, others):
            return guided(logits.log_softmax(-1), others[0].log_softmax(-1), 1.7)

    engine.model.added_embeddings.zero_()  # transformers knows none of our tokens
    asked = Conversation((user("Is there a cat in the picture?"),))
    prompts = [engine.renderer.render(one, generate=True).ids for one in (asked, Negative().beside(asked))]
    ids, negative = (torch.tensor([prompt]) for prompt in prompts)
    language = engine.model.language
    with torch.inference_mode():
        out = language.generate(ids, negative_prompt_ids=negative, guidance_scale=1.7, do_sample=False,
                                negative_prompt_attention_mask=torch.ones_like(negative), max_new_tokens=16,
                                attention_mask=torch.ones_like(ids), pad_token_id=0)[0, ids.shape[1] :].tolist()
    stop = next((i for i, token in enumerate(out) if token in engine.renderer.stop_ids), len(out))
    assert engine.decoding_by(Negative()).answer([asked], LONG)[0].text == (
        engine.renderer.decode(out[:stop]).rstrip("\ufffd"))
    assert stop > 2


def test_dola_looks_where_its_paper_looks():
    """LLaMA-7B's 32 layers in two buckets; tied embeddings, as small models have, are no layer to contrast with."""
    assert LayerContrast(bucket="low").layers(32, False) == tuple(range(0, 16, 2))
    assert LayerContrast(bucket="high").layers(32, False) == tuple(range(16, 32, 2))
    assert LayerContrast(bucket="low").layers(30, True) == tuple(range(2, 15, 2))
    assert LayerContrast(bucket="low").layers(60, False) == tuple(range(0, 20, 2))
    assert LayerContrast(bucket="high").layers(60, False) == tuple(range(40, 60, 2))


def test_dola_takes_the_layer_that_differs_most():
    from scipy.spatial.distance import jensenshannon

    draw = torch.Generator().manual_seed(5)
    logits, early = torch.randn(4, 40, generator=draw), torch.randn(5, 4, 40, generator=draw)
    scores = LayerContrast(beta=0).combine(logits, early)
    for row in range(4):
        distances = [jensenshannon(logits[row].softmax(-1), layer[row].softmax(-1)) for layer in early]
        layer = early[int(np.argmax(distances)), row]
        expected = logits[row].log_softmax(-1) - layer.log_softmax(-1)
        assert torch.allclose(scores[row], expected, atol=1e-5)


def test_votes_on_yes_and_no_and_the_nearest_of_other_replies():
    assert agreed(["No.", "Yes, there is a cat.", "Yes", "No", "yes!"]) == 1
    assert agreed(["No", "Yes"]) == 0, "the first of equals"
    assert agreed(["a red cat", "two blue dogs", "a red ball", "a red cat here"]) == 0
    assert agreed(["", "", "a"]) == 0


def test_self_consistency_asks_with_several_seeds_and_gives_one_of_the_replies(engine):
    method = SelfConsistency(replies=4, temperature=1.0)
    asking = decoding(engine, method)
    assert isinstance(asking, Consistent)
    chosen = asking.answer(SEVERAL, Sampling(max_new_tokens=6, seed=10))
    warm = Sampling(max_new_tokens=6, temperature=1.0, seed=10)
    drawn = [engine.answer(SEVERAL, warm.apart(number)) for number in range(4)]
    for i, reply in enumerate(chosen):
        options = [replies[i] for replies in drawn]
        assert reply == options[agreed([one.text for one in options])]
    assert [delta.text for delta in asking.stream(ASKED, Sampling(max_new_tokens=6, seed=10))] == [chosen[0].text]
    assert asking.card.provenance["method"] == method.spec and asking.count("cat") == engine.count("cat")


def test_the_votes_of_one_seed_are_not_those_of_the_next(engine):
    """Repeats of a benchmark have seeds one after the other: replies that two of them share would count twice."""
    asked: list[int] = []

    class Listening(TorchEngine):
        def answer(self, conversations, sampling=LONG):
            asked.append(sampling.seed)
            return super().answer(conversations, sampling)

    asking = decoding(Listening(engine.model), SelfConsistency(replies=3))
    for seed in (10, 11):
        asking.answer(SEVERAL[1:2], Sampling(max_new_tokens=1, seed=seed))
    assert len(set(asked)) == 6


def test_other_engines_say_what_they_cannot_do(llamacpp_engine):
    with pytest.raises(SensoriumError, match="--engine torch"):
        decoding(llamacpp_engine, parse_method("vcd"))
    assert isinstance(decoding(llamacpp_engine, parse_method("self-consistency")), Consistent)


def test_detector_guidance_needs_a_detector(engine):
    with pytest.raises(SensoriumError, match="detector"):
        decoding(engine, parse_method("marine"))


@pytest.mark.parametrize(("written", "told"), [
    ("vdc", "Did you mean `vcd`"), ("vcd:alhpa=1", "Did you mean `alpha`"), ("vcd:alpha", "NAME=VALUE"),
    ("vcd:alpha=-1", "alpha"), ("vcd:beta=2", "beta"), ("dola:bucket=middle", "bucket"),
    ("marine:objects=1", "objects"),
    ("marine:words=none", "words"), ("self-consistency:replies=1", "replies"),
])  # fmt: skip
def test_settings_that_cannot_be_are_named(written, told):
    with pytest.raises(SensoriumError, match=told):
        parse_method(written)


def test_words_are_told_before_the_last_question_only():
    before = (user(RED, "First?"), assistant("Yes"), user("Second", BLUE, "third?"))
    told = METHODS["icd"](words="Guess.").beside(Conversation(before))
    assert told.messages[:2] == before[:2]
    assert told.messages[2].text == "Guess. Secondthird?" and told.messages[2].images == (BLUE,)
