"""Connectors against independent implementations: transformers' own for LLaVA, InternVL and BLIP-2, plain sums else."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.models.internvl.configuration_internvl import InternVLConfig
from transformers.models.internvl.modeling_internvl import InternVLModel, InternVLMultiModalProjector
from transformers.models.llava.configuration_llava import LlavaConfig
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from sensorium.errors import SensoriumError
from sensorium.model.connectors import (
    CONNECTORS,
    LinearConfig,
    MlpConfig,
    PixelShuffleConfig,
    QFormerConfig,
    ResamplerConfig,
)
from sensorium.model.connectors.choice import ConnectorConfig
from sensorium.model.connectors.pixel_shuffle import pixel_shuffle
from sensorium.model.connectors.resampler import resize_positions, sine_cosine_positions

SMALL_QFORMER = QFormerConfig(n_queries=8, n_layers=4, width=64)


@pytest.fixture(autouse=True)
def _same_numbers_every_time():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def clip_features():
    """CLIP ViT-L/14 at 224 in shape, two of its layers, random: 16x16 patches of 1024, class token dropped."""
    config = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=2,
        num_attention_heads=16,
        image_size=224,
        patch_size=14,
    )
    with torch.no_grad():
        states = CLIPVisionModel(config).eval()(torch.randn(1, 3, 224, 224)).last_hidden_state
    assert states.shape == (1, 257, 1024)
    return states[:, 1:]


@pytest.mark.parametrize(
    ("config", "n_tokens"),
    [
        (LinearConfig(), 256),
        (MlpConfig(), 256),
        (PixelShuffleConfig(), 64),
        (PixelShuffleConfig(factor=4), 16),
        (QFormerConfig(), 32),
        (ResamplerConfig(), 256),
        (ResamplerConfig(n_queries=64), 64),
    ],
    ids=lambda value: getattr(value, "kind", str(value)),
)
@torch.no_grad()
def test_a_clip_picture_becomes_the_published_number_of_tokens(clip_features, config, n_tokens):
    connector = config.build(1024, 576).eval()
    tokens = connector(clip_features, (16, 16))
    assert tokens.shape == (1, n_tokens, 576)
    assert connector.n_tokens((16, 16)) == n_tokens
    assert torch.isfinite(tokens).all()


@torch.no_grad()
def test_two_layers_of_the_mlp_are_llava_1_5s_projector():
    theirs = LlavaMultiModalProjector(
        LlavaConfig(vision_config={"model_type": "clip_vision_model", "hidden_size": 48},
                    text_config={"model_type": "llama", "hidden_size": 32})
    )  # fmt: skip
    ours = MlpConfig(depth=2).build(48, 32)
    names = {"linear_1": "layers.0", "linear_2": "layers.2"}
    for name, tensor in theirs.state_dict().items():
        linear, _, kind = name.partition(".")
        ours.state_dict()[f"{names[linear]}.{kind}"].copy_(tensor)
    features = torch.randn(3, 12, 48)
    torch.testing.assert_close(ours(features, (3, 4)), theirs(features))


def test_the_mlp_has_as_many_linear_layers_as_its_depth():
    for depth in (1, 3, 5):
        shapes = [tuple(p.shape) for p in MlpConfig(depth=depth).build(7, 5).parameters() if p.dim() == 2]
        assert shapes == [(5, 7)] + [(5, 5)] * (depth - 1)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("grid", [(8, 8), (4, 12), (8, 4)])
def test_pixel_shuffle_orders_channels_as_internvl_does(factor, grid):
    features = torch.arange(2 * grid[0] * grid[1] * 3).float().reshape(2, -1, 3)
    # Their method uses nothing of the model; its "width" is the first of our two axes.
    theirs = InternVLModel.pixel_shuffle(None, features.reshape(2, *grid, 3), scale_factor=1 / factor)
    assert torch.equal(pixel_shuffle(features, grid, factor), theirs.reshape(2, -1, 3 * factor**2))


def test_pixel_shuffle_puts_the_patches_of_a_block_into_one_token():
    patches = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]]).reshape(1, 8, 1)
    assert pixel_shuffle(patches, (2, 4), 2).tolist() == [[[0, 1, 4, 5], [2, 3, 6, 7]]]


@pytest.mark.parametrize("factor", [2, 4])
@torch.no_grad()
def test_the_pixel_shuffle_connector_computes_internvls_projector(factor):
    config = InternVLConfig(
        downsample_ratio=1 / factor,
        vision_config={"model_type": "internvl_vision", "hidden_size": 12, "num_attention_heads": 2},
        text_config={"model_type": "qwen2", "hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 2},
    )
    theirs = InternVLMultiModalProjector(config)
    ours = PixelShuffleConfig(factor=factor).build(12, 20)
    torch.nn.init.normal_(theirs.layer_norm.weight)
    torch.nn.init.normal_(theirs.layer_norm.bias)
    ours.load_state_dict({name.replace("layer_norm", "norm"): t for name, t in theirs.state_dict().items()})
    features = torch.randn(2, 64, 12)
    shuffled = InternVLModel.pixel_shuffle(None, features.reshape(2, 8, 8, 12), scale_factor=1 / factor)
    expected = theirs(shuffled.reshape(2, -1, 12 * factor**2))
    torch.testing.assert_close(ours(features, (8, 8)), expected)


def test_a_grid_that_the_factor_does_not_divide_is_refused():
    connector = PixelShuffleConfig(factor=4).build(6, 8)
    with pytest.raises(SensoriumError, match="4 does not divide the grid of 16x18"):
        connector.n_tokens((16, 18))
    with pytest.raises(SensoriumError, match="multiple of 4"):
        connector(torch.zeros(1, 36, 6), (6, 6))


def test_sine_cosine_positions_are_what_the_formula_says():
    side, width = 3, 16
    table = sine_cosine_positions(side, width)
    for row in range(side):
        for column in range(side):
            expected = [
                wave(coordinate / 10000 ** (k / 4)) for coordinate in (column, row) for wave in (math.sin, math.cos)
                for k in range(4)
            ]  # fmt: skip
            assert table[row * side + column].tolist() == pytest.approx(expected, abs=1e-6)


def test_positions_on_another_grid_are_the_same_table_resized():
    table = sine_cosine_positions(4, 16)
    assert resize_positions(table, (4, 4)) is table
    assert resize_positions(table, (6, 3)).shape == (18, 16)
    # What does not change along an axis must not change by resizing it: columns' half down the rows.
    wide = resize_positions(table, (8, 8)).reshape(8, 8, 16)
    torch.testing.assert_close(wide[0, :, :8], wide[5, :, :8])
    # Twice as fine, row 5 lies at (5 + 1/2)/2 - 1/2 = 2.25 of the old rows: Keys' cubic kernel with a = -3/4.
    def kernel(x, a=-0.75):
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        return near if x <= 1 else a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a

    squares = torch.arange(6.0).square().repeat_interleave(6)[:, None]
    expected = sum(kernel(abs(2.25 - row)) * row**2 for row in (1, 2, 3, 4))
    assert resize_positions(squares, (12, 6)).reshape(12, 6)[5].tolist() == pytest.approx([expected] * 6, abs=1e-5)


@pytest.mark.parametrize("grid", [(3, 3), (4, 5)])
@torch.no_grad()
def test_the_resampler_adds_positions_to_queries_and_keys_but_not_values(grid):
    n_heads, width, tokens = 4, 16, grid[0] * grid[1]
    ours = ResamplerConfig(n_queries=9, width=width, n_heads=n_heads).build(10, 24).eval()
    torch.nn.init.normal_(ours.attention.in_proj_bias)
    features = torch.randn(2, tokens, 10)

    def norm(x):
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()

    values = norm(torch.einsum("ntc,wc->ntw", features, ours.key_projection.weight))
    keys = values + resize_positions(sine_cosine_positions(3, width), grid)
    queries = norm(ours.queries) + sine_cosine_positions(3, width)
    weights, biases = ours.attention.in_proj_weight.chunk(3), ours.attention.in_proj_bias.chunk(3)
    q = (queries @ weights[0].T + biases[0]).reshape(9, n_heads, -1)
    k = (keys @ weights[1].T + biases[1]).reshape(2, tokens, n_heads, -1)
    v = (values @ weights[2].T + biases[2]).reshape(2, tokens, n_heads, -1)
    attention = (torch.einsum("qhc,nthc->nhqt", q, k) / math.sqrt(width / n_heads)).softmax(-1)
    read = torch.einsum("nhqt,nthc->nqhc", attention, v).reshape(2, 9, width)
    read = read @ ours.attention.out_proj.weight.T + ours.attention.out_proj.bias
    expected = norm(read) @ ours.projection.weight.T
    torch.testing.assert_close(ours(features, grid), expected, atol=1e-5, rtol=1e-4)


def test_the_resampler_has_qwen_vls_shape():
    with torch.device("meta"):
        connector = ResamplerConfig().build(1664, 4096)
    assert connector.attention.num_heads == 32 and connector.queries.shape == (256, 4096)
    assert connector.projection.weight.shape == (4096, 4096) and connector.projection.bias is None
    assert round(sum(p.numel() for p in connector.parameters()) / 1e9, 2) == 0.09  # published: 0.08B
    assert isinstance(ResamplerConfig(n_queries=4).build(64, 64).key_projection, torch.nn.Identity)


def test_heads_are_chosen_to_divide_the_width():
    assert ResamplerConfig().build(8, 576).attention.num_heads == 4
    assert ResamplerConfig().build(8, 960).attention.num_heads == 6  # 7 do not divide 960
    with pytest.raises(SensoriumError, match="divisible by 4 and by the 5 heads"):
        ResamplerConfig(n_heads=5).build(8, 576)
    with pytest.raises(SensoriumError, match="divisible by 4"):
        ResamplerConfig(width=30).build(8, 576)


@pytest.mark.parametrize("config", [LinearConfig(), MlpConfig(), PixelShuffleConfig(), SMALL_QFORMER,
                                    ResamplerConfig(n_queries=4)], ids=lambda config: config.kind)  # fmt: skip
def test_every_connector_trains_in_all_its_parameters_and_reloads(config):
    connector = config.build(12, 64).eval()
    features = torch.randn(2, 16, 12)
    out = connector(features, (4, 4))
    assert out.shape == (2, connector.n_tokens((4, 4)), 64)
    (out * torch.randn_like(out)).sum().backward()
    assert [name for name, p in connector.named_parameters() if p.grad is None or not p.grad.any()] == []
    again = config.build(12, 64).eval()
    again.load_state_dict(connector.state_dict())
    assert torch.equal(again(features, (4, 4)), out)
    with pytest.raises(ValueError, match="is the class token still there"):
        connector(torch.randn(1, 17, 12), (4, 4))


@torch.no_grad()
def test_the_resampler_computes_in_half_precision():
    connector = ResamplerConfig(n_queries=4).build(12, 64).to(torch.bfloat16)
    assert connector(torch.randn(1, 6, 12, dtype=torch.bfloat16), (2, 3)).dtype == torch.bfloat16


def test_the_kind_chooses_the_configuration_and_the_registry_knows_all_of_them():
    adapter = TypeAdapter(ConnectorConfig)
    for kind, config in CONNECTORS.items():
        assert type(adapter.validate_python({"kind": kind})) is config
        assert adapter.validate_json(adapter.dump_json(config())) == config()
    assert set(get_args(get_args(ConnectorConfig)[0])) == set(CONNECTORS.values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "magic"},
        {"kind": "mlp", "depths": 2},
        {"kind": "mlp", "depth": 0},
        {"kind": "pixel_shuffle", "factor": 3},
        {"kind": "qformer", "width": 100},
        {"kind": "resampler", "n_queries": 10},
    ],
    ids=str,
)
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ValidationError):
        TypeAdapter(ConnectorConfig).validate_python(wrong)
