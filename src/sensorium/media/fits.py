"""One view of a whole picture: squashed, padded, letterboxed, or at its own size.

Each is a published rule; its number-by-number twin in transformers is what the tests compare with.
"""

from __future__ import annotations

import math
from typing import Literal

from sensorium.errors import SensoriumError
from sensorium.media.views import Canvas, Colour, Size

Fit = Literal["squash", "pad", "letterbox", "native"]
LONGEST = 200  # times the shorter side, as Qwen2-VL's processor has it; beyond it a side would round to nothing


def squash(size: int) -> Canvas:
    """Resized to the square, shape not kept: InternVL's tiles, and what llama.cpp repeats."""
    return Canvas.filled(size, size)


def pad(picture: Size, size: int, ground: Colour) -> Canvas:
    """Put in the middle of a square as long as its longer side, then resized (LLaVA-1.5, arXiv:2310.03744)."""
    side = max(picture)
    return Canvas.filled(size, size, before=Canvas.centred((side, side), picture, ground))


def letterbox(picture: Size, size: int, ground: Colour) -> Canvas:
    """Resized until the longer side fits, then put in the middle of the square: no pixel of the ground is resized."""
    scale = size / max(picture)
    placed = max(1, round(picture[0] * scale)), max(1, round(picture[1] * scale))
    return Canvas.centred((size, size), placed, ground)


def native(picture: Size, multiple: int, min_pixels: int, max_pixels: int) -> Canvas:
    """At its own size: sides rounded to the multiple of a token's pixels, within a budget of pixels.

    Qwen2-VL's rule (arXiv:2409.12191, section 2.1). Raises SensoriumError for a strip too thin to have a token's width.
    """
    width, height = picture
    if max(picture) > LONGEST * min(picture):
        raise SensoriumError("picture", f"is {width} x {height} pixels, one side over {LONGEST} times the other.",
                             "Cut it, or choose another `fit`.")
    rounded = [round(side / multiple) * multiple for side in picture]
    area = rounded[0] * rounded[1]
    if area > max_pixels:
        shrink = math.sqrt(width * height / max_pixels)
        rounded = [max(multiple, math.floor(side / shrink / multiple) * multiple) for side in picture]
    elif area < min_pixels:
        grow = math.sqrt(min_pixels / (width * height))
        rounded = [math.ceil(side * grow / multiple) * multiple for side in picture]
    return Canvas.filled(rounded[0], rounded[1])
