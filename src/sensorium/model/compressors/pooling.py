"""Means of neighbouring tokens: 2-D adaptive average pooling, which DeCo (arXiv:2405.20985) found to be hard to beat.

DeCo pools before a connector that is trained with it; here the trained connector's own tokens are pooled. So `deco`
names the same rule.
"""

from __future__ import annotations

import math

import numpy as np

from sensorium.model.compressors.base import Array, Compressor, Seen


class Pool(Compressor):
    """The largest grid of the picture's own shape within the budget; each cell is the mean of the tokens it covers."""

    def count(self, n_tokens: int, grid: tuple[int, int] | None) -> int:
        if n_tokens <= self.budget:
            return n_tokens
        return self.budget if grid is None else math.prod(self._smaller(grid))

    def compress(self, seen: Seen, n: int) -> Array:
        if seen.grid is None:  # in a line, then
            return np.stack([part.mean(0) for part in np.array_split(seen.tokens, n)])
        rows, columns = seen.grid
        kept = self._smaller(seen.grid)
        table = seen.tokens.reshape(rows, columns, -1)
        pooled = _means(_means(table, kept[0], 0), kept[1], 1)
        return pooled.reshape(n, -1)

    def _smaller(self, grid: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns within the budget: of the grids with most cells, the one nearest to the picture's shape."""
        rows, columns = grid
        grids = [(r, min(columns, self.budget // r)) for r in range(1, min(rows, self.budget) + 1)]
        wanted = math.log(rows / columns)
        # A cell more is worth less than cells of even shape: 5 x 6 before 31 x 1 for a budget of 31.
        return min(grids, key=lambda g: (round(abs(math.log(g[0] / g[1]) - wanted), 1), -g[0] * g[1]))


def _means(table: Array, n: int, axis: int) -> Array:
    """Adaptive average pooling along an axis: cell i covers floor(i*m/n) up to ceil((i+1)*m/n), as torch has it."""
    m = table.shape[axis]
    cells = [
        table.take(range(i * m // n, -(-(i + 1) * m // n)), axis=axis).mean(axis, keepdims=True) for i in range(n)
    ]
    return np.concatenate(cells, axis=axis)
