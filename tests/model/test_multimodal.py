"""The whole model against LLaVA of transformers with the same weights, and its seams: fusion, head, added tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as Picture
from torch import Tensor

from sensorium.conversation import Conversation, Image, user
from sensorium.engine import Sampling
from sensorium.engine.torch import TorchEngine
from sensorium.errors import SensoriumError
from sensorium.media import open_image
from sensorium.model.batch import Batch
from sensorium.model.labels import IGNORE
from sensorium.model.multimodal import ADDED_TOKENS, ModelConfig, MultimodalModel, fuse, supervised_labels
from sensorium.model.views import make_views
from sensorium.rendering import Rendered
from sensorium.rendering.batching import collate


@dataclass
class Pair:
    """Our model and transformers' LLaVA with the same weights."""

    ours: MultimodalModel
    theirs: Any


@pytest.fixture(scope="module")
def pair(tiny_parts, tmp_path_factory) -> Pair:
    """CLIP of 3 blocks (layer -2, as LLaVA-1.5), a two-layer GELU MLP, Llama of 2 blocks.

    LLaVA's vocabulary is ours with the added tokens as its last rows; its picture token is our slot.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaForCausalLM, LlavaConfig
    from transformers import LlavaForConditionalGeneration as Llava

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    clip = CLIPVisionConfig(hidden_size=24, num_hidden_layers=3, num_attention_heads=2, intermediate_size=48,
                            image_size=32, patch_size=8, initializer_factor=8.0)
    CLIPVisionModel(clip).save_pretrained(folder)
    config = {
        "vision": {"part": str(folder), "layer": -2, "image_size": 32},
        "connector": {"kind": "mlp", "depth": 2},
        "language": {"part": tiny_parts["language"]},
    }
    ours = ModelConfig.model_validate(config).build().eval()

    text = LlamaForCausalLM.from_pretrained(tiny_parts["language"])
    text_config = text.config.to_dict() | {"vocab_size": ours.vocabulary_size + len(ADDED_TOKENS)}
    theirs = Llava(LlavaConfig(
        vision_config=clip, text_config=text_config, image_token_index=ours.slot_id, image_seq_length=16,
        vision_feature_layer=-2, vision_feature_select_strategy="default", projector_hidden_act="gelu",
    )).eval()
    theirs.model.vision_tower.load_state_dict(CLIPVisionModel.from_pretrained(folder).state_dict())
    projector, layers = theirs.model.multi_modal_projector, ours.connector.layers
    projector.linear_1.load_state_dict(layers[0].state_dict())
    projector.linear_2.load_state_dict(layers[2].state_dict())
    table = torch.cat([text.get_input_embeddings().weight, ours.added_embeddings]).detach()
    state = text.model.state_dict() | {"embed_tokens.weight": table}
    theirs.model.language_model.load_state_dict(state)
    theirs.lm_head.weight = torch.nn.Parameter(table.clone())
    return Pair(ours, theirs)


def _picture(seed: int) -> Image:
    import io

    noise = torch.randint(0, 256, (20, 30, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    data = io.BytesIO()
    Picture.fromarray(noise.numpy()).save(data, format="PNG")
    return Image(data.getvalue())


def _pixels(model: MultimodalModel, *images: Image) -> Tensor:
    return torch.cat([make_views(open_image(i), model.sight) for i in images])


def test_logits_equal_those_of_transformers_llava(pair):
    """Two rows: two pictures amid text, and one picture with a shorter text, padded."""
    slot = [pair.ours.slot_id] * 16
    long = [5, 9, *slot, 60, 61, *slot, 70, 71, 72]
    short = [8, *slot, 66, 67]
    batch = collate([Rendered(long, long), Rendered(short, short)], 0, _pixels(pair.ours, *map(_picture, range(3))))
    with torch.inference_mode():
        found = pair.ours(batch)
        whole = pair.theirs(
            input_ids=batch.input_ids, pixel_values=batch.pixel_values, attention_mask=batch.attention_mask.long()
        ).logits
    expected = torch.cat([whole[0, : len(long) - 1], whole[1, : len(short) - 1]])
    others = [i for i in range(expected.shape[1]) if i != pair.ours.slot_id]
    assert expected.std() > 0.5  # the comparison says something
    torch.testing.assert_close(found[:, others], expected[:, others], atol=1e-4, rtol=1e-4)


def test_the_greedy_reply_equals_that_of_transformers_llava(pair):
    engine = TorchEngine(pair.ours)
    for seed in range(3):
        images = [_picture(seed), _picture(seed + 10)][: 1 + seed % 2]
        asked = Conversation((user("What is ", *images, " in the picture?"),))
        reply = engine.answer([asked], Sampling(max_new_tokens=24))[0]
        ids = torch.tensor([engine.renderer.render(asked, generate=True).ids])
        with torch.inference_mode():
            generated = pair.theirs.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=_pixels(pair.ours, *images),
                max_new_tokens=24, do_sample=False, suppress_tokens=[pair.ours.slot_id],
                eos_token_id=sorted(engine.renderer.stop_ids), pad_token_id=0,
            )[0, ids.shape[1] :].tolist()
        said = [token for token in generated if token not in engine.renderer.stop_ids]
        assert reply.n_tokens == len(said) and reply.n_prompt == ids.shape[1]
        assert reply.text == engine.renderer.decode(said).rstrip("\ufffd")
        assert (reply.finish == "length") == (len(said) == 24)


def test_the_picture_matters(pair):
    """Guard of the tests above: random weights do pass the picture on to the words."""
    slot = [pair.ours.slot_id] * 16
    row = Rendered([5, *slot, 60], [IGNORE] * 17 + [60])
    with torch.inference_mode():
        one, other = (pair.ours(collate([row], 0, _pixels(pair.ours, _picture(s)))) for s in (1, 2))
    others = [i for i in range(one.shape[1]) if i != pair.ours.slot_id]
    assert (one - other)[:, others].abs().max() > 0.05


def test_the_slot_is_never_predicted_and_other_added_tokens_can_be(tiny_model):
    with torch.no_grad():
        logits = tiny_model.head(torch.randn(50, 32) * 20)
    assert logits.shape == (50, tiny_model.vocabulary_size + len(ADDED_TOKENS))
    assert (logits[:, tiny_model.slot_id] == torch.finfo(torch.float32).min).all()
    assert torch.softmax(logits, -1)[:, tiny_model.slot_id].max() == 0
    others = logits[:, tiny_model.slot_id + 1 :]
    assert others.isfinite().all() and others.min() > -1e30


def test_logits_are_capped_as_the_language_model_caps_them(tiny_model):
    hidden = torch.randn(5, 32) * 20
    with torch.no_grad():
        plain = tiny_model.head(hidden)
        tiny_model.language.config.final_logit_softcapping = 3.0
        capped = tiny_model.head(hidden)
    others = [i for i in range(plain.shape[1]) if i != tiny_model.slot_id]
    torch.testing.assert_close(capped[:, others], 3 * torch.tanh(plain[:, others] / 3))
    assert (capped[:, tiny_model.slot_id] < -1e30).all()


def test_the_head_runs_on_supervised_rows_only(tiny_model):
    seen = []
    tiny_model.language.get_output_embeddings().register_forward_hook(lambda _, args, __: seen.append(args[0].shape))
    batch = collate([Rendered([5, 6, 7, 8], [IGNORE, IGNORE, 7, IGNORE]), Rendered([5, 6], [IGNORE, 6])], 0)
    logits = tiny_model(batch)
    assert seen == [(2, 32)]
    assert logits.shape[0] == 2 and supervised_labels(batch).tolist() == [7, 6]


def test_a_batch_of_text_alone_works_and_trains_what_it_can(tiny_model):
    batch = collate([Rendered([5, 6, 7], [IGNORE, 6, 7])], 0)
    loss = torch.nn.functional.cross_entropy(tiny_model(batch), supervised_labels(batch))
    loss.backward()
    assert tiny_model.added_embeddings.grad is not None
    assert all(p.grad is None for p in tiny_model.connector.parameters())


def test_cached_stem_states_stand_for_pixels(tiny_model):
    pixels = torch.randn(2, 3, 56, 56)
    row = Rendered([5, *[tiny_model.slot_id] * 4, 60], [IGNORE] * 5 + [60])
    with torch.inference_mode():
        direct = tiny_model(collate([row, row], 0, pixels))
        cached = tiny_model(collate([row, row], 0, stem_states=tiny_model.vision.stem_states(pixels)))
    assert torch.equal(direct, cached)
    assert tiny_model.tokens_per_picture == 4


def test_visual_vectors_go_into_their_slots_in_reading_order():
    embeddings = torch.zeros(2, 4, 3)
    visual = torch.arange(1.0, 4.0)[:, None].expand(3, 3)
    slots = torch.tensor([[0, 1, 0, 1], [1, 0, 0, 0]], dtype=torch.bool)
    fused = fuse(embeddings, visual, slots)
    assert fused[..., 0].tolist() == [[0, 1, 0, 2], [3, 0, 0, 0]]
    assert embeddings.abs().sum() == 0


@pytest.mark.parametrize("n_visual", [0, 2, 4])
def test_fusion_that_does_not_match_names_the_counts_and_the_samples(n_visual):
    slots = torch.tensor([[0, 1, 0, 1], [1, 0, 0, 0]], dtype=torch.bool)
    with pytest.raises(SensoriumError) as caught:
        fuse(torch.zeros(2, 4, 3), torch.zeros(n_visual, 3), slots, ("cat-1", "dog-2"))
    assert "samples cat-1, dog-2" in str(caught.value)
    assert f"has 3 visual slots in its text ([2, 1] a sample) but {n_visual} visual vectors" in str(caught.value)


def test_a_batch_with_a_picture_too_many_raises_through_the_model(tiny_model):
    row = Rendered([5, *[tiny_model.slot_id] * 4, 60], [IGNORE] * 5 + [60])
    with pytest.raises(SensoriumError, match=r"samples one: has 4 visual slots .* but 8 visual vectors"):
        tiny_model(collate([row], 0, torch.zeros(2, 3, 56, 56), sample_ids=["one"]))


def test_added_tokens_follow_the_language_models_last_row(tiny_model):
    ids = tiny_model.tokenizer.convert_tokens_to_ids(list(ADDED_TOKENS))
    assert ids == list(range(tiny_model.vocabulary_size, tiny_model.vocabulary_size + 7))
    with torch.no_grad():
        embedded = tiny_model.embed_ids(torch.tensor([[5, *ids]]))[0]
    assert torch.equal(embedded[0], tiny_model.language.get_input_embeddings().weight[5])
    assert torch.equal(embedded[1:], tiny_model.added_embeddings)


def test_a_padded_table_is_filled_up_so_that_ids_and_rows_agree(tiny_parts, tiny_model_tree, tmp_path):
    """Many models round their table up; the tokenizer's next free id is then not the table's next row."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    language = AutoModelForCausalLM.from_pretrained(tiny_parts["language"])
    n_words = language.get_input_embeddings().weight.shape[0]
    language.resize_token_embeddings(n_words + 13)
    language.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_parts["language"]).save_pretrained(tmp_path)
    model = ModelConfig.model_validate(tiny_model_tree | {"language": {"part": str(tmp_path)}}).build()
    assert model.slot_id == n_words + 13
    assert model.tokenizer.convert_tokens_to_ids("</box>") == n_words + 13 + 6


def test_a_vocabulary_that_already_has_our_token_is_refused(tiny_parts, tiny_model_tree, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    language = AutoModelForCausalLM.from_pretrained(tiny_parts["language"])
    tokenizer = AutoTokenizer.from_pretrained(tiny_parts["language"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<visual>"]})
    language.resize_token_embeddings(len(tokenizer))
    language.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(SensoriumError, match="already has a token of that name"):
        ModelConfig.model_validate(tiny_model_tree | {"language": {"part": str(tmp_path)}}).build()


def test_parts_that_do_not_exist_are_named(tiny_model_tree, tmp_path: Path):
    tree = tiny_model_tree | {"language": {"part": "smollm2-135-instruct"}}
    with pytest.raises(SensoriumError, match="Did you mean `smollm2-135m-instruct`"):
        ModelConfig.model_validate(tree).build()


def test_a_batch_to_the_device_keeps_everything(tiny_model):
    assert isinstance(collate([Rendered([5, 6], [IGNORE, 6])], 0).to(tiny_model.device), Batch)
