"""A picture shrunk to the square that a vision encoder sees."""

from __future__ import annotations

from typing import Literal

from PIL import Image

Fit = Literal["squash", "pad"]


def to_square(picture: Image.Image, size: int, fit: Fit, mean: tuple[float, float, float]) -> Image.Image:
    """RGB picture -> RGB of size x size pixels.

    fit: `squash` resizes, as InternVL does for its tiles; `pad` first makes a square with borders of the mean colour
    (of values 0–1), as LLaVA-1.5 does.
    """
    if fit == "pad":
        side = max(picture.size)
        # Rounded down, as LLaVA and transformers' processor of it do.
        square = Image.new("RGB", (side, side), tuple(int(255 * m) for m in mean))  # type: ignore[arg-type]
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        picture = square
    return picture.resize((size, size), Image.Resampling.BICUBIC)
