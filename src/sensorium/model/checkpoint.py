"""Thin checkpoints: what was trained, and the names and hashes of what was not.

A folder with config.json (how to assemble the model, which parts, what they hash to) and trained.safetensors
(connector, added tokens, vision tail, adapters, in bfloat16 unless asked otherwise). Frozen parts are fetched again by
name, so the embedded default fits into the package. Whoever trains a language model in full gets its full weights here
too. A part may also travel in the folder itself, as `./vision`: such a folder needs nothing else (see `export`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sensorium.errors import SensoriumError
from sensorium.model.merging import merge_adapters
from sensorium.model.multimodal import ModelConfig, MultimodalModel
from sensorium.parts import parse_part
from sensorium.parts.cache import whole_or_nothing
from sensorium.parts.package import sha256_of
from sensorium.progress import ProgressCallback

FORMAT = "sensorium-1"
MODULES = ("vision", "connector", "tokens", "language")


def module_parameters(model: MultimodalModel, module: str) -> dict[str, nn.Parameter]:
    """The parameters that a stage trains under a module's name, by their names in the model.

    vision: the tail and the norm after it, or the whole tower when it has no tail; connector; tokens: the added
    embeddings; language: the adapters when there are any, else everything.
    """
    named = dict(model.named_parameters())
    if module == "tokens":
        return {"added_embeddings": named["added_embeddings"]}
    chosen = {name: p for name, p in named.items() if name.startswith(f"{module}.")}
    if module == "vision" and model.config.vision.tail_blocks:
        return {name: p for name, p in chosen.items() if not name.startswith("vision.stem.")}
    if module == "language" and model.config.lora is not None:
        return {name: p for name, p in chosen.items() if "lora_" in name}
    if not chosen and module not in MODULES:
        raise SensoriumError(module, "is not a module of the model.", f"Known: {', '.join(MODULES)}.")
    return chosen


def thin_state(model: MultimodalModel, trained: Iterable[str]) -> dict[str, Tensor]:
    """The tensors a thin checkpoint holds: the trained modules, and whatever no part could give back."""
    modules = set(trained) | {"connector", "tokens"}
    if model.config.lora is not None:
        modules.add("language")
    state = {name: p.detach() for module in sorted(modules) for name, p in module_parameters(model, module).items()}
    if model.config.vision.fresh_norm:
        state |= {f"vision.norm.{name}": p.detach() for name, p in model.vision.norm.named_parameters()}
    return state


def save_model(
    model: MultimodalModel,
    folder: Path,
    trained: Iterable[str],
    provenance: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.bfloat16,
    tensors: dict[str, Tensor] | None = None,
) -> Path:
    """Write a thin checkpoint; the folder appears whole or not at all. It must not exist yet.

    tensors: the model's `thin_state`, where the model holds slices of it only. Raises SensoriumError when the folder
    exists, or when the disk is full.
    """
    if folder.exists():
        raise SensoriumError(folder, "exists already.", "Choose another folder, or remove it.")
    config = model.config
    parts = {
        config.vision.part: part_identity(config.vision.part, model.vision.stem),
        config.language.part: part_identity(config.language.part, model.language),
    }
    tensors = thin_state(model, trained) if tensors is None else tensors
    tensors = {name: p.to("cpu", dtype).contiguous() for name, p in tensors.items()}
    with whole_or_nothing(folder) as scratch:
        try:
            write_checkpoint(scratch, config, tensors, trained, parts, provenance or {})
        except SafetensorError as error:  # how safetensors reports a full disk
            raise SensoriumError(folder, f"cannot be written ({error}).", "Free some space and try again.") from error
    return folder


def write_checkpoint(
    folder: Path,
    config: ModelConfig,
    tensors: dict[str, Tensor],
    trained: Iterable[str],
    parts: dict[str, str | None],
    provenance: dict[str, Any],
) -> None:
    """The two files of a thin checkpoint, into a folder that is there. parts: what each part named in config hashes to.

    Raises OSError or SafetensorError when the disk is full.
    """
    described = config.model_copy(update={"connector": config.connector.trained()})
    content = {
        "format": FORMAT,
        "model": described.model_dump(mode="json"),
        "trained": sorted(set(trained)),
        "parts": parts,
        "provenance": provenance,
    }
    save_file(tensors, folder / "trained.safetensors")
    (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n")


def part_identity(part: str, module: nn.Module | None = None) -> str | None:
    """What tells a part from another of the same name, or None when nothing does.

    The pinned sha256 of a package's file, a sha256 over a folder's config.json and weights, and for a hub id the commit
    that `module`, its loaded model, came from: that one is recorded only, since a commit may change a readme alone.
    """
    spec = parse_part(part)
    if spec.package is not None:
        return spec.package.sha256
    if spec.kind == "hub":
        return getattr(getattr(module, "config", None), "_commit_hash", None)
    digest = hashlib.sha256()
    for file in sorted(f for kind in ("config.json", "*.safetensors", "*.bin") for f in Path(part).glob(kind)):
        digest.update(bytes.fromhex(sha256_of(file)))
    return digest.hexdigest()


def read_config(folder: Path) -> tuple[ModelConfig, dict[str, Any]]:
    """A checkpoint's model configuration and everything else its config.json says; parts in the folder by full path.

    Raises SensoriumError.
    """
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SensoriumError(path, f"cannot be read ({error}).", "A model folder has config.json.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise SensoriumError(path, f"is not a checkpoint of the format {FORMAT}.")
    try:
        config = ModelConfig.model_validate(content["model"])
    except (KeyError, ValidationError) as error:
        raise SensoriumError(path, f"its `model` does not describe a model ({error}).") from error
    content["parts"] = {_beside(folder, part): digest for part, digest in content.get("parts", {}).items()}
    return config.with_parts(_beside(folder, config.vision.part), _beside(folder, config.language.part)), content


def _beside(folder: Path, part: str) -> str:
    """Where a part written as `./vision` lies: in the checkpoint's folder, wherever that was moved.

    A recipe may name a folder so as well, beneath where it was trained; that one is not in the checkpoint's.
    """
    return str(folder / part) if part.startswith("./") and (folder / part).is_dir() else part


def load_model(folder: Path, progress: ProgressCallback | None = None, merge: bool = False) -> MultimodalModel:
    """Assemble the model of a checkpoint: parts from where they come, trained tensors from the folder; in eval mode.

    merge: fold the adapters into the weights right away; the model then has none, and answers faster.
    Raises SensoriumError when a tensor is missing, unknown or of another shape, or a part is not the one trained with.
    """
    config, content = read_config(folder)
    for part, digest in content.get("parts", {}).items():
        found = part_identity(part) if digest else None
        if found and found != digest:
            raise SensoriumError(folder, f"was trained with another {part} (sha256 {digest[:12]}…).")
    tensors = read_trained(folder)
    if merge and config.lora is not None:
        model = config.model_copy(update={"lora": None}).build(progress)
        tensors = merge_adapters(model, tensors, config.lora)
    else:
        model = config.build(progress)
    trained = set(content.get("trained", [])) - ({"language"} if merge and config.lora else set())
    load_trained(model, tensors, trained, folder)
    return model.eval()


def read_trained(folder: Path) -> dict[str, Tensor]:
    """A checkpoint's trained tensors by name. Raises SensoriumError."""
    path = folder / "trained.safetensors"
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        remedy = "The checkpoint is damaged; fetch it again."
        raise SensoriumError(path, f"cannot be read ({error}).", remedy) from error


def load_trained(model: MultimodalModel, tensors: dict[str, Tensor], trained: Iterable[str], where: Path) -> None:
    """Copy trained tensors into an assembled model."""
    own = thin_state(model, trained)
    if missing := sorted(set(own) ^ set(tensors)):
        raise SensoriumError(where, f"does not fit the model: {len(missing)} tensors differ, first {missing[0]}.")
    for name, tensor in tensors.items():
        if own[name].shape != tensor.shape:
            raise SensoriumError(where, f"{name} is {list(tensor.shape)}, the model has {list(own[name].shape)}.")
        own[name].copy_(tensor)
