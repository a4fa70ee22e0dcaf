"""Where a tower keeps its layers: transformers' models hold them in one list, the first that is met."""

from __future__ import annotations

from typing import Any

from torch import nn


def blocks_of(tower: nn.Module) -> list[Any]:
    """The layers of a tower in the order in which they run; [] where it has no list of them."""
    return next((list(module) for module in tower.modules() if isinstance(module, nn.ModuleList)), [])
