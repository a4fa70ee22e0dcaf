"""What every connector is: vision features in, vectors of the language model's width out.

A connector never sees pixels or text. It is told the patch grid, because the ones that merge or place patches need to
know which patch is beside which, and it says beforehand how many tokens it will make, because the renderer reserves
exactly that many visual slots.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn


class Connector(nn.Module):
    """forward(features [n, t, d], grid) -> tokens [n, n_tokens(grid), d_llm]; grid: (rows, columns), t = rows*columns.

    Features are in reading order (row by row), the class token already dropped.
    """

    def __init__(self, vision_width: int, language_width: int) -> None:
        super().__init__()
        self.vision_width, self.language_width = vision_width, language_width

    def n_tokens(self, grid: tuple[int, int]) -> int:
        """Tokens made of a picture with that grid. One a patch, unless a connector says otherwise."""
        rows, columns = grid
        return rows * columns

    def token_grid(self, grid: tuple[int, int]) -> tuple[int, int] | None:
        """Rows and columns of the tokens, in reading order; None where a token stands for no place."""
        return grid

    def check(self, features: Tensor, grid: tuple[int, int]) -> None:
        """Raises ValueError when the features are not [n, rows*columns, vision_width]: a fault of the caller."""
        rows, columns = grid
        if features.dim() != 3 or tuple(features.shape[1:]) != (rows * columns, self.vision_width):
            raise ValueError(
                f"features are {list(features.shape)}, expected [n, {rows * columns}, {self.vision_width}] "
                f"for a grid of {rows}x{columns} patches (is the class token still there?)"
            )


class ConnectorSettings(BaseModel, ABC):
    """What the connectors' configurations share: frozen, unknown keys refused. Each adds its `kind`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str

    @abstractmethod
    def build(self, vision_width: int, language_width: int) -> Connector:
        """A connector between those widths, freshly initialised by torch's seed."""

    def trained(self) -> ConnectorSettings:
        """What a checkpoint says of the connector: without what only its start was made from."""
        return self
