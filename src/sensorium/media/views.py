"""A picture's views: which squares are cut from it for a vision encoder, and where on the picture each of them looks.

A picture is resized onto one or more *canvases* (with a ground where it does not fill them), and views of one size are
cut from the canvases. `Views` keeps the arithmetic of that, so that what stands for a place in some view, a visual
token or a box that a model names, is brought back to the picture exactly, whatever the scheme. It opens no picture: a
scheme needs its width and height only, which a header tells.

Used by `model.views`, which makes tensors of the squares, and by engines that run a model elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from PIL import Image

Size = tuple[int, int]  # width, height in pixels
Corners = tuple[float, float, float, float]  # left, top, right, bottom
Colour = tuple[int, int, int]

WHOLE: Corners = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Canvas:
    """The picture resized to `placed` (left, top, width, height in pixels) of a ground of `size`.

    before: a canvas that is resized in the picture's place, for schemes that resize twice.
    """

    size: Size
    placed: tuple[int, int, int, int]
    ground: Colour = (0, 0, 0)
    before: Canvas | None = None

    @classmethod
    def filled(cls, width: int, height: int, before: Canvas | None = None) -> Canvas:
        """The picture resized to the whole canvas, whatever its shape."""
        return cls((width, height), (0, 0, width, height), before=before)

    @classmethod
    def centred(cls, size: Size, placed: Size, ground: Colour, before: Canvas | None = None) -> Canvas:
        """The picture resized to `placed`, in the middle of the canvas; an odd pixel is right or below."""
        corner = ((size[0] - placed[0]) // 2, (size[1] - placed[1]) // 2)
        return cls(size, (*corner, *placed), ground, before)

    def paint(self, picture: Image.Image) -> Image.Image:
        """RGB picture -> RGB canvas."""
        if self.before is not None:
            picture = self.before.paint(picture)
        left, top, width, height = self.placed
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        if self.size == (width, height):
            return picture
        canvas = Image.new("RGB", self.size, self.ground)  # type: ignore[arg-type]
        canvas.paste(picture, (left, top))
        return canvas

    def to_picture(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of the canvas -> fractions of the picture, outside 0–1 on the ground."""
        left, top, width, height = self.placed
        x, y = (x - left) / width, (y - top) / height
        return (x, y) if self.before is None else self.before.to_picture(x * self.before.size[0],
                                                                          y * self.before.size[1])

    def from_picture(self, x: float, y: float) -> tuple[float, float]:
        """Fractions of the picture -> pixels of the canvas."""
        if self.before is not None:
            x, y = self.before.from_picture(x, y)
            x, y = x / self.before.size[0], y / self.before.size[1]
        left, top, width, height = self.placed
        return left + x * width, top + y * height


@dataclass(frozen=True)
class View:
    """A square (or, at the picture's own size, a rectangle) of a canvas, by its number and upper left corner."""

    canvas: int
    left: int = 0
    top: int = 0


@dataclass(frozen=True)
class Views:
    """All views of one picture, in the order in which the encoder gets them.

    size: of every view. grid: rows and columns of a view's visual tokens; None where tokens stand for no place, as a
    Q-Former's; n_tokens: of a view. layout: what stands between the picture's marks in the prompt: numbers of visual
    tokens (view after view, in reading order), and names of added tokens between them.
    """

    canvases: tuple[Canvas, ...]
    views: tuple[View, ...]
    size: Size
    n_tokens: int
    grid: tuple[int, int] | None
    layout: tuple[int | str, ...]

    def __len__(self) -> int:
        return len(self.views)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Numbers of the visual tokens that stand in the prompt, in its order."""
        return tuple(item for item in self.layout if isinstance(item, int))

    @property
    def is_plain(self) -> bool:
        """Whether the visual tokens stand in the prompt as the encoder makes them, all of them, nothing between."""
        return self.layout == tuple(range(len(self.views) * self.n_tokens))

    def cut(self, picture: Image.Image) -> list[Image.Image]:
        """RGB picture -> RGB views."""
        painted = [canvas.paint(picture) for canvas in self.canvases]
        width, height = self.size
        boxes = [(view.left, view.top, view.left + width, view.top + height) for view in self.views]
        return [
            painted[view.canvas] if painted[view.canvas].size == self.size else painted[view.canvas].crop(box)
            for view, box in zip(self.views, boxes, strict=True)
        ]

    def to_picture(self, box: Corners, view: int) -> Corners:
        """A box in fractions of a view -> in fractions of the picture; outside 0–1 where it lies on the ground."""
        of, (width, height) = self.views[view], self.size
        canvas = self.canvases[of.canvas]
        left, top = canvas.to_picture(of.left + box[0] * width, of.top + box[1] * height)
        right, bottom = canvas.to_picture(of.left + box[2] * width, of.top + box[3] * height)
        return left, top, right, bottom

    def from_picture(self, box: Corners, view: int) -> Corners:
        """A box in fractions of the picture -> in fractions of a view; outside 0–1 where the view does not reach."""
        of, (width, height) = self.views[view], self.size
        canvas = self.canvases[of.canvas]
        left, top = canvas.from_picture(box[0], box[1])
        right, bottom = canvas.from_picture(box[2], box[3])
        return (left - of.left) / width, (top - of.top) / height, (right - of.left) / width, (bottom - of.top) / height

    def covers(self, token: int) -> Corners:
        """What a visual token, by its number, stands for, in fractions of the picture."""
        view, within = divmod(token, self.n_tokens)
        if self.grid is None:
            return self.to_picture(WHOLE, view)
        rows, columns = self.grid
        row, column = divmod(within, columns)
        box = (column / columns, row / rows, (column + 1) / columns, (row + 1) / rows)
        return self.to_picture(box, view)


def in_order(views: Sequence[View], n_tokens: int) -> tuple[int, ...]:
    """The layout in which every token of every view stands, nothing between."""
    return tuple(range(len(views) * n_tokens))
