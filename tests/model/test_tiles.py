"""Tiles through the whole model: logits of transformers' LLaVA-NeXT with the same weights, and every scheme trained."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaForCausalLM, LlavaNextConfig
from transformers import LlavaNextForConditionalGeneration as LlavaNext

from sensorium.conversation import Conversation, Image, assistant, user
from sensorium.engine import Sampling
from sensorium.engine.torch import TorchEngine
from sensorium.errors import SensoriumError
from sensorium.media import open_image
from sensorium.model.compressors import Compression
from sensorium.model.multimodal import ModelConfig
from sensorium.model.views import make_views
from sensorium.rendering import Renderer
from sensorium.rendering.batching import collate

GRIDS = ((1, 2), (2, 1), (2, 2))
SCHEMES = {
    "anyres": {"tiles": {"scheme": "anyres"}},
    "internvl": {"tiles": {"scheme": "internvl", "max_tiles": 4}},
    "nanovlm": {"tiles": {"scheme": "nanovlm", "max_side": 112}},
    "letterbox": {"fit": "letterbox"},
    "native": {"fit": "native"},
}


def noise(width: int, height: int, seed: int = 0) -> Image:
    data = io.BytesIO()
    pixels = np.random.RandomState(seed).randint(0, 256, (height, width, 3), dtype=np.uint8)
    Picture.fromarray(pixels).save(data, format="PNG")
    return Image(data.getvalue())


@pytest.mark.parametrize("size", [(70, 40), (30, 64), (50, 50)])
def test_logits_equal_those_of_transformers_llava_next(tiny_parts, tmp_path, size):
    """Our `<row>` is LLaVA-NeXT's newline vector; its picture token is our slot, `<row>` among them."""
    torch.manual_seed(0)
    clip = CLIPVisionConfig(hidden_size=24, num_hidden_layers=3, num_attention_heads=2, intermediate_size=48,
                            image_size=32, patch_size=8, initializer_factor=8.0)  # fmt: skip
    CLIPVisionModel(clip).save_pretrained(tmp_path)
    ours = ModelConfig.model_validate({
        "vision": {"part": str(tmp_path), "layer": -2, "image_size": 32},
        "connector": {"kind": "mlp", "depth": 2},
        "language": {"part": tiny_parts["language"]},
        "views": {"tiles": {"scheme": "anyres", "grids": GRIDS}},
    }).build().eval()  # fmt: skip
    text = LlamaForCausalLM.from_pretrained(tiny_parts["language"])
    text_config = text.config.to_dict() | {"vocab_size": ours.vocabulary_size + len(ours.added_tokens)}
    theirs = LlavaNext(LlavaNextConfig(
        vision_config=clip, text_config=text_config, image_token_index=ours.slot_id, vision_feature_layer=-2,
        vision_feature_select_strategy="default", projector_hidden_act="gelu",
        image_grid_pinpoints=[[rows * 32, columns * 32] for columns, rows in GRIDS],
    )).eval()
    theirs.model.vision_tower.load_state_dict(CLIPVisionModel.from_pretrained(tmp_path).state_dict())
    layers = ours.connector.layers
    theirs.model.multi_modal_projector.linear_1.load_state_dict(layers[0].state_dict())
    theirs.model.multi_modal_projector.linear_2.load_state_dict(layers[2].state_dict())
    table = torch.cat([text.get_input_embeddings().weight, ours.added_embeddings]).detach()
    theirs.model.language_model.load_state_dict(text.model.state_dict() | {"embed_tokens.weight": table})
    theirs.lm_head.weight = torch.nn.Parameter(table.clone())
    row = ours.tokenizer.convert_tokens_to_ids("<row>")
    theirs.model.image_newline.data = table[row].clone()

    image = noise(*size)
    rendered = Renderer.of(ours).render(Conversation((user(image, "What?"), assistant("A cat."))))
    pixels = make_views(open_image(image), ours.sight)
    with torch.inference_mode():
        found = ours(collate([rendered], 0, [pixels]))
        [slot] = rendered.slots
        ids = torch.tensor([rendered.ids])
        ids[0, slot.start : slot.start + slot.length] = ours.slot_id  # `<row>` is part of the picture there
        sizes = torch.tensor([[size[1], size[0]]])
        whole = theirs(input_ids=ids, pixel_values=pixels[None], image_sizes=sizes).logits[0]
    expected = whole[[i for i, label in enumerate(rendered.labels[1:]) if label != -100]]
    others = [i for i in range(expected.shape[1]) if i != ours.slot_id]
    assert expected.std() > 0.5
    torch.testing.assert_close(found[:, others], expected[:, others], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("views", SCHEMES.values(), ids=SCHEMES)
def test_a_batch_of_pictures_of_many_shapes_is_what_each_is_alone(tiny_model_tree, views):
    torch.manual_seed(3)
    model = ModelConfig.model_validate(tiny_model_tree | {"views": views}).build().eval()
    renderer = Renderer.of(model)
    images = [noise(150, 60, 1), noise(40, 90, 2), noise(56, 56, 3)]
    talks = [
        Conversation((user(images[0], "and", images[1]), assistant("One."))),
        Conversation((user("Now?", images[2]), assistant("Two dogs."))),
    ]
    rendered = [renderer.render(talk) for talk in talks]
    pixels = [make_views(open_image(image), model.sight) for image in images]
    with torch.inference_mode():
        together = model(collate(rendered, 0, pixels))
        alone = [model(collate([rendered[0]], 0, pixels[:2])), model(collate([rendered[1]], 0, pixels[2:]))]
    torch.testing.assert_close(together, torch.cat(alone), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("views", SCHEMES.values(), ids=SCHEMES)
def test_the_engine_asks_as_training_does(tiny_model_tree, views):
    torch.manual_seed(3)
    model = ModelConfig.model_validate(tiny_model_tree | {"views": views}).build().eval()
    asked = Conversation((user(noise(150, 60), "What is it?"),))
    engine = TorchEngine(model)
    reply = engine.answer([asked], Sampling(max_new_tokens=6))[0]
    rendered = engine.renderer.render(asked + assistant("A red ball."))
    with torch.inference_mode():
        log_p = torch.log_softmax(model(collate([rendered], 0, [make_views(open_image(i), model.sight)
                                                                for i in rendered.images])), -1)
    labels = [label for label in rendered.labels if label != -100]
    expected = sum(float(log_p[i, label]) for i, label in enumerate(labels))
    assert engine.score(asked, ["A red ball."])[0] == pytest.approx(expected, abs=1e-3)
    assert reply.n_prompt == len(engine.renderer.render(asked, generate=True))


def test_the_encoder_of_larger_views_interpolates_positions_as_transformers_does(tiny_parts):
    """DINOv2's table is of 4 x 4 patches; 112 x 56 pixels need 4 x 8."""
    from transformers import Dinov2Model

    from sensorium.model.vision import VisionConfig

    encoder = VisionConfig(part=tiny_parts["vision"], layer=2).build().eval()
    tower = Dinov2Model.from_pretrained(tiny_parts["vision"]).eval()
    pixels = torch.randn(2, 3, 56, 112, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = tower(pixels, output_hidden_states=True).hidden_states[2][:, 1:]
        torch.testing.assert_close(encoder(pixels), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("views", [{}, {"tiles": {"scheme": "internvl", "max_tiles": 4}}], ids=["one view", "tiles"])
def test_compressed_pictures_take_what_is_foretold_and_say_less(tiny_model_tree, views):
    torch.manual_seed(3)
    model = ModelConfig.model_validate(tiny_model_tree | {"views": views}).build().eval()
    image = noise(150, 60)
    asked = Conversation((user(image, "What is it?"),))
    whole, fewer = TorchEngine(model), TorchEngine(model, compression=Compression(2, "pool"))
    all_tokens, [kept] = whole._visual(image), fewer._shown(fewer.renderer.render(asked).slots)
    n_views = len(model.sight.views((150, 60)))
    assert len(kept) == fewer.compression.count(model.sight.views((150, 60))) < len(all_tokens) == 4 * n_views
    if n_views == 1:  # 2 x 2 tokens of one view, pooled to 1 x 2
        torch.testing.assert_close(kept, all_tokens.view(2, 2, -1).mean(0))
    dropped = whole.answer([asked])[0].n_prompt - fewer.answer([asked])[0].n_prompt
    assert dropped == len(all_tokens) - len(kept)
    assert fewer.card.visual_tokens == fewer.compression.count(model.sight.views((640, 480)))
    assert fewer.score(asked, ["A dog."]) != whole.score(asked, ["A dog."])


@pytest.mark.parametrize(("budget", "method", "told"), [(0, "pool", "at least 1"), (4, "tom", "tome")])
def test_an_impossible_compression_is_refused(budget, method, told):
    with pytest.raises(SensoriumError, match=told):
        Compression(budget, method)
