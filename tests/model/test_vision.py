"""Any vision tower, cut anywhere: the features are the hidden states of the uncut tower, patches only."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sensorium.errors import SensoriumError
from sensorium.model.vision import VisionConfig

SIZES = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 48}
N_BLOCKS = 4


def _towers() -> dict[str, nn.Module]:
    """Random towers of each family, 32x32 pixels in 4x4 patches (DINOv2's table is for 6x6)."""
    import transformers as t

    dino = {**SIZES, "image_size": 48, "patch_size": 8}
    return {
        "clip": t.CLIPVisionModel(t.CLIPVisionConfig(**SIZES, image_size=32, patch_size=8)),
        "siglip": t.SiglipVisionModel(t.SiglipVisionConfig(**SIZES, image_size=32, patch_size=8)),
        "vit": t.ViTModel(t.ViTConfig(**SIZES, image_size=32, patch_size=8)),
        "dinov2": t.Dinov2Model(t.Dinov2Config(**dino)),
        "registers": t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**dino, num_register_tokens=3)),
    }


@pytest.fixture(scope="module")
def towers(tmp_path_factory) -> dict[str, tuple[Path, nn.Module]]:
    torch.manual_seed(0)
    made = {}
    for name, tower in _towers().items():
        folder = tmp_path_factory.mktemp(name)
        for parameter in tower.parameters():  # LayerScale of 1 and biases of 0 would hide mistakes
            parameter.data += 0.1 * torch.randn_like(parameter)
        tower.save_pretrained(folder)
        made[name] = (folder, tower.eval())
    return made


@pytest.fixture(params=["clip", "siglip", "vit", "dinov2", "registers"])
def tower(request, towers) -> tuple[Path, nn.Module]:
    return towers[request.param]


def _states(tower: nn.Module, pixels: Tensor) -> list[Tensor]:
    """What comes out of each block, caught by hooks: patches only. Nothing stands for the embeddings at index 0."""
    blocks = next(m for m in tower.modules() if isinstance(m, nn.ModuleList) and len(m) == N_BLOCKS)
    caught: list[Tensor] = []
    hooks = [
        block.register_forward_hook(lambda _, __, out: caught.append(out[0] if isinstance(out, tuple) else out))
        for block in blocks
    ]
    options = {"interpolate_pos_encoding": True} if pixels.shape[-1] != 32 else {}
    with torch.inference_mode():
        tower(pixels, **options)
    for hook in hooks:
        hook.remove()
    n_patches = (pixels.shape[-1] // 8) ** 2
    return [torch.empty(0), *(states[:, -n_patches:] for states in caught)]


def _build(folder: Path, **options: object):
    return VisionConfig(part=str(folder), image_size=32, **options).build().eval()


@pytest.mark.parametrize("layer", [1, 3, 4, -1, -2, -4])
def test_features_are_the_uncut_towers_hidden_states(tower, layer):
    folder, whole = tower
    pixels = torch.randn(2, 3, 32, 32)
    encoder = _build(folder, layer=layer)
    with torch.inference_mode():
        features = encoder(pixels)
    assert features.shape == (2, 16, 24) and encoder.grid == (4, 4) and encoder.width == 24
    torch.testing.assert_close(features, _states(whole, pixels)[layer], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("side", "kept"), [(64, False), (64, True), (56, True)])
def test_larger_views_have_positions_interpolated_as_transformers_does(tower, side, kept):
    """8 x 8 and 7 x 7 patches from tables of 4 x 4 (6 x 6, DINOv2's); once for use, or in each forward."""
    folder, whole = tower
    encoder = VisionConfig(part=str(folder), layer=3, image_size=side).build().eval()
    if kept:
        encoder.keep_positions()
    for pixels in torch.randn(2, 1, 3, side, side):
        with torch.inference_mode():
            features = encoder(pixels)
            torch.testing.assert_close(features, _states(whole, pixels)[3], atol=1e-5, rtol=1e-5)
    assert encoder.grid == (side // 8, side // 8) and features.shape == (1, (side // 8) ** 2, 24)
    other = torch.randn(1, 3, 40, 64)
    with torch.inference_mode():
        assert encoder(other).shape == (1, 5 * 8, 24)  # a size of its own, not what was kept


def test_the_interpolation_is_bicubic_and_its_table_learns(towers):
    """CLIP's table of 4 x 4 positions behind the class's own, resized by PyTorch's own cubic kernel, corners free."""
    encoder = VisionConfig(part=str(towers["clip"][0]), layer=1, image_size=64).build()
    embeddings = encoder.stem.embeddings
    table = embeddings.position_embedding.weight
    grid = table[1:].T.reshape(1, 24, 4, 4)
    resized = torch.nn.functional.interpolate(grid, (8, 8), mode="bicubic", align_corners=False).flatten(2)[0].T
    pixels = torch.zeros(1, 3, 64, 64)
    found = embeddings(pixels, interpolate_pos_encoding=True)[0]
    torch.testing.assert_close(found[1:], resized, atol=1e-5, rtol=1e-5)
    encoder(torch.randn(1, 3, 64, 64)).square().sum().backward()
    assert (table.grad[1:].abs().sum(1) > 0).all()


@pytest.mark.parametrize(("layer", "tail"), [(1, 3), (2, 2), (3, 0), (-3, 1)])
def test_stem_and_tail_together_are_the_uncut_tower(tower, layer, tail):
    folder, whole = tower
    pixels = torch.randn(2, 3, 32, 32)
    encoder = _build(folder, layer=layer, tail_blocks=tail)
    with torch.inference_mode():
        features, apart = encoder(pixels), encoder.finish(encoder.stem_states(pixels))
    assert torch.equal(features, apart)
    expected = _states(whole, pixels)[(layer if layer >= 0 else N_BLOCKS + 1 + layer) + tail]
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)


def test_a_fresh_norm_normalises_each_patch(towers):
    encoder = _build(towers["dinov2"][0], layer=2, fresh_norm=True)
    with torch.inference_mode():
        features = encoder(torch.randn(1, 3, 32, 32))
    torch.testing.assert_close(features.mean(-1), torch.zeros(1, 16), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.std(-1, correction=0), torch.ones(1, 16), atol=1e-3, rtol=0)


def test_gradients_reach_the_tail_and_not_the_frozen_stem(towers):
    encoder = _build(towers["dinov2"][0], layer=2, tail_blocks=1, fresh_norm=True)
    encoder.stem.requires_grad_(False)
    encoder(torch.randn(1, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is None for p in encoder.stem.parameters())
    moved = {name for name, p in encoder.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    # (A key's bias shifts all scores of a query alike, so it has no gradient.)
    assert {name.split(".")[0] for name in moved} == {"tail", "norm"}
    assert "tail.0.mlp.fc1.weight" in moved


def test_what_is_cut_off_is_gone(towers):
    whole = sum(p.numel() for p in towers["vit"][1].parameters())
    cut = sum(p.numel() for p in _build(towers["vit"][0], layer=1).parameters())
    assert cut < 0.4 * whole


@pytest.mark.parametrize(("layer", "tail"), [(5, 0), (-6, 0), (4, 1), (2, 3), (0, 1)])
def test_a_layer_that_does_not_exist_is_an_error(towers, layer, tail):
    with pytest.raises(SensoriumError, match=rf"vision.layer: is {layer} with {tail} tail blocks, but .* has 4 blocks"):
        _build(towers["clip"][0], layer=layer, tail_blocks=tail)


def test_a_language_model_is_no_vision_tower(tiny_parts):
    with pytest.raises(SensoriumError, match=r"is a LlamaModel, which does not look at pictures in patches"):
        VisionConfig(part=tiny_parts["language"]).build()
