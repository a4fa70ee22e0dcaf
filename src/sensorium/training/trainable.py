"""What a stage trains: modules by name, less what it keeps frozen; and how fast each layer of a tower learns.

Vision and language are towers of blocks. The lowest know what every picture and every text has, the highest what the
task is about; so a stage may train the last blocks of a tower only, or let rates fall from block to block downwards.
"""

from __future__ import annotations

import re

from torch import nn

from sensorium.errors import SensoriumError, did_you_mean
from sensorium.model.blocks import blocks_of
from sensorium.model.checkpoint import MODULES, module_parameters
from sensorium.model.multimodal import MultimodalModel
from sensorium.training.optimizer import NamedParameters
from sensorium.training.recipe import StageConfig


def choose_trainable(model: MultimodalModel, config: StageConfig) -> dict[str, NamedParameters]:
    """Let the modules with a learning rate train, freeze all else; returns each module's named parameters.

    Raises SensoriumError for a pattern in `freeze` that matches nothing, or a tower with fewer blocks than
    `last_blocks` says.
    """
    model.requires_grad_(False)
    groups: dict[str, NamedParameters] = {
        module: list(module_parameters(model, module).items()) for module in MODULES
    }
    lowest = {module: _lowest(model, module, last) for module, last in config.last_blocks.items()}
    matched: set[str] = set()
    for module in config.learning_rates:
        heights = block_heights(model, module) if module in lowest else {}
        for name, parameter in groups[module]:
            frozen = [pattern for pattern in config.freeze if re.search(pattern, name)]
            matched.update(frozen)
            is_high = module not in lowest or heights.get(name, len(heights)) >= lowest[module]
            parameter.requires_grad_(is_high and not frozen)
    for pattern in config.freeze:
        if pattern not in matched:
            names = [name for module in config.learning_rates for name, _ in groups[module]]
            raise SensoriumError(f"stage {config.name}: freeze", f"`{pattern}` matches no parameter that would train.",
                                 did_you_mean(pattern, names))
    return groups


def rate_shares(model: MultimodalModel, config: StageConfig) -> dict[str, float]:
    """Parameter name -> share of its module's rate: decay ** (blocks above it), as BEiT fine-tunes (arXiv:2106.08254).

    Qwen-VL's vision encoder learns so, with 0.95 (arXiv:2308.12966, table 8).
    """
    shares: dict[str, float] = {}
    for module, decay in config.layer_decay.items():
        heights = block_heights(model, module)
        top = max(heights.values(), default=0)
        for name in module_parameters(model, module):
            shares[name] = decay ** (top - heights.get(name, top))
    return shares


def block_heights(model: MultimodalModel, module: str) -> dict[str, int]:
    """Parameter name -> height in its tower: 0 embeddings, 1 the first block, …; what follows the blocks is not in it.

    Raises SensoriumError for a module that is no tower of blocks.
    """
    if module not in ("vision", "language"):
        raise SensoriumError(module, "has no blocks one above the other.",
                             "Give last_blocks and layer_decay to a tower.")
    blocks = _blocks(model, module)
    height_of = {id(p): i for i, block in enumerate(blocks, start=1) for p in block.parameters()}
    above = set() if module == "language" else {id(p) for p in model.vision.norm.parameters()}
    embeddings = model.language.get_input_embeddings() if module == "language" else model.vision.stem  # type: ignore[operator]
    below = {id(p) for p in embeddings.parameters()} - height_of.keys() - above
    prefix = f"{module}."
    heights = {name: height_of.get(id(p), 0 if id(p) in below else -1) for name, p in model.named_parameters()
               if name.startswith(prefix)}
    return {name: height for name, height in heights.items() if height >= 0}


def _blocks(model: MultimodalModel, module: str) -> list[nn.Module]:
    if module == "vision":
        return [*blocks_of(model.vision.stem), *model.vision.tail]
    return blocks_of(model.decoder)


def _lowest(model: MultimodalModel, module: str, last: int) -> int:
    """The height of the lowest of the last blocks."""
    count = len(_blocks(model, module)) if module in ("vision", "language") else 0
    if last > count:
        raise SensoriumError(f"last_blocks.{module}", f"is {last}, and {module} has {count} blocks.")
    return count - last + 1
