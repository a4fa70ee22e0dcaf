"""Operations are those of the rule, worked out by hand, and those that torch counts; peaks are the data sheets'."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sensorium.model.attention import use_grouped_attention
from sensorium.model.batch import Batch
from sensorium.model.checkpoint import module_parameters
from sensorium.model.labels import IGNORE
from sensorium.model.multimodal import ModelConfig, MultimodalModel
from sensorium.training import flops
from sensorium.training.flops import StepCost, TowerCost, Utilisation, peak_by_name, peak_flops
from sensorium.training.ranks import ALONE
from sensorium.training.words import TokenLabels, WordBatch

# The tiny parts: a language block has q 32x32, k and v 16x32, o 32x32 and three matrices of 32x64; a vision block has
# four of 32x32 and two of 32x64. The connector has 128x32 and 32x32 on each of 4 merged patches.
LANGUAGE = 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 64)
VISION_BLOCK = 4 * 32 * 32 + 2 * 32 * 64
CONNECTOR = 4 * (128 * 32 + 32 * 32)
PATCH = 3 * 14 * 14 * 32


def _model(tree: dict[str, Any], trains: Iterable[str]) -> MultimodalModel:
    torch.manual_seed(3)
    model = ModelConfig.model_validate(tree).build()
    use_grouped_attention(model.language)
    model.requires_grad_(False)
    for module in trains:
        for parameter in module_parameters(model, module).values():
            parameter.requires_grad_(True)
    return model


def _batch(model: MultimodalModel, rows: int = 3, length: int = 24, supervised: int = 6, cached: bool = True) -> Batch:
    """Rows of one length, each with a picture and some supervised tokens at its end."""
    torch.manual_seed(0)
    ids = torch.randint(5, 50, (rows, length))
    ids[:, 2:6] = model.slot_id
    labels = torch.full_like(ids, IGNORE)
    labels[:, -supervised:] = ids[:, -supervised:]
    pixels = torch.randn(rows, 3, 56, 56)
    mask = torch.ones_like(ids, dtype=torch.bool)
    if not cached:
        return Batch(ids, mask, labels, pixel_values=pixels)
    with torch.no_grad():
        return Batch(ids, mask, labels, stem_states=model.vision.stem_states(pixels))


def _addmm(total: torch.Size, a: torch.Size, b: torch.Size, *_: Any, **__: Any) -> int:
    """The sum in place, with which the head and the adapters work and which torch does not count by itself."""
    return 2 * a[0] * a[1] * b[1]


def _counted(model: MultimodalModel, batch: Batch) -> int:
    """What torch counts in a forward and a backward pass, attention by plain products, which it knows."""
    known = {torch.ops.aten.addmm_: _addmm}
    with FlopCounterMode(display=False, custom_mapping=known) as counter, sdpa_kernel(SDPBackend.MATH):
        model.losses(batch).sum().backward()
    return counter.get_total_flops()


def test_a_frozen_tower_costs_two_operations_a_weight_and_two_more_for_a_gradient_that_passes(tiny_model):
    model = tiny_model.requires_grad_(False)
    alone, passed = (TowerCost.of(model.decoder, 32, takes_gradient=passes) for passes in (False, True))
    assert (alone.per_token, alone.per_pair) == (2 * LANGUAGE, 2 * 4 * 32)
    assert (passed.per_token, passed.per_pair) == (4 * LANGUAGE, 3 * 2 * 4 * 32)
    assert (alone.gives_gradient, passed.gives_gradient) == (False, True)


def test_below_the_first_block_that_trains_nothing_goes_backwards(tiny_model):
    model = tiny_model.requires_grad_(False)
    model.decoder.layers[1].requires_grad_(True)
    cost = TowerCost.of(model.decoder, 32)
    # All forward, the second block's own gradients, and those of its inputs but for the first product, q.
    assert cost.per_token == 2 * LANGUAGE + 2 * LANGUAGE / 2 + 2 * (LANGUAGE / 2 - 32 * 32)
    assert cost.per_pair == 4 * 32 * (1 + 3) and cost.gives_gradient
    model.decoder.layers[1].requires_grad_(False)
    model.decoder.norm.requires_grad_(True)  # what follows the blocks sends nothing through them
    assert TowerCost.of(model.decoder, 32).per_token == 2 * LANGUAGE


def test_a_step_that_trains_the_connector_alone_costs_what_the_rule_says(tiny_model_tree):
    model = _model(tiny_model_tree, ["connector"])
    batch = _batch(model)
    tokens, pictures, supervised = 3 * 24, 3, 3 * 6
    n_rows = model.vocabulary_size + len(model.added_embeddings)
    tail = 17 * 2 * VISION_BLOCK + 17 * 17 * 4 * 32  # 16 patches and the class token, forward only
    connector = 6 * CONNECTOR  # a norm below trains, so that even the first matrix hands on a gradient
    language = tokens * 4 * LANGUAGE + 3 * 24 * 24 * 2 * 3 * 4 * 32
    head = supervised * 4 * 32 * n_rows
    assert StepCost.of(model).flops(batch) == pytest.approx(pictures * (tail + connector) + language + head)


@pytest.mark.parametrize(
    ("trains", "cached", "lora"),
    [
        (["connector"], True, False),
        (["connector"], False, False),
        (["vision", "connector", "tokens"], True, False),
        (["connector", "tokens", "language"], True, True),
        (["language"], True, False),
        (["vision", "connector", "tokens", "language"], False, False),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else None,
)
def test_it_is_what_torch_counts(tiny_model_tree, trains, cached, lora):
    """To a thousandth (the first block has products whose inputs need no gradient); not cached, the class token, which
    is one of 17 here, is left out.
    """
    if lora:
        tiny_model_tree["lora"] = {"rank": 4, "alpha": 8}
    model = _model(tiny_model_tree, trains)
    batch = _batch(model, cached=cached)
    assert StepCost.of(model).flops(batch) == pytest.approx(_counted(model, batch), rel=0.001 if cached else 0.03)


def test_an_encoder_that_trains_as_a_whole_is_counted_too(tiny_model_tree):
    tiny_model_tree["vision"] |= {"layer": 2, "tail_blocks": 0}
    model = _model(tiny_model_tree, ["vision", "connector"])
    batch = _batch(model, cached=False)
    assert StepCost.of(model).flops(batch) == pytest.approx(_counted(model, batch), rel=0.03)


@pytest.mark.parametrize(
    "connector",
    [{"kind": "linear"}, {"kind": "mlp"}, {"kind": "resampler", "n_queries": 4, "width": 32},
     {"kind": "qformer", "n_queries": 4, "n_layers": 2, "width": 64, "dropout": 0.1}],
    ids=lambda settings: settings["kind"],
)
def test_every_connector_is_counted_and_no_random_number_drawn(tiny_model_tree, connector):
    tiny_model_tree["connector"] = connector
    model = _model(tiny_model_tree, ["connector"])
    features = torch.randn(1, 16, 32)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model.connector(features, (4, 4)).sum().backward()
    before = torch.get_rng_state()
    assert StepCost.of(model).connector == pytest.approx(counter.get_total_flops())
    assert torch.equal(torch.get_rng_state(), before)


def test_padding_and_other_conversations_cost_nothing(tiny_model_tree):
    model = _model(tiny_model_tree, ["connector"])
    cost = StepCost.of(model).language
    mask = torch.tensor([[True] * 5 + [False] * 3, [True] * 8])
    ids = torch.ones_like(mask, dtype=torch.long)
    assert StepCost.of(model).flops(Batch(ids, mask)) == cost.flops(13, 5 * 5 + 8 * 8)
    # A beginning of 2, and two conversations of 2 and 3 that see it and themselves; a row of one conversation of 8.
    segments = torch.tensor([[0, 0, 1, 1, 2, 2, 2, -1], [0] * 8])
    mask = segments >= 0
    pairs = 2 * 2 + 2 * 4 + 3 * 5 + 8 * 8
    assert StepCost.of(model).flops(Batch(ids, mask, segments=segments)) == cost.flops(15, pairs)


def test_the_word_warm_up_runs_no_language_model(tiny_model_tree):
    model = _model(tiny_model_tree, ["connector"])
    n = 2
    labels = TokenLabels(*(torch.zeros(n, 4, dtype=torch.long) for _ in range(3)), torch.zeros(n, 4, 4))
    tail = 17 * 2 * VISION_BLOCK + 17 * 17 * 4 * 32
    connector = 6 * CONNECTOR
    batch = WordBatch(torch.zeros(n, 17, 32), labels, n)
    assert StepCost.of(model).flops(batch) == pytest.approx(n * (tail + connector))


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", 312e12), ("NVIDIA A100 80GB PCIe", 312e12), ("NVIDIA A10", 125e12),
        ("NVIDIA A10G", 70e12), ("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12), ("NVIDIA H200", 989e12), ("NVIDIA B200", 2250e12), ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12), ("NVIDIA GeForce RTX 4090", 165e12), ("NVIDIA GeForce RTX 3090", 71e12),
        ("Tesla V100-SXM2-16GB", 125e12), ("Tesla V100-PCIE-32GB", 112e12), ("AMD Instinct MI300X", 1307e12),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None), ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("NVIDIA GeForce RTX 3090 Ti", None), ("NVIDIA GeForce GTX 1080", None), ("", None),
    ],
)  # fmt: skip
def test_a_peak_is_the_data_sheets_or_unknown(name, peak):
    assert peak_by_name(name) == peak


def test_utilisation_is_operations_over_what_the_device_could_do(tiny_model_tree, monkeypatch):
    model = _model(tiny_model_tree, ["connector"])
    batch = _batch(model)
    assert peak_flops(torch.device("cpu")) is None
    assert Utilisation(model, ALONE).of([batch], 1.0) is None  # nobody tells a CPU's peak
    monkeypatch.setattr(flops, "peak_flops", lambda device: 1e9)
    expected = 2 * StepCost.of(model).flops(batch) / (0.5 * 1e9)
    assert Utilisation(model, ALONE).of([batch, batch], 0.5) == pytest.approx(expected)
    model.language.config.num_experts_per_tok = 2
    assert Utilisation(model, ALONE).of([batch], 1.0) is None
