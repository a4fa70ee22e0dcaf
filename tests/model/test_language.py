"""Adapters change nothing until they are trained, and nothing but them is trained; merged, they cost nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sensorium.model.language import LanguageConfig, LoraConfig, add_lora
from sensorium.model.merging import merge_lora

IDS = torch.arange(24).view(2, 12) + 40


@pytest.fixture
def language(tiny_parts) -> nn.Module:
    return LanguageConfig(part=tiny_parts["language"]).build()[0].eval()


@torch.no_grad()
def _logits(language: nn.Module) -> torch.Tensor:
    return language(IDS).logits


def _train_adapters(language: nn.Module) -> None:
    torch.manual_seed(1)
    for name, parameter in language.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter)


def test_fresh_adapters_leave_the_output_as_it_was(language):
    before = _logits(language)
    add_lora(language, LoraConfig(rank=3))
    assert torch.equal(_logits(language), before)


def test_adapters_sit_on_every_linear_layer_of_the_blocks_and_not_on_the_head(language):
    linear = {name for name, module in language.named_modules() if isinstance(module, nn.Linear)} - {"lm_head"}
    add_lora(language, LoraConfig(rank=3))
    adapted = {name.split(".lora_A")[0] for name, _ in language.named_parameters() if ".lora_A" in name}
    assert adapted == linear and len(adapted) == 2 * 7


def test_the_size_of_the_adapters_follows_from_rank_and_widths(language):
    add_lora(language, LoraConfig(rank=3))
    # Per block: q and o 32x32, k and v 32x16 (half the heads), gate, up and down 32x64.
    per_block = 3 * (2 * (32 + 32) + 2 * (32 + 16) + 3 * (32 + 64))
    assert sum(p.numel() for n, p in language.named_parameters() if "lora_" in n) == 2 * per_block


def test_adapters_are_trainable_and_what_was_frozen_stays_frozen(language):
    language.requires_grad_(False)
    language.model.norm.weight.requires_grad_(True)
    add_lora(language, LoraConfig())
    trainable = {name for name, p in language.named_parameters() if p.requires_grad}
    assert {name for name in trainable if "lora_" not in name} == {"model.norm.weight"}
    assert trainable - {"model.norm.weight"} == {n for n, _ in language.named_parameters() if "lora_" in n}


def test_merged_adapters_give_the_same_logits_from_plain_layers(language):
    before = _logits(language)
    add_lora(language, LoraConfig(rank=3, alpha=6))
    _train_adapters(language)
    adapted = _logits(language)
    assert (adapted - before).abs().max() > 0.1
    merge_lora(language)
    torch.testing.assert_close(_logits(language), adapted, atol=1e-4, rtol=1e-4)
    assert not any("lora" in name for name, _ in language.named_parameters())
    assert type(language.model.layers[0].mlp.up_proj) is nn.Linear
    merge_lora(language)  # again: there is nothing left to merge
    torch.testing.assert_close(_logits(language), adapted, atol=1e-4, rtol=1e-4)


def test_the_update_is_alpha_over_rank_times_b_a(language):
    layer = language.model.layers[0].mlp.up_proj
    weight = layer.weight.detach().clone()
    add_lora(language, LoraConfig(rank=4, alpha=10))
    _train_adapters(language)
    adapted = language.model.layers[0].mlp.up_proj
    a, b = adapted.lora_A["default"].weight.detach(), adapted.lora_B["default"].weight.detach()
    merge_lora(language)
    torch.testing.assert_close(language.model.layers[0].mlp.up_proj.weight.detach(), weight + 10 / 4 * b @ a)


@pytest.mark.parametrize("in_bfloat16", [False, True])
def test_a_layer_and_its_adapter_in_one_function_are_what_peft_computes(language, in_bfloat16):
    from peft.tuners.lora.layer import Linear

    language.requires_grad_(False)
    add_lora(language, LoraConfig(rank=3, alpha=6))
    layer = language.model.layers[0].mlp.down_proj
    torch.manual_seed(2)
    for of in (layer.lora_A, layer.lora_B):
        of["default"].weight.data = 0.3 * torch.randn_like(of["default"].weight)
    x = torch.randn(2, 5, layer.in_features, requires_grad=True)
    inputs = [x, layer.lora_A["default"].weight, layer.lora_B["default"].weight]
    found = []
    for forward in (layer.forward, lambda x: Linear.forward(layer, x)):
        with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
            output = forward(x)
        assert ("AdaptedLinear" in type(output.grad_fn).__name__) == (not found)
        found.append((output.float(), *torch.autograd.grad(output.float().square().sum(), inputs)))
    for ours, pefts in zip(*found, strict=True):
        worst = (ours - pefts).abs().max() / pefts.abs().max()
        assert worst < (2e-2 if in_bfloat16 else 1e-5) and pefts.abs().max() > 0.1


@pytest.mark.parametrize("case", ["merged", "disabled", "dropout", "trainable base", "frozen adapter", "no adapter"])
def test_where_one_function_would_not_be_the_same_peft_computes(language, case):
    from peft.tuners.lora.layer import Linear

    language.requires_grad_(case == "trainable base")
    add_lora(language, LoraConfig(rank=3, alpha=6, dropout=0.5 if case == "dropout" else 0))
    _train_adapters(language)
    layer = language.model.layers[0].mlp.down_proj
    if case == "merged":
        layer.merge()
    elif case == "disabled":
        layer.enable_adapters(False)
    elif case == "frozen adapter":
        layer.requires_grad_(False)
    elif case == "no adapter":
        layer.set_adapter([])
    x = torch.randn(2, 5, layer.in_features, requires_grad=True)
    found = []
    for forward in (layer, lambda x: Linear.forward(layer, x)):
        torch.manual_seed(0)  # dropout
        found.append(forward(x))
    assert "AdaptedLinear" not in type(found[0].grad_fn).__name__
    torch.testing.assert_close(found[0], found[1])
