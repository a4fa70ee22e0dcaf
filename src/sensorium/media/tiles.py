"""Schemes that cut a large picture into tiles and add a small whole: more pixels from an encoder of one size.

Each scheme is a settings class that plans canvases and views for a picture's size, exact to its published rule, and
lays out the visual tokens as the model of that rule reads them. `TilesConfig` is any of them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sensorium.errors import SensoriumError
from sensorium.media.views import Canvas, Size, View, Views, in_order

Grid = tuple[int, int]  # columns, rows


class Tiling(BaseModel, ABC):
    """What the schemes share: `scheme` names them in recipes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: str

    @abstractmethod
    def views(self, picture: Size, size: int, n_tokens: int, grid: tuple[int, int] | None) -> Views:
        """How a picture of that size is shown to an encoder of squares of `size` pixels.

        n_tokens: visual tokens of a square; grid: their rows and columns, None where they stand for no place.
        """

    @abstractmethod
    def fewer(self, size: int) -> Tiling | None:
        """The same scheme with fewer tiles at most; None where there is no fewer."""

    def added_tokens(self) -> tuple[str, ...]:
        """Tokens that the layout puts between visual ones; the model learns them."""
        return ()


class InternVLTiles(Tiling):
    """min_tiles to max_tiles squares in the grid whose shape is nearest to the picture's, which is resized onto all of
    them; then, where there are several, the whole picture as the last view (InternVL 1.5, arXiv:2404.16821).
    """

    scheme: Literal["internvl"] = "internvl"
    min_tiles: int = Field(default=1, ge=1, le=64)
    max_tiles: int = Field(default=12, ge=1, le=64)
    thumbnail: bool = True

    @model_validator(mode="after")
    def _in_order(self) -> InternVLTiles:
        if self.min_tiles > self.max_tiles:
            raise ValueError(f"min_tiles {self.min_tiles} is more than max_tiles {self.max_tiles}")
        return self

    def fewer(self, size: int) -> InternVLTiles | None:
        if self.max_tiles == 1:
            return None
        most = self.max_tiles - 1
        return self.model_copy(update={"max_tiles": most, "min_tiles": min(self.min_tiles, most)})

    def best_grid(self, picture: Size, size: int) -> Grid:
        """Of two shapes equally near, the larger one if the picture covers more than half of it."""
        width, height = picture
        sides = range(1, self.max_tiles + 1)
        grids = [(c, r) for c in sides for r in sides if self.min_tiles <= c * r <= self.max_tiles]
        best, nearest = (1, 1), math.inf
        for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
            off = abs(width / height - columns / rows)
            if off < nearest or (off == nearest and width * height > 0.5 * size * size * columns * rows):
                best, nearest = (columns, rows), off
        return best

    def views(self, picture: Size, size: int, n_tokens: int, grid: tuple[int, int] | None) -> Views:
        columns, rows = self.best_grid(picture, size)
        canvases, views = [Canvas.filled(columns * size, rows * size)], _cut(0, (columns, rows), size)
        if self.thumbnail and len(views) > 1:
            canvases.append(Canvas.filled(size, size))
            views.append(View(1))
        return Views(tuple(canvases), tuple(views), (size, size), n_tokens, grid, in_order(views, n_tokens))


class AnyResTiles(Tiling):
    """Any-res of LLaVA-NeXT: the picture squashed to a square, then, its shape kept and centred on black, cut into the
    one of `grids` (columns, rows) that keeps most of its pixels. Tokens that see nothing but the ground are left out
    again, and each row of the rest ends with a learned `<row>`.
    """

    scheme: Literal["anyres"] = "anyres"
    grids: tuple[Grid, ...] = Field(default=((1, 2), (2, 1), (2, 2), (3, 1), (1, 3)), min_length=1)

    def added_tokens(self) -> tuple[str, ...]:
        return ("<row>",)

    def fewer(self, size: int) -> AnyResTiles | None:
        most = max(columns * rows for columns, rows in self.grids)
        grids = tuple(grid for grid in self.grids if grid[0] * grid[1] < most)
        return self.model_copy(update={"grids": grids}) if grids else None

    def best_grid(self, picture: Size, size: int) -> Grid:
        """The grid that keeps most of the picture's pixels, then the one that wastes fewest of its own."""
        width, height = picture
        best, kept, wasted = self.grids[0], 0, math.inf
        for columns, rows in self.grids:
            scale = min(columns * size / width, rows * size / height)
            seen = min(int(width * scale) * int(height * scale), width * height)
            waste = columns * rows * size * size - seen
            if seen > kept or (seen == kept and waste < wasted):
                best, kept, wasted = (columns, rows), seen, waste
        return best

    def views(self, picture: Size, size: int, n_tokens: int, grid: tuple[int, int] | None) -> Views:
        """Raises SensoriumError for a connector whose tokens stand for no place: they have no rows."""
        if grid is None:
            raise SensoriumError("views.tiles", "is `anyres`, which needs visual tokens that stand in rows.",
                                 "Choose another connector, or the scheme `internvl`.")
        tiles = self.best_grid(picture, size)
        canvas = (tiles[0] * size, tiles[1] * size)
        canvases = (Canvas.filled(size, size), Canvas.centred(canvas, _fitted(picture, canvas), (0, 0, 0)))
        views = [View(0), *_cut(1, tiles, size)]
        layout = [*range(n_tokens), *_unpadded_rows(picture, tiles, grid)]
        return Views(canvases, tuple(views), (size, size), n_tokens, grid, tuple(layout))


class NanoVLMTiles(Tiling):
    """nanoVLM's rule: the longer side to the next multiple of the square (at most max_side), the shorter one in
    proportion, rounded up to a multiple; the whole first, then tiles in reading order, each announced by its place.
    """

    scheme: Literal["nanovlm"] = "nanovlm"
    max_side: int = Field(default=2048, ge=14, le=16384)
    always_max: bool = False

    def fewer(self, size: int) -> NanoVLMTiles | None:
        return None if self.most(size) == 1 else self.model_copy(update={"max_side": (self.most(size) - 1) * size})

    def most(self, size: int) -> int:
        """Tiles a side at most."""
        return max(1, self.max_side // size)

    def added_tokens(self) -> tuple[str, ...]:
        # One for each place that any encoder could need; the most is settled where the size of a square is known.
        return ("<global>", *(place(row, column) for row in range(8) for column in range(8)))

    def resized(self, picture: Size, size: int) -> Size:
        """Width and height, multiples of the square."""
        longest, shortest = max(picture), min(picture)
        top = self.most(size) * size
        long = top if self.always_max else min(top, math.ceil(longest / size) * size)
        # In whole numbers: the last bit of a ratio would round a square up to a row more than it has columns.
        short = -(-shortest * long // (longest * size)) * size
        return (long, short) if picture[0] >= picture[1] else (short, long)

    def views(self, picture: Size, size: int, n_tokens: int, grid: tuple[int, int] | None) -> Views:
        """Raises SensoriumError when max_side holds more than 8 squares: there is no token for a place beyond."""
        if self.most(size) > 8:
            raise SensoriumError("views.tiles.max_side", f"{self.max_side} holds more than 8 squares of {size} pixels.",
                                 f"Set at most {8 * size}.")
        width, height = self.resized(picture, size)
        columns, rows = width // size, height // size
        whole = Canvas.filled(width, height)
        if (columns, rows) == (1, 1):
            return Views((whole,), (View(0),), (size, size), n_tokens, grid, ("<global>", *range(n_tokens)))
        views = [View(1), *_cut(0, (columns, rows), size)]
        layout: list[int | str] = ["<global>", *range(n_tokens)]
        for number in range(columns * rows):
            start = (number + 1) * n_tokens
            layout += [place(*divmod(number, columns)), *range(start, start + n_tokens)]
        canvases = (whole, Canvas.filled(size, size, before=whole))
        return Views(canvases, tuple(views), (size, size), n_tokens, grid, tuple(layout))


TilesConfig = Annotated[InternVLTiles | AnyResTiles | NanoVLMTiles, Field(discriminator="scheme")]


def place(row: int, column: int) -> str:
    """The token that announces a tile, counted from 1."""
    return f"<row_{row + 1}_col_{column + 1}>"


def _cut(canvas: int, grid: Grid, size: int) -> list[View]:
    """Squares of a canvas, in reading order."""
    columns, rows = grid
    return [View(canvas, column * size, row * size) for row in range(rows) for column in range(columns)]


def _fitted(picture: Size, canvas: Size) -> Size:
    """As large as the canvas allows, shape kept; the shorter side is rounded up."""
    by_width, by_height = canvas[0] / picture[0], canvas[1] / picture[1]
    if by_width < by_height:
        return canvas[0], min(math.ceil(picture[1] * by_width), canvas[1])
    return min(math.ceil(picture[0] * by_height), canvas[0]), canvas[1]


def _unpadded_rows(picture: Size, tiles: Grid, grid: tuple[int, int]) -> list[int | str]:
    """Tokens of all tiles put together, in reading order, without those of the ground; `<row>` ends each row.

    The first view is the whole picture, so the tiles' tokens count from n_tokens on.
    """
    of_tile = grid[0] * grid[1]
    rows, columns = tiles[1] * grid[0], tiles[0] * grid[1]
    off_row = off_column = 0
    # Rounded at seven places, because a product like 0.29 * 100 would lose a row to the last bit.
    if picture[0] / picture[1] > columns / rows:
        off_row = (rows - int(round(picture[1] * (columns / picture[0]), 7))) // 2
    else:
        off_column = (columns - int(round(picture[0] * (rows / picture[1]), 7))) // 2
    layout: list[int | str] = []
    for row in range(off_row, rows - off_row):
        for column in range(off_column, columns - off_column):
            tile = (row // grid[0]) * tiles[0] + column // grid[1]
            layout.append((1 + tile) * of_tile + (row % grid[0]) * grid[1] + column % grid[1])
        layout.append("<row>")
    return layout
