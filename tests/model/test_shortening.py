"""A language model that loses tokens on the way, against a slow one: layer by layer, one prompt at a time, with whole
attention maps by transformers' own `eager` attention, lists of places, no cache, and no padding."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from sensorium.errors import SensoriumError
from sensorium.model.attention import use_grouped_attention
from sensorium.model.dropping import Dropping
from sensorium.model.dropping.allowing import allow_dropping
from sensorium.model.dropping.shortening import Shortening

from .test_attention_families import FAMILIES

N_LAYERS, WIDTH = 5, 32
SIZE = {"vocab_size": 64, "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": N_LAYERS,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
WINDOWS = {"sliding_window": 6}
LANGUAGES: dict[str, dict[str, Any]] = {
    "llama": {}, "qwen2": {}, "qwen3": {}, "mistral": WINDOWS, "gemma": {}, "gemma3_text": WINDOWS, "phi3": {},
}  # fmt: skip
DROPPINGS = (Dropping.fastv(2, 0.5), Dropping.fastv(1, 0.2), Dropping.pyramiddrop((1, 2, 4), 0.5),
             Dropping.pyramiddrop((3,), 0.3))  # fmt: skip
# Prompts as strings: v a visual token, . another. Several pictures, none, one token, other lengths.
PROMPTS = (".vvvv...", "..vvvv.vvvv..", ".....", ".vvvvvvvv.vv.vv......", ".")


def language_of(family: str, **more: Any) -> Any:
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    config = CONFIG_MAPPING[family](**SIZE | LANGUAGES.get(family, {}) | more)
    language = AutoModelForCausalLM.from_config(config).eval()
    torch.manual_seed(0)
    for parameter in language.parameters():  # as far from zero as trained ones, or nothing would be seen of a mistake
        parameter.data.normal_(0, 0.25)
    return language


class Slow:
    """The reference: `states(embeddings [t, d], visual, asking)` -> last hidden states by the places that are left, and
    who ran through each layer."""

    def __init__(self, language: Any, dropping: Dropping) -> None:
        self.language, self.dropping = deepcopy(language), dropping
        self.language.set_attn_implementation("eager")
        self.decoder = self.language.get_decoder()

    @torch.no_grad()
    def states(self, embeddings: Tensor, visual: list[int], asking: int) -> tuple[dict[int, Tensor], list[list[int]]]:
        places, hidden, ran = list(range(len(embeddings))), embeddings[None], []
        weights = None
        for number, layer in enumerate(self.decoder.layers):
            for stage in self.dropping.stages:
                if stage.layers == number and visual:
                    if self.dropping.ranking == "ahead":
                        weights = self._attention(layer, number, hidden, places)
                    row = weights[0].mean(0)[places.index(asking)]
                    there = [place for place in places if place in visual]
                    best = sorted(there, key=lambda place: -float(row[places.index(place)]))
                    gone = set(best[int(stage.keep * len(visual) + 1e-9) or 1 :])
                    hidden = hidden[:, [i for i, place in enumerate(places) if place not in gone]]
                    places = [place for place in places if place not in gone]
            weights = self._attention(layer, number, hidden, places)
            hidden = layer(hidden, attention_mask=self._mask(number, places), **self._rotations(number, hidden, places))
            ran.append(places)
        hidden = self.decoder.norm(hidden)[0]
        return dict(zip(places, hidden, strict=True)), ran

    def _attention(self, layer: Any, number: int, hidden: Tensor, places: list[int]) -> Tensor:
        """[1, heads, t, t]"""
        return layer.self_attn(hidden_states=layer.input_layernorm(hidden), past_key_values=None,
                               attention_mask=self._mask(number, places), **self._rotations(number, hidden, places))[1]

    def _kind(self, number: int) -> str:
        config = self.decoder.config
        kinds = getattr(config, "layer_types", None)
        return kinds[number] if kinds else "sliding_attention" if getattr(config, "sliding_window", None) else "full"

    def _rotations(self, number: int, hidden: Tensor, places: list[int]) -> dict[str, Any]:
        kind = (self._kind(number),) if self.decoder.config.model_type == "gemma3_text" else ()
        return {"position_embeddings": self.decoder.rotary_emb(hidden, torch.tensor([places]), *kind)}

    def _mask(self, number: int, places: list[int]) -> Tensor:
        window = self.decoder.config.sliding_window if self._kind(number) == "sliding_attention" else 10**6
        return torch.tensor([[0.0 if j <= i < j + window else -1e30 for j in places] for i in places])[None, None]


def batch(prompts: tuple[str, ...], behind: int = 0) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Embeddings, mask and visual slots padded on the left, and each prompt's embeddings alone; so many tokens more
    stand behind each prompt."""
    generator = torch.Generator().manual_seed(4)
    alone = [torch.randn(len(prompt) + behind, WIDTH, generator=generator) for prompt in prompts]
    longest = max(map(len, alone))
    embeddings = torch.full((len(prompts), longest, WIDTH), 7.0)
    mask, visual = torch.zeros(2, len(prompts), longest, dtype=torch.bool)
    for row, (prompt, own) in enumerate(zip(prompts, alone, strict=True)):
        start = longest - len(own)
        embeddings[row, start:], mask[row, start:] = own, True
        visual[row, start : start + len(prompt)] = torch.tensor([token == "v" for token in prompt])
    return embeddings, mask, visual, alone


def slots(prompt: str) -> list[int]:
    return [i for i, token in enumerate(prompt) if token == "v"]


def prepared(language: Any, dropping: Dropping, grouped: bool) -> Any:
    if grouped:
        use_grouped_attention(language)
    allow_dropping(language, dropping)
    return language.get_decoder()


def near(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=3e-5 * float(expected.abs().max()), rtol=1e-4)


@pytest.mark.parametrize("grouped", [True, False], ids=["grouped", "sdpa"])
@pytest.mark.parametrize("family", LANGUAGES)
@torch.no_grad()
def test_a_batch_is_what_the_slow_loop_makes_of_each_prompt(family, grouped):
    language = language_of(family)
    embeddings, mask, visual, alone = batch(PROMPTS)
    for dropping in DROPPINGS:
        slow = Slow(language, dropping)
        run = Shortening(prepared(language, dropping, grouped), dropping, mask, visual)
        hidden = run(embeddings.clone()).last_hidden_state
        for row, prompt in enumerate(PROMPTS):
            expected, ran = slow.states(alone[row], slots(prompt), len(prompt) - 1)
            near(hidden[row, -len(expected) :], torch.stack(list(expected.values())))
            assert [layer[row] for layer in run.n_tokens] == [len(places) for places in ran]
            kept = dropping.counts(prompt.count("v"), N_LAYERS)
            assert [len(places) for places in ran] == [prompt.count(".") + n for n in kept]


@pytest.mark.parametrize("grouped", [True, False], ids=["grouped", "sdpa"])
@pytest.mark.parametrize("family", LANGUAGES)
@torch.no_grad()
def test_replies_grow_through_caches_of_different_lengths(family, grouped):
    """Token after token, some rows leaving on the way: as if prompt and reply were run anew, without a cache."""
    language = language_of(family)
    new = torch.randn(len(PROMPTS), 9, WIDTH, generator=torch.Generator().manual_seed(8))
    for dropping in (DROPPINGS[0], DROPPINGS[2]):
        embeddings, mask, visual, alone = batch(PROMPTS)
        slow = Slow(language, dropping)
        run = Shortening(prepared(language, dropping, grouped), dropping, mask, visual)
        output, rows = run(embeddings.clone()), list(range(len(PROMPTS)))
        for step in range(9):
            if step == 4:
                rows = [3, 1]
                output.past_key_values.batch_select_indices(torch.tensor(rows))
                run.select(torch.tensor(rows))
            output = run(new[rows, step : step + 1].clone(), output.past_key_values)
            for at, row in enumerate(rows if step in (0, 3, 8) else ()):
                prompt = PROMPTS[row]
                whole = torch.cat([alone[row], new[row, : step + 1]])
                expected, _ = slow.states(whole, slots(prompt), len(prompt) - 1)
                near(output.last_hidden_state[at, -1], expected[len(prompt) + step])
        lengths = [layer.keys.shape[2] for layer in output.past_key_values.layers]
        assert lengths == sorted(lengths, reverse=True)
        # The longest row's tokens and the reply's nine: nothing of what has left is kept.
        longest = [max(PROMPTS[row].count(".") + n[layer] for row, n in _kept(dropping)) for layer in range(N_LAYERS)]
        assert lengths == [9 + n for n in longest]


def _kept(dropping: Dropping) -> list[tuple[int, list[int]]]:
    return [(row, dropping.counts(prompt.count("v"), N_LAYERS)) for row, prompt in enumerate(PROMPTS)]


@torch.no_grad()
def test_what_stands_behind_the_prompt_has_no_say_in_who_stays():
    language, dropping = language_of("llama"), Dropping.pyramiddrop((1, 3), 0.4)
    embeddings, mask, visual, alone = batch(PROMPTS, behind=3)
    slow = Slow(language, dropping)
    asking = torch.full((len(PROMPTS),), mask.shape[1] - 1 - 3)
    run = Shortening(prepared(language, dropping, True), dropping, mask, visual, asking)
    output = run(embeddings, use_cache=False)
    assert output.past_key_values is None
    for row, prompt in enumerate(PROMPTS):
        expected, _ = slow.states(alone[row], slots(prompt), len(prompt) - 1)
        near(output.last_hidden_state[row, -len(expected) :], torch.stack(list(expected.values())))


@pytest.mark.parametrize("dropping", [*DROPPINGS, DROPPINGS[0].at_random(), DROPPINGS[2].at_random()],
                         ids=lambda dropping: dropping.spec)
@torch.no_grad()
def test_later_layers_compute_with_fewer_tokens(dropping):
    """Counted where the work is done: rows that go into each layer's own matrices."""
    language = language_of("llama")
    decoder = prepared(language, dropping, True)
    found: dict[str, list[int]] = {"q_proj": [], "k_proj": [], "down_proj": []}
    for name, module in decoder.named_modules():
        if (last := name.split(".")[-1]) in found:
            module.register_forward_hook(lambda _, given, __, last=last: found[last].append(given[0].shape[1]))
    embeddings, mask, visual, _ = batch((".." + "v" * 12 + "...",))
    Shortening(decoder, dropping, mask, visual)(embeddings)
    expected = [5 + n for n in dropping.counts(12, N_LAYERS)]
    assert found["down_proj"] == expected
    if dropping.ranking != "ahead":  # which projects what it is about to rank once more
        assert found["q_proj"] == found["k_proj"] == expected


@pytest.mark.parametrize("prompts", [(".....", "..."), (".vvvv.", ".....")])
@torch.no_grad()
def test_where_nothing_is_to_leave_nobody_is_ranked_and_nothing_changes(prompts, monkeypatch):
    language = language_of("llama")
    dropping = Dropping.fastv(2, 1.0)
    decoder = prepared(language, dropping, True)
    embeddings, mask, visual, _ = batch(prompts)
    positions = (mask.long().cumsum(-1) - 1).clamp(min=0)
    plain = decoder(inputs_embeds=embeddings, attention_mask=mask, position_ids=positions).last_hidden_state
    monkeypatch.setattr("sensorium.model.dropping.shortening.Look", None)
    for other in (dropping, Dropping.pyramiddrop((1, 2), 1.0)):
        found = Shortening(decoder, other, mask, visual)(embeddings).last_hidden_state
        near(found[mask], plain[mask])


@torch.no_grad()
def test_lots_are_the_same_in_any_company_and_take_nobody_twice():
    language, dropping = language_of("llama"), Dropping.pyramiddrop((1, 3), 0.5).at_random()
    decoder = prepared(language, dropping, True)
    together, mask, visual, alone = batch(PROMPTS)
    hidden = Shortening(decoder, dropping, mask, visual)(together).last_hidden_state
    for row, prompt in enumerate(PROMPTS):
        own = torch.ones(1, len(prompt), dtype=torch.bool)
        seen = torch.tensor([[token == "v" for token in prompt]])
        run = Shortening(decoder, dropping, own, seen)
        near(hidden[row, -1], run(alone[row][None]).last_hidden_state[0, -1])
        kept = dropping.counts(prompt.count("v"), N_LAYERS)
        assert [n for [n] in run.n_tokens] == [prompt.count(".") + n for n in kept]


@torch.no_grad()
def test_lots_differ_from_picture_to_picture_and_are_the_same_for_one():
    """Were they one draw for all, a lucky one would move every picture of a measurement together."""
    language, dropping = language_of("llama"), Dropping.pyramiddrop((1, 3), 0.5).at_random()
    decoder = prepared(language, dropping, True)
    embeddings, mask, visual, _ = batch((".." + "v" * 16 + "..",) * 40)

    def kept(given: Tensor) -> list[list[int]]:
        """The places of each row's visual tokens behind the last stage."""
        run = Shortening(decoder, dropping, mask, visual)
        run(given.clone())
        last = run._present[-1]
        return [positions[shown].tolist() for positions, shown in zip(last.positions, last.visual, strict=True)]

    drawn = kept(embeddings)
    assert drawn == kept(embeddings) and {len(places) for places in drawn} == {4}
    assert len(set(map(tuple, drawn))) > 30
    words = embeddings.clone()
    words[:, -1] += 1
    assert kept(words) == drawn, "another question about the same picture"


@torch.no_grad()
def test_a_model_that_can_drop_runs_as_ever_when_it_is_not_asked_to():
    language = language_of("qwen2")
    embeddings = torch.randn(2, 7, WIDTH)
    before = language.get_decoder()(inputs_embeds=embeddings).last_hidden_state
    decoder = prepared(language, DROPPINGS[0], False)
    assert torch.equal(decoder(inputs_embeds=embeddings).last_hidden_state, before)


@pytest.mark.parametrize(("family", "why"), [
    ("gpt2", "more than hidden states"), ("bloom", "attention of its own"), ("gemma2", "more than a softmax"),
    ("lfm2", "no full attention"), ("nemotron", "cannot be looked at"), ("diffllama", "cannot be looked at"),
])  # fmt: skip
def test_a_model_whose_tokens_cannot_leave_is_refused_with_the_reason(family, why):
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    language = AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**FAMILIES[family]))
    with pytest.raises(SensoriumError, match=f"cannot lose tokens .*{why}"):
        allow_dropping(language, Dropping.fastv(1))
