"""Neighbouring patches side by side on the channels, then an MLP: InternVL's connector (arXiv:2404.16821).

The default here. s x s patches become one token of s*s*d channels, so 16x16 patches make 64 tokens (s = 2) or 16
(s = 4), and no patch is thrown away. The order of the channels within a block is InternVL's version 2: down the rows
slowest, then along the row, then the patch's own channels. llama.cpp's `internvl` projector assumes this order and the
shape LayerNorm -> Linear -> GELU -> Linear exactly, which is why there is nothing to configure but s.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from sensorium.errors import SensoriumError
from sensorium.model.connectors.base import Connector, ConnectorSettings


def pixel_shuffle(features: Tensor, grid: tuple[int, int], factor: int) -> Tensor:
    """features: [n, rows*columns, d] -> [n, rows/s * columns/s, s*s*d], blocks in reading order.

    Channel (i*s + j)*d + c of a token is channel c of the patch at row i, column j of its block.
    """
    n, _, width = features.shape
    rows, columns = grid[0] // factor, grid[1] // factor
    blocks = features.reshape(n, rows, factor, columns, factor, width).transpose(2, 3)
    return blocks.reshape(n, rows * columns, factor * factor * width)


class PixelShuffleConnector(Connector):
    """[n, rows*columns, d] -> [n, rows*columns/s^2, d_llm]. Raises SensoriumError when s does not divide the grid."""

    def __init__(self, vision_width: int, language_width: int, factor: int) -> None:
        super().__init__(vision_width, language_width)
        self.factor = factor
        merged = vision_width * factor * factor
        self.norm = nn.LayerNorm(merged)
        self.linear_1 = nn.Linear(merged, language_width)
        self.activation = nn.GELU()
        self.linear_2 = nn.Linear(language_width, language_width)

    def n_tokens(self, grid: tuple[int, int]) -> int:
        rows, columns = grid
        if rows % self.factor or columns % self.factor:
            raise SensoriumError(
                "connector.factor",
                f"{self.factor} does not divide the grid of {rows}x{columns} patches.",
                f"Choose a picture size whose patches a side are a multiple of {self.factor}.",
            )
        return (rows // self.factor) * (columns // self.factor)

    def token_grid(self, grid: tuple[int, int]) -> tuple[int, int]:
        return grid[0] // self.factor, grid[1] // self.factor

    def forward(self, features: Tensor, grid: tuple[int, int]) -> Tensor:
        self.check(features, grid)
        self.n_tokens(grid)
        merged = self.norm(pixel_shuffle(features, grid, self.factor))
        return self.linear_2(self.activation(self.linear_1(merged)))


class PixelShuffleConfig(ConnectorSettings):
    """kind `pixel_shuffle`: factor 2 makes a quarter as many tokens as patches, factor 4 a sixteenth."""

    kind: Literal["pixel_shuffle"] = "pixel_shuffle"
    factor: Literal[2, 4] = 2

    def build(self, vision_width: int, language_width: int) -> PixelShuffleConnector:
        return PixelShuffleConnector(vision_width, language_width, self.factor)
