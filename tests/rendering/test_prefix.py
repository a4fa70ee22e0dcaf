"""Conversations about one picture share its tokens and still do not see one another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.conversation import Conversation, Image, assistant, user
from sensorium.model import attention
from sensorium.model.attention import Packing, additive_mask, can_pack, is_plain, use_grouped_attention
from sensorium.model.labels import IGNORE
from sensorium.rendering import Rendered, Renderer, share_prefix
from sensorium.rendering.batching import collate


@pytest.fixture
def talks(tiny_model):
    renderer = Renderer(tiny_model.tokenizer, tiny_model.tokens_per_picture)
    shown = Image("a.png")

    def talk(question: str, answer: str, first: tuple = (shown,)) -> Rendered:
        return renderer.render(Conversation((user(*first, question), assistant(answer), user("And?"), assistant("No"))))

    return talk


def _logits(model, samples, pixels):
    with torch.no_grad():
        return model.eval()(collate(samples, 0, pixel_values=pixels))


@pytest.mark.parametrize("attention", ["sdpa", "grouped"])
def test_logits_are_the_same_joined_and_apart(tiny_model, talks, attention):
    samples = [talks("What is it?", "a dog"), talks("Where?", "left of the cat"), talks("Really, what?", "a")]
    pixels = torch.randn(1, 3, tiny_model.vision.config.image_size, tiny_model.vision.config.image_size)
    apart = torch.cat([_logits(tiny_model, [sample], pixels) for sample in samples])
    if attention == "grouped":
        use_grouped_attention(tiny_model.language)
    joined = share_prefix(samples)
    together = _logits(tiny_model, [joined, samples[0]], pixels.repeat(2, 1, 1, 1))
    shown = together[:, : tiny_model.slot_id], apart[:, : tiny_model.slot_id]
    torch.testing.assert_close(shown[0][: len(apart)], shown[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(shown[0][len(apart) :], shown[1][: len(together) - len(apart)], atol=1e-5, rtol=1e-4)
    assert len(joined) < sum(len(sample) for sample in samples) and len(joined.slots) == 1


def _in_one_row(samples: list[Rendered]) -> Rendered:
    """As nobody should pack them: one after the other, each seeing all before it."""
    ids, labels, slots = ([one for s in samples for one in getattr(s, name)] for name in ("ids", "labels", "slots"))
    return Rendered(ids, labels, slots)


@pytest.mark.parametrize("attention", ["grouped", "mask"])
def test_packed_samples_do_not_see_each_other_in_bfloat16_either(tiny_model, talks, attention):
    """Packed and alone they differ by no more than rounding moves them anyway; seeing each other would move them more.

    16 bits hold a logit to one part in 256, and each layer rounds: how far that goes is measured against 32 bits.
    """
    samples = [talks("What is it?", "a dog"), talks("Where is the cat, really?", "left of the ball"), talks("?", "red")]
    side = tiny_model.vision.config.image_size
    pixels = torch.randn(3, 3, side, side)
    exact = torch.cat([_logits(tiny_model, [s], pixels[i : i + 1]) for i, s in enumerate(samples)])
    with torch.autocast("cpu", torch.bfloat16):
        alone = torch.cat([_logits(tiny_model, [s], pixels[i : i + 1]) for i, s in enumerate(samples)]).float()
        seeing = _logits(tiny_model, [_in_one_row(samples)], pixels).float()
        if attention == "grouped":
            use_grouped_attention(tiny_model.language)
        else:
            tiny_model.packs = is_plain(tiny_model.language)
        assert can_pack(tiny_model.language) == (attention == "grouped")
        packed = _logits(tiny_model, samples, pixels).float()
    shown = torch.arange(exact.shape[1]) != tiny_model.slot_id
    rounding = (alone - exact)[:, shown].abs().max()
    assert 0 < rounding < 0.05 * exact[:, shown].abs().max()
    assert (packed - alone)[:, shown].abs().max() <= 2 * rounding
    assert (seeing - alone)[:, shown].abs().max() > 8 * rounding


def test_what_one_conversation_says_does_not_reach_another(tiny_model, talks):
    use_grouped_attention(tiny_model.language)
    pixels = torch.randn(1, 3, tiny_model.vision.config.image_size, tiny_model.vision.config.image_size)
    second = talks("Where?", "left")
    said = [_logits(tiny_model, [share_prefix([talks("What?", word), second])], pixels) for word in ("dog", "cat")]
    n_second = sum(label != IGNORE for label in second.labels)
    torch.testing.assert_close(said[0][-n_second:], said[1][-n_second:])


def test_a_picture_after_the_words_keeps_a_slot_in_each_conversation(talks):
    shown = Image("a.png")
    samples = [talks("?", "a", ("What is this ", shown)), talks("?", "b", ("And what is ", shown))]
    joined = share_prefix(samples)
    assert len(joined.slots) == 2
    for slot in joined.slots:
        assert len(set(joined.ids[slot.start : slot.start + slot.length])) == 1  # slot ids, all of them


def test_pictures_that_differ_are_never_shared(talks):
    samples = [talks("Same?", "a", (Image("a.png"),)), talks("Same?", "a", (Image("b.png"),))]
    assert [slot.image.source for slot in share_prefix(samples).slots] == ["a.png", "b.png"]


@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=9), min_size=1, max_size=4), st.data())
def test_each_sample_can_be_read_back_from_the_joined_row(rows, data):
    samples = []
    for ids in rows:
        start = data.draw(st.integers(1, len(ids) - 1))
        samples.append(Rendered(ids, [IGNORE] * start + ids[start:]))
    joined = share_prefix(samples)
    for number, sample in enumerate(samples, start=1):
        mine = [i for i, segment in enumerate(joined.segments) if segment in (0, number)]
        assert [joined.ids[i] for i in mine] == sample.ids
        assert [joined.labels[i] for i in mine] == sample.labels
        assert [joined.positions[i] for i in mine] == [*range(len(sample))]


def test_the_mask_lets_each_segment_see_the_beginning_and_itself():
    mask = additive_mask(torch.tensor([[0, 0, 1, 1, 2, -1]]), torch.float32)[0, 0] == 0
    seen = [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4], [5]]
    assert [row.nonzero().flatten().tolist() for row in mask] == seen


@pytest.mark.parametrize("chunk", [1, 2, 8])
def test_gradients_of_packed_attention_are_autograds(tiny_model, talks, chunk, monkeypatch):
    """The backward pass is written by hand: against autograd's through plain attention over the same batch."""
    monkeypatch.setattr(attention, "CHUNK", chunk)
    three = [talks("What is it?", "a dog"), talks("Where is it? Tell me.", "left"), talks("?", "left of the cat")]
    samples = [share_prefix(three), talks("Who?", "a cat")]
    pixels = torch.randn(2, 3, tiny_model.vision.config.image_size, tiny_model.vision.config.image_size)
    batch = collate(samples, 0, pixel_values=pixels)
    found = []
    for grouped in (False, True):
        if grouped:
            use_grouped_attention(tiny_model.language)
        assert can_pack(tiny_model.language) == grouped
        tiny_model.requires_grad_(True).zero_grad()
        (tiny_model(batch)[:, : tiny_model.slot_id] ** 2).mean().backward()
        found.append({name: p.grad.clone() for name, p in tiny_model.named_parameters() if p.grad is not None})
    plain, packed = found
    assert plain.keys() == packed.keys() and any("k_proj" in name for name in plain)
    for name, gradient in plain.items():
        torch.testing.assert_close(packed[name], gradient, atol=1e-6, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_a_packing_leaves_padding_out_and_comes_back():
    segments = torch.tensor([[0, 0, 1, 1, 2, -1], [0, 0, 0, -1, -1, -1], [0, 1, 2, 2, 2, 2]])
    positions = torch.tensor([[0, 1, 2, 3, 2, 0], [0, 1, 2, 0, 0, 0], [0, 1, 1, 2, 3, 4]])
    packing = Packing.of(segments >= 0, segments, positions)
    seen: dict[int, list[int]] = {}
    for chunk in packing.chunks:
        for m, s in chunk.real.nonzero().tolist():
            seen[int(chunk.queries[m, s])] = chunk.keys[m][~chunk.hidden[m, 0, s]].tolist()
    first = [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4]]
    second = [[5], [5, 6], [5, 6, 7]]
    third = [[8], [8, 9], [8, 10], [8, 10, 11], [8, 10, 11, 12], [8, 10, 11, 12, 13]]
    assert [seen[i] for i in range(14)] == first + second + third
    assert packing.positions.tolist() == [[0, 1, 2, 3, 2, 0, 1, 2, 0, 1, 1, 2, 3, 4]]
    padded = torch.randn(3, 6, 4)
    expected = padded.masked_fill((segments < 0)[..., None], 0)
    assert torch.equal(packing.unpack(packing.pack(padded), 3, 6), expected)


@pytest.mark.parametrize(("kind", "plain"), [
    ({}, True),
    ({"sliding_window": 8}, False),
    ({"layer_types": ["full_attention", "conv"]}, False),
    ({"layer_types": ["full_attention", "full_attention"]}, True),
])
def test_only_plain_attention_is_packed(tiny_model, kind, plain):
    for key, value in kind.items():
        setattr(tiny_model.language.config, key, value)
    assert is_plain(tiny_model.language) == plain
    use_grouped_attention(tiny_model.language)
    assert can_pack(tiny_model.language) == plain


def test_a_layer_that_mixes_tokens_in_another_way_is_not_plain(tiny_model):
    tiny_model.language.model.layers[0].short = torch.nn.Conv1d(4, 4, 2)
    assert not is_plain(tiny_model.language)


def _small_models() -> dict[str, Any]:
    import transformers as t

    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    return {
        "bloom": t.BloomConfig(vocab_size=100, hidden_size=32, n_layer=2, n_head=4),
        "mpt": t.MptConfig(vocab_size=100, d_model=32, n_layers=2, n_heads=4, max_seq_len=64),
        "falcon": t.FalconConfig(vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                                 alibi=True),
        "stablelm": t.StableLmConfig(vocab_size=100, num_key_value_heads=4, **size),
        "opt": t.OPTConfig(vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=64,
                           word_embed_proj_dim=32, max_position_embeddings=64),
        "neox": t.GPTNeoXConfig(vocab_size=100, **size),
        "gemma": t.GemmaConfig(vocab_size=100, num_key_value_heads=4, head_dim=8, **size),
        "qwen": t.Qwen3Config(vocab_size=100, num_key_value_heads=2, head_dim=8, **size),
    }


@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize("name", _small_models())
def test_a_conversation_in_a_batch_is_what_it_is_alone_whatever_the_language_model(tiny_model, name, packs):
    """ALiBi, absolute and rotary positions; attention that takes what we hand it, and attention that does not."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    language = AutoModelForCausalLM.from_config(_small_models()[name]).eval()
    for parameter in language.parameters():
        parameter.data.normal_(0, 0.2)
    tiny_model.language = language
    embeddings = torch.randn(2, 7, 32)
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[0, 4:] = False
    with torch.no_grad():
        alone = tiny_model.language_states(embeddings[1:], mask[1:])
        if packs:
            use_grouped_attention(language)
            tiny_model.packs = is_plain(language)
        found = tiny_model.language_states(embeddings, mask)
        on_gpu = AutoModelForCausalLM.from_config(_small_models()[name]).eval()  # there, by a mask alone
        on_gpu.load_state_dict(language.state_dict())
        tiny_model.language, tiny_model.packs = on_gpu, is_plain(on_gpu)
        by_mask = tiny_model.language_states(embeddings, mask)
    assert can_pack(language) == (packs and name in ("opt", "neox", "gemma", "qwen")) and alone.std() > 0.1
    torch.testing.assert_close(found[1:], alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(by_mask[1:], alone, atol=1e-5, rtol=1e-4)


def test_capped_scores_keep_transformers_own_attention(tiny_model):
    tiny_model.language.config.attn_logit_softcapping = 50.0
    use_grouped_attention(tiny_model.language)
    assert tiny_model.language.config._attn_implementation != attention.NAME
