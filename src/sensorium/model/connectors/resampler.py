"""One cross-attention from a grid of learned queries: Qwen-VL's adapter (arXiv:2308.12966, section 2.1 and appendix).

n queries stand on a square grid over the picture and read the image features once. Fixed 2-D sine-cosine positions are
added to queries and keys but not to values, so that positions steer where a query looks and are not themselves passed
on. Published: 256 queries (16x16), width 4096 in 32 heads, features of 1664 channels.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from sensorium.errors import SensoriumError
from sensorium.model.connectors.base import Connector, ConnectorSettings

HEAD_WIDTH = 128  # Qwen-VL's: 4096 / 32
EPSILON = 1e-6  # of its norms


def sine_cosine_positions(side: int, width: int) -> Tensor:
    """Fixed positions of a side x side grid, in reading order: [side*side, width] (as in MAE, arXiv:2111.06377).

    The first half of the channels tells the column, the second the row; each half is sines, then cosines, of the
    coordinate times 10000^(-k / (width/4)), k = 0, 1, …
    """
    frequencies = 10000 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * frequencies
    line = torch.cat([angles.sin(), angles.cos()], dim=1)  # [side, width/2]: one coordinate, either direction
    columns, rows = line[None].expand(side, -1, -1), line[:, None].expand(-1, side, -1)
    return torch.cat([columns, rows], dim=2).reshape(side * side, width).float()


def resize_positions(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """table: [side*side, d], square -> [rows*columns, d], bicubically (corners not aligned)."""
    side = math.isqrt(table.shape[0])
    if grid == (side, side):
        return table
    square = table.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    # In float32: bicubic weights of a half-precision table would be off by more than a position's step.
    resized = functional.interpolate(square.float(), size=grid, mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1).reshape(grid[0] * grid[1], -1).to(table.dtype)


class ResamplerConnector(Connector):
    """[n, t, d] -> [n, n_queries, d_llm], whatever the grid; width is that of the attention, [n, n_queries, width]."""

    positions: Tensor

    def __init__(self, vision_width: int, language_width: int, n_queries: int, width: int, n_heads: int) -> None:
        super().__init__(vision_width, language_width)
        self.n_queries = n_queries
        self.queries = nn.Parameter(torch.empty(n_queries, width))
        needs_projection = vision_width != width
        self.key_projection = nn.Linear(vision_width, width, bias=False) if needs_projection else nn.Identity()
        self.query_norm = nn.LayerNorm(width, eps=EPSILON)
        self.key_norm = nn.LayerNorm(width, eps=EPSILON)
        self.attention = nn.MultiheadAttention(width, n_heads, batch_first=True)
        self.post_norm = nn.LayerNorm(width, eps=EPSILON)
        self.projection = nn.Linear(width, language_width, bias=False)
        # Not saved: they follow from the widths alone.
        self.register_buffer("positions", sine_cosine_positions(math.isqrt(n_queries), width), persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        for module in (self.key_projection, self.projection):
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5)
        nn.init.trunc_normal_(self.queries, std=0.02)

    def n_tokens(self, grid: tuple[int, int]) -> int:
        return self.n_queries

    def token_grid(self, grid: tuple[int, int]) -> None:
        """Each query sees the whole picture."""

    def forward(self, features: Tensor, grid: tuple[int, int]) -> Tensor:
        self.check(features, grid)
        values = self.key_norm(self.key_projection(features))
        keys = values + resize_positions(self.positions, grid).to(values.dtype)
        queries = self.query_norm(self.queries) + self.positions
        queries = queries.to(values.dtype).expand(features.shape[0], -1, -1)
        read, _ = self.attention(queries, keys, values, need_weights=False)
        return self.projection(self.post_norm(read))


class ResamplerConfig(ConnectorSettings):
    """kind `resampler`. width: None for the language model's; n_heads: None for the most of 128 channels or more."""

    kind: Literal["resampler"] = "resampler"
    n_queries: int = Field(default=256, ge=1)
    width: int | None = Field(default=None, ge=4)
    n_heads: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _queries_make_a_square(self) -> ResamplerConfig:
        if math.isqrt(self.n_queries) ** 2 != self.n_queries:
            raise ValueError(f"n_queries {self.n_queries} is no square number; the queries stand on a square grid")
        return self

    def build(self, vision_width: int, language_width: int) -> ResamplerConnector:
        """Raises SensoriumError when the width does not split into heads, or into sines and cosines of two axes."""
        width = self.width or language_width
        most = max(1, width // HEAD_WIDTH)
        n_heads = self.n_heads or max(n for n in range(1, most + 1) if width % n == 0)
        if width % 4 or width % n_heads:
            raise SensoriumError(
                "connector.width",
                f"{width} must be divisible by 4 and by the {n_heads} heads.",
                "Set `width` or `n_heads` of the resampler.",
            )
        return ResamplerConnector(vision_width, language_width, self.n_queries, width, n_heads)
