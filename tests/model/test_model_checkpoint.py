"""A thin checkpoint gives the model back, or says in one line why not; and it appears whole or not at all."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sensorium.errors import SensoriumError
from sensorium.model.checkpoint import load_model, module_parameters, part_identity, save_model
from sensorium.model.labels import IGNORE
from sensorium.model.language import LoraConfig
from sensorium.model.multimodal import ModelConfig, MultimodalModel
from sensorium.parts import KNOWN
from sensorium.rendering import Rendered
from sensorium.rendering.batching import collate

TRAINED = ("vision", "connector", "tokens", "language")


@pytest.fixture
def model(tiny_model_tree) -> MultimodalModel:
    """A model with adapters whose every trained number is changed from its start."""
    tree = tiny_model_tree | {"lora": LoraConfig(rank=2, alpha=4).model_dump()}
    torch.manual_seed(0)
    model = ModelConfig.model_validate(tree).build().eval()
    for module in TRAINED:
        for parameter in module_parameters(model, module).values():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def _logits(model: MultimodalModel) -> torch.Tensor:
    ids = [5, *[model.slot_id] * 4, model.slot_id + 1, 61, 62]
    pixels = torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model(collate([Rendered(ids, [IGNORE] * 5 + ids[5:])], 0, pixels))


def test_a_float32_checkpoint_gives_back_the_very_model(model, tmp_path):
    folder = save_model(model, tmp_path / "model", TRAINED, {"recipe": "x"}, torch.float32)
    torch.manual_seed(99)  # nothing may depend on how fresh modules start
    loaded = load_model(folder)
    assert torch.equal(_logits(loaded), _logits(model))
    assert loaded.config == model.config and not loaded.training


def test_a_bfloat16_checkpoint_gives_back_the_rounded_model(model, tmp_path):
    folder = save_model(model, tmp_path / "model", TRAINED)
    stored = load_file(folder / "trained.safetensors")
    assert {t.dtype for t in stored.values()} == {torch.bfloat16}
    loaded = load_model(folder)
    own = dict(loaded.named_parameters())
    for name in stored:
        assert own[name].dtype == torch.float32
        assert torch.equal(own[name].detach(), dict(model.named_parameters())[name].detach().bfloat16().float())
    assert (_logits(loaded) - _logits(model))[:, :100].abs().max() < 0.2


def test_only_what_was_trained_is_stored(model, tmp_path):
    names = set(load_file(save_model(model, tmp_path / "m", TRAINED) / "trained.safetensors"))
    assert not any(name.startswith("vision.stem") for name in names)
    assert all("lora_" in name for name in names if name.startswith("language."))
    assert {"added_embeddings", "vision.norm.weight", "connector.linear_1.weight"} < names
    assert any(name.startswith("vision.tail.0.") for name in names)


def test_what_no_part_gives_back_is_stored_whoever_trained(tiny_model, tmp_path):
    """Connector, added tokens and the fresh norm start from noise: without them the model is lost."""
    tiny_model.vision.norm.weight.data.mul_(2.0)
    folder = save_model(tiny_model, tmp_path / "m", ["connector"], dtype=torch.float32)
    names = set(load_file(folder / "trained.safetensors"))
    assert {"added_embeddings", "vision.norm.weight", "vision.norm.bias"} < names
    assert not any(name.startswith(("vision.tail", "language")) for name in names)
    torch.manual_seed(99)
    assert torch.equal(_logits(load_model(folder)), _logits(tiny_model))


def test_a_language_model_trained_in_full_is_stored_in_full(tiny_model, tmp_path):
    for parameter in tiny_model.language.parameters():
        parameter.data += 0.1
    folder = save_model(tiny_model, tmp_path / "m", ["language"], dtype=torch.float32)
    assert torch.equal(_logits(load_model(folder)), _logits(tiny_model))


def test_config_tells_parts_provenance_and_what_was_trained(model, tmp_path):
    content = json.loads((save_model(model, tmp_path / "m", TRAINED, {"seed": 7}) / "config.json").read_text())
    assert content["format"] == "sensorium-1" and content["provenance"] == {"seed": 7}
    assert content["trained"] == sorted(TRAINED)
    assert set(content["parts"]) == {model.config.vision.part, model.config.language.part}


def _saved(model: MultimodalModel, tmp_path: Path) -> Path:
    return save_model(model, tmp_path / "model", TRAINED)


def _change_tensors(folder: Path, change) -> None:
    tensors = load_file(folder / "trained.safetensors")
    change(tensors)
    save_file(tensors, folder / "trained.safetensors")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t.pop("added_embeddings"), "1 tensors differ, first added_embeddings"),
        (lambda t: t.update({"stray.weight": torch.ones(1)}), "1 tensors differ, first stray.weight"),
        (lambda t: t.update(added_embeddings=torch.ones(7, 31)), r"embeddings is \[7, 31\], the model has \[7, 32"),
    ],
)
def test_tensors_that_do_not_fit_are_named(model, tmp_path, change, complaint):
    folder = _saved(model, tmp_path)
    _change_tensors(folder, change)
    with pytest.raises(SensoriumError, match=complaint):
        load_model(folder)


def _change_config(folder: Path, **changes: object) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | changes))


def test_another_part_than_the_one_trained_with_is_refused(model, tmp_path):
    folder = _saved(model, tmp_path)
    _change_config(folder, parts={"dinov2-small": "0" * 64})
    with pytest.raises(SensoriumError, match="was trained with another dinov2-small"):
        load_model(folder)


def test_a_folder_part_that_has_changed_is_refused(tiny_model_tree, tiny_parts, tmp_path):
    part = shutil.copytree(tiny_parts["language"], tmp_path / "language")
    tree = tiny_model_tree | {"language": {"part": str(part)}}
    folder = save_model(ModelConfig.model_validate(tree).build(), tmp_path / "model", ["connector"])
    (part / "README.md").write_text("A readme changes nothing.")
    load_model(folder)
    tensors = load_file(part / "model.safetensors")
    tensors["model.norm.weight"] += 1
    save_file(tensors, part / "model.safetensors", {"format": "pt"})
    with pytest.raises(SensoriumError, match=r"was trained with another .*language"):
        load_model(folder)


def test_the_commit_of_a_hub_part_is_recorded(model):
    model.language.config._commit_hash = "abc123"
    assert part_identity("user/name", model.language) == "abc123"
    assert part_identity("dinov2-small", model.vision.stem) == KNOWN["dinov2-small"].package.sha256


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json: cannot be read"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: cannot be read"),
        (lambda f: (f / "config.json").write_text("[]"), "is not a checkpoint of the format sensorium-1"),
        (lambda f: _change_config(f, format="sensorium-9"), "is not a checkpoint of the format sensorium-1"),
        (lambda f: _change_config(f, model={}), "does not describe a model"),
        (lambda f: (f / "trained.safetensors").unlink(), "trained.safetensors: cannot be read"),
        (lambda f: os.truncate(f / "trained.safetensors", 500), "trained.safetensors: cannot be read"),
    ],
)
def test_a_damaged_folder_is_one_clear_error(model, tmp_path, damage, complaint):
    folder = _saved(model, tmp_path)
    damage(folder)
    with pytest.raises(SensoriumError, match=complaint):
        load_model(folder)


def test_an_existing_folder_is_never_overwritten(model, tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(SensoriumError, match="exists already"):
        save_model(model, tmp_path / "model", TRAINED)
    assert not any((tmp_path / "model").iterdir())


_FULL_DISK = """
import resource, signal, sys, torch
from pathlib import Path
from sensorium.errors import SensoriumError
from sensorium.model.checkpoint import load_model, save_model
model = load_model(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    save_model(model, Path(sys.argv[2]), ["vision", "language"])
except SensoriumError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [0, 20_000])
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(model, tmp_path, limit):
    """A limit on the size of files stands for the full disk: writing fails in the same place."""
    assert hasattr(resource, "RLIMIT_FSIZE")
    folder, target = _saved(model, tmp_path), tmp_path / "full" / "model"
    command = [sys.executable, "-c", _FULL_DISK, str(folder), str(target), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "cannot be written" in done.stdout and str(target) in done.stdout
    assert list(target.parent.iterdir()) == []


def test_adapters_merged_at_loading_give_the_same_logits(model, tmp_path):
    folder = save_model(model, tmp_path / "model", TRAINED, dtype=torch.float32)
    batch = collate([Rendered([*range(1, 7)], [*range(1, 7)])], pad_id=0)
    merged = load_model(folder, merge=True)
    with torch.no_grad():
        torch.testing.assert_close(merged(batch), load_model(folder)(batch), atol=1e-4, rtol=1e-4)
    assert not any("lora_" in name for name, _ in merged.named_parameters())


def test_merging_notices_an_adapter_that_is_not_there(model, tmp_path):
    folder = save_model(model, tmp_path / "model", TRAINED)
    tensors = load_file(folder / "trained.safetensors")
    layer = next(name for name in tensors if "lora_A" in name).split(".lora_A")[0]
    save_file({n: t for n, t in tensors.items() if not n.startswith(layer)}, folder / "trained.safetensors")
    with pytest.raises(SensoriumError, match=f"lacks the adapters of 1 layers, first {layer}"):
        load_model(folder, merge=True)
