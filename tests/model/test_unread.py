"""A language model whose numbers are read when they are needed is the one that is loaded at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sensorium.model.language import LanguageConfig, LoraConfig, add_lora
from sensorium.model.multimodal import ModelConfig
from sensorium.model.unread import converted_to, is_unread, make_unread, move, read_parameters, unread_language


def _numbers(module: torch.nn.Module) -> int:
    """That stand in memory."""
    storages = {p.data_ptr(): p.untyped_storage() for p in module.parameters()}
    return sum(storage.nbytes() // 4 for storage in storages.values())


def test_layers_are_read_one_by_one_and_are_what_is_loaded_at_once(tiny_parts):
    part = tiny_parts["language"]
    loaded, _ = LanguageConfig(part=part).build()
    model = unread_language(part, part)
    assert model is not None
    table = model.get_input_embeddings().weight
    layers = model.model.layers
    of_layer = sum(p.numel() for p in layers[0].parameters())
    assert not is_unread(table) and table is model.lm_head.weight  # tied ones stay one
    assert table.numel() <= _numbers(model) < table.numel() + of_layer / 10
    read_parameters(layers[0])
    assert table.numel() + of_layer <= _numbers(model) < table.numel() + 1.2 * of_layer
    read_parameters(model)
    assert not any(map(is_unread, model.parameters())) and not model.training
    expected, found = dict(loaded.named_parameters()), dict(model.named_parameters())
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    buffers, others = dict(loaded.named_buffers()), dict(model.named_buffers())
    assert buffers.keys() == others.keys() and all(torch.equal(others[name], buffers[name]) for name in buffers)
    ids = torch.arange(12)[None]
    assert torch.equal(model(ids).logits, loaded(ids).logits)


def test_what_is_drawn_at_random_is_drawn_alike(tiny_model_tree):
    """The connector, the added tokens, which start near the mean of the embeddings, and adapters."""
    config = ModelConfig.model_validate(tiny_model_tree)
    models = []
    for unread in (False, True):
        torch.manual_seed(7)
        model = config.build(unread=unread)
        add_lora(model.language, LoraConfig(rank=2))
        models.append(model)
    assert any(map(is_unread, models[1].parameters()))
    read_parameters(models[1])
    expected, found = (dict(model.named_parameters()) for model in models)
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_type_or_a_device_costs_no_memory_before_it_is_read():
    parameter = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    numbers = parameter.data.clone()
    make_unread(parameter, lambda: numbers)
    holder = torch.nn.Module()
    holder.register_parameter("weight", parameter)
    parameter.data = converted_to(parameter, dtype=torch.bfloat16)
    move(holder, torch.device("cpu"))
    assert is_unread(parameter) and parameter.shape == (2, 3) and parameter.untyped_storage().nbytes() == 2
    read_parameters(holder)
    assert parameter.dtype == torch.bfloat16 and torch.equal(parameter.float(), numbers) and not is_unread(parameter)


@pytest.mark.parametrize("change", ["name", "shape", "missing"])
def test_files_that_name_tensors_otherwise_are_loaded_at_once(tiny_parts, tmp_path, change):
    import shutil

    folder = Path(shutil.copytree(tiny_parts["language"], tmp_path / "part"))
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    tensor = tensors.pop(name)
    if change != "missing":
        tensors |= {f"other.{name}": tensor} if change == "name" else {name: tensor.T.contiguous()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert unread_language(folder, str(folder)) is None
