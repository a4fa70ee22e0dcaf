"""What a recipe starts from: a model that was trained before, ours or one's own, instead of its bare parts.

The start gives its `model:` tree, over which a recipe says only what differs, and its trained tensors. What may differ
is what the tensors fit: views and image size (positions are interpolated), larger adapters (they are widened, which
changes no output), or none (they are folded into the language model, which is then the result's own), and how many of
the tower's blocks are its trainable tail, as long as nothing that was trained falls out of it. Adapters are never
folded in to make room for fresh ones: the weights under those would be nobody's part, and a thin checkpoint could not
name them. Whoever wants that exports the start (`sensorium export hf`), whose folder has the folded model as its part.

A run belongs to the very start that it was begun from: its hash is in the recipe, see `training.claim`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sensorium.configuration import laid_over
from sensorium.errors import SensoriumError
from sensorium.model.blocks import blocks_of
from sensorium.model.checkpoint import module_parameters, part_identity, read_config, read_trained
from sensorium.model.folder import is_gguf_folder, model_folder
from sensorium.model.language import ADAPTER, LoraConfig
from sensorium.model.merging import merge_adapters
from sensorium.model.multimodal import ADDED_TOKENS, ModelConfig, MultimodalModel
from sensorium.parts.package import sha256_of

_TREES = ("vision", "connector", "language")


class StartConfig(BaseModel):
    """In a recipe's file the model's name is enough.

    model: `default`, a model folder, or a finished run. sha256: over what `start_identity` reads; filled in when the
    recipe is read, and compared if it stands there. trained: the modules that the model's own file holds; filled in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    trained: tuple[str, ...] = ()


def start_identity(folder: Path) -> str:
    """A hash over a checkpoint's two files. Its parts are in it: the configuration has their hashes."""
    digest = hashlib.sha256()
    for name in ("config.json", "trained.safetensors"):
        try:
            digest.update(bytes.fromhex(sha256_of(folder / name)))
        except OSError as error:
            raise SensoriumError(folder / name, f"cannot be read ({error.strerror or error}).") from error
    return digest.hexdigest()


def from_start(tree: dict[str, Any], where: str | Path) -> dict[str, Any]:
    """A recipe's tree with `model` filled up from its start, and `start` with its hash; without a start as it is.

    Raises SensoriumError when the start is nowhere, is not the one that the recipe pins, or does not fit.
    """
    named = tree.get("start")
    if named is None:
        return tree
    named = {"model": named} if isinstance(named, str) else named
    if not isinstance(named, dict) or not isinstance(named.get("model"), str):
        raise SensoriumError(f"{where}: start", f"expected a model, found {named!r}.",
                             "Write `start: default`, or name a model folder or a finished run.")
    folder = _folder(named["model"])
    config, trained = _read(folder)
    found = start_identity(folder)
    if named.get("sha256", found) != found:
        raise SensoriumError(f"{where}: start.sha256", f"{named['model']} is no longer what the recipe pins "
                             f"({str(named['sha256'])[:12]}…, found {found[:12]}…).", "Put it back, or change the pin.")
    start = named | {"sha256": found, "trained": list(trained)}
    own = tree.get("model", {})
    if not isinstance(own, dict):
        return tree | {"start": start}  # and the recipe says what is wrong with it
    whole = laid_over(config.model_dump(mode="json"), own)
    if config.lora is not None and "lora" not in own:
        whole["lora"] = _first_lora(tree) or whole["lora"]
    return tree | {"start": start, "model": whole}


def _first_lora(tree: Mapping[str, Any]) -> Any:
    """The adapters of the first stage that names any: those of the start are widened to them at once."""
    stages = tree.get("stages")
    named = [stage.get("lora") for stage in stages if isinstance(stage, dict)] if isinstance(stages, list) else []
    return next(filter(None, named), None)


def _folder(name: str) -> Path:
    folder = model_folder(name)
    if is_gguf_folder(folder):
        raise SensoriumError(name, "was exported for llama.cpp, its weights rounded; it cannot be trained.",
                             "Start from the model that it was exported from.")
    return folder


def _read(folder: Path) -> tuple[ModelConfig, tuple[str, ...]]:
    """A start's configuration, and the modules whose tensors are its own."""
    config, content = read_config(folder)
    trained = set(content.get("trained", ()))
    if config.lora is not None:
        trained.add("language")
    return config, tuple(sorted(trained))


def require_fit(start: StartConfig, wanted: ModelConfig, where: str | Path = "recipe") -> None:
    """Raises SensoriumError, with the setting to change, where a start's tensors do not fit the model wanted."""
    then, trained = _read(_folder(start.model))
    was, now = then.vision, wanted.vision

    def refuse(key: str, found: object, expected: object, remedy: str) -> SensoriumError:
        return SensoriumError(f"{where}: model.{key}", f"is {found}, and the start {start.model} has {expected}.",
                              remedy)

    if was.fresh_norm != now.fresh_norm:
        raise refuse("vision.fresh_norm", now.fresh_norm, was.fresh_norm, "Leave it out.")
    is_elsewhere = (was.layer < 0) != (now.layer < 0) or was.layer + was.tail_blocks != now.layer + now.tail_blocks
    if is_elsewhere:
        raise refuse("vision.layer", f"{now.layer} with {now.tail_blocks} tail blocks",
                     f"{was.layer} with {was.tail_blocks}",
                     "The tower must end at the same block: leave both out, or let one fall as the other rises.")
    if "vision" in trained and now.tail_blocks and not 0 < was.tail_blocks <= now.tail_blocks:
        raise refuse("vision.tail_blocks", now.tail_blocks, f"{was.tail_blocks or 'the whole tower'} trained",
                     "Trained blocks must stay in the tail: leave it out, or set it to 0 to have all blocks train.")
    if then.connector.trained() != wanted.connector.trained():
        before, after = then.connector.trained().model_dump(), wanted.connector.trained().model_dump()
        key = next(key for key in after if before.get(key) != after[key])
        raise refuse(f"connector.{key}", after[key], before.get(key, before["kind"]),
                     "Leave `connector` out: its weights are taken over.")
    if wanted.lora is not None and then.lora is None and "language" in trained:
        raise SensoriumError(f"{where}: model.lora", f"the language model of {start.model} was trained itself, and a "
                             "thin checkpoint of adapters cannot hold it.",
                             f"Train it on in full, or start from `sensorium export hf {start.model} FOLDER`.")
    if wanted.lora is not None and then.lora is not None and wanted.lora.rank < then.lora.rank:
        raise refuse("lora.rank", wanted.lora.rank, then.lora.rank,
                     "Adapters can only be widened; for fresh ones over these, start from "
                     f"`sensorium export hf {start.model} FOLDER`.")


def require_parts(start: StartConfig, wanted: ModelConfig) -> None:
    """Raises SensoriumError where the frozen parts are not those that a start was trained with."""
    folder = _folder(start.model)
    then, content = read_config(folder)
    for role, before, after in (("vision", then.vision.part, wanted.vision.part),
                                ("language", then.language.part, wanted.language.part)):
        digest = content.get("parts", {}).get(before)
        found = part_identity(after) if digest else None
        if (found and found != digest) or (before != after and not found):
            what = f"{after} is not what {start.model} was trained with ({before})."
            raise SensoriumError(f"model.{role}.part", what, "Leave it out, or put the part back.")


def load_start(model: MultimodalModel, start: StartConfig) -> dict[str, Any]:
    """Copy a start's tensors into a model that was just built for it. Returns what to say of it in a provenance.

    Of a skeleton only names and shapes are compared, and no tensor is read. Raises SensoriumError when the start is no
    longer what the recipe was read with, or does not fit.
    """
    folder = _folder(start.model)
    if start_identity(folder) != start.sha256:
        raise SensoriumError(start.model, "has changed since the recipe was read.", "Start the command again.")
    require_fit(start, model.config)
    require_parts(start, model.config)
    then, trained = _read(folder)
    tensors = _shapes(folder) if model.device.type == "meta" else read_trained(folder)
    if then.lora is not None and model.config.lora is None:
        tensors, trained = merge_adapters(model, tensors, then.lora), tuple(m for m in trained if m != "language")
    places = _places(model, then, trained)
    if wrong := sorted(places.keys() ^ tensors.keys()):
        raise SensoriumError(folder, f"does not fit the model: {len(wrong)} tensors differ, first {wrong[0]}.",
                             "The checkpoint is damaged, or its parts are others; fetch it again.")
    with torch.no_grad():
        for name, tensor in tensors.items():
            _copy(places[name], tensor, name, then, model.config)
    return {"model": start.model, "sha256": start.sha256, "provenance": read_config(folder)[1].get("provenance", {})}


def _shapes(folder: Path) -> dict[str, Tensor]:
    """A checkpoint's trained tensors without their numbers."""
    path = folder / "trained.safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        remedy = "The checkpoint is damaged; fetch it again."
        raise SensoriumError(path, f"cannot be read ({error}).", remedy) from error
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def _places(model: MultimodalModel, then: ModelConfig, trained: tuple[str, ...]) -> dict[str, nn.Parameter]:
    """The model's parameters by the names that a start's file has for them: its tail may have begun at another block.
    """
    found: dict[str, nn.Parameter] = {}
    for module in {*trained, "connector", "tokens"}:
        found |= module_parameters(model, module) if module != "vision" or not then.vision.tail_blocks else {}
    if "vision" in trained and then.vision.tail_blocks:
        tail = [*blocks_of(model.vision.stem), *model.vision.tail][-then.vision.tail_blocks :]
        found |= {f"vision.tail.{i}.{name}": p for i, block in enumerate(tail) for name, p in block.named_parameters()}
    if then.vision.fresh_norm:
        found |= {f"vision.norm.{name}": p for name, p in model.vision.norm.named_parameters()}
    return found


def _copy(place: nn.Parameter, tensor: Tensor, name: str, then: ModelConfig, now: ModelConfig) -> None:
    """One tensor into its place: adapters widened, added tokens by name, all else as it is."""
    if name == "added_embeddings":
        before, after = (ADDED_TOKENS + config.views.added_tokens for config in (then, now))
        kept = [token for token in before if token in after]
        if tensor.shape == (len(before), place.shape[1]):
            place[[after.index(token) for token in kept]] = tensor[[before.index(token) for token in kept]].to(place)
            return
    elif "lora_" in name and then.lora is not None and now.lora is not None:
        tensor = _widened(place, tensor, name, then.lora, now.lora)
    if tensor.shape != place.shape:
        raise SensoriumError("start", f"its {name} is {list(tensor.shape)}, the model has {list(place.shape)}.",
                             f"Leave {', '.join(f'`model.{tree}`' for tree in _TREES)} to the start.")
    place.copy_(tensor)


def _widened(place: Tensor, tensor: Tensor, name: str, then: LoraConfig, now: LoraConfig) -> Tensor:
    """A [rank, in] or B [out, rank] of more columns and another scale, with the same product: rows that A gains are as
    freshly drawn, columns that B gains are zero.
    """
    if f".lora_A.{ADAPTER}" in name:
        return torch.cat([tensor.to(place), place[then.rank :]]) if tensor.shape[1:] == place.shape[1:] else tensor
    scale = (then.alpha / then.rank) / (now.alpha / now.rank)
    return nn.functional.pad(tensor.to(place) * scale, (0, now.rank - then.rank))
