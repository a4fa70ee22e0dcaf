"""Set words in type: on a card or a sign to be pasted into a scene, or on a white page. The ink's boxes are exact.

Sizes of type are ems in pixels. A page counts them in points at 96 dots an inch, as screens and browsers do: 12 points
are 16 pixels, of which a small letter fills eight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sensorium.data.scenes.fonts import open_face

DOTS_PER_INCH, POINTS_PER_INCH = 96, 72
PAPERS = {
    "red": (196, 40, 44),
    "orange": (240, 142, 48),
    "yellow": (250, 222, 84),
    "green": (36, 128, 66),
    "blue": (40, 82, 186),
    "purple": (116, 62, 158),
    "pink": (246, 172, 198),
    "brown": (118, 76, 44),
    "black": (28, 28, 32),
    "white": (250, 250, 246),
    "gray": (168, 168, 168),
}
_DARK_INK, _LIGHT_INK = (22, 22, 28), (252, 252, 252)
_LIGHT = 140  # luminance from which a paper takes dark ink
_LINE_PITCH = 1.3  # ems from line to line
_INKED = 64  # of 255: from here a pixel is ink and not the soft rim of it
_TURNED_SHARE, _TURN = 0.5, 7  # of cards are turned, by degrees at most

PixelBox = tuple[int, int, int, int]
Lines = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Print:
    """A picture with words on it (RGBA), the box of each word's ink in it, line by line, and the box of it all."""

    picture: Image.Image
    words: tuple[tuple[PixelBox, ...], ...]
    box: PixelBox


def pixels_of(points: float) -> int:
    """The em of a type size in pixels."""
    return round(points * DOTS_PER_INCH / POINTS_PER_INCH)


def line_width(line: Sequence[str], face: str, pixels: int) -> float:
    return open_face(face, pixels).getlength(" ".join(line))


def print_card(lines: Lines, carrier: str, colour: str, face: str, pixels: int, rng: np.random.Generator) -> Print:
    """A card, or a sign on its post, with the lines centred on it; sometimes framed, rounded, a little turned."""
    font, paper = open_face(face, pixels), PAPERS[colour]
    ink = _DARK_INK if _luminance(paper) >= _LIGHT else _LIGHT_INK
    pad = pixels * rng.uniform(0.5, 1.0)
    width = round(max(font.getlength(" ".join(line)) for line in lines) + 2 * pad)
    height = round(pixels * _LINE_PITCH * len(lines) + 1.2 * pad)
    post = round(height * rng.uniform(0.6, 1.1)) if carrier == "sign" else 0
    picture = Image.new("RGBA", (width, height + post))
    pen = ImageDraw.Draw(picture)
    if post:
        half = max(2, round(width * 0.03))
        pen.rectangle((width // 2 - half, height - 2, width // 2 + half, height + post), fill=(96, 84, 74, 255))
    outline = ink if rng.random() < 0.5 else tuple(round(0.8 * part) for part in paper)
    pen.rounded_rectangle((0, 0, width - 1, height - 1), pixels * rng.choice((0, 0.15, 0.5)), (*paper, 255),
                          (*outline, 255), max(1, pixels // 12))  # fmt: skip
    masks: list[list[Image.Image]] = []
    top = (height - pixels * _LINE_PITCH * len(lines)) / 2
    for number, line in enumerate(lines):
        left = (width - font.getlength(" ".join(line))) / 2
        masks.append(_set_line(picture.size, line, (left, top + number * pixels * _LINE_PITCH), font))
    for mask in (mask for line in masks for mask in line):
        picture.paste((*ink, 255), mask=mask)
    if rng.random() < _TURNED_SHARE:
        angle = rng.uniform(-_TURN, _TURN)
        picture = picture.rotate(angle, Image.Resampling.BICUBIC, expand=True)
        masks = [[mask.rotate(angle, Image.Resampling.BICUBIC, expand=True) for mask in line] for line in masks]
    boxes = tuple(tuple(ink_box(mask) for mask in line) for line in masks)
    return Print(picture, boxes, ink_box(picture.getchannel("A")))


def print_block(
    page: Image.Image, lines: Lines, corner: tuple[int, int], face: str, pixels: int, pitch: float,
    ink: tuple[int, int, int],
) -> tuple[tuple[PixelBox, ...], ...]:
    """Set lines straight on a page from a corner, `pitch` ems apart; returns the box of each word's ink."""
    font, rim, boxes = open_face(face, pixels), pixels // 2, []
    for number, line in enumerate(lines):
        strip = (math.ceil(font.getlength(" ".join(line))) + 2 * rim, 2 * pixels + 2 * rim)
        left, top = corner[0] - rim, round(corner[1] + number * pixels * pitch) - rim
        found = []
        for mask in _set_line(strip, line, (rim, rim), font):
            page.paste(ink, (left, top), mask)
            x1, y1, x2, y2 = ink_box(mask)
            found.append((left + x1, top + y1, left + x2, top + y2))
        boxes.append(tuple(found))
    return tuple(boxes)


def ink_box(mask: Image.Image) -> PixelBox:
    """The box of what is plainly inked in a mask of coverage 0-255."""
    solid = mask.point([255 * (value >= _INKED) for value in range(256)])
    return solid.getbbox() or mask.getbbox() or (0, 0, *mask.size)


def _set_line(
    size: tuple[int, int], line: Sequence[str], corner: tuple[float, float], font: ImageFont.FreeTypeFont
) -> list[Image.Image]:
    """Each word of a line as a mask of its own, in its place."""
    masks, (left, top) = [], corner
    for word in line:
        mask = Image.new("L", size)
        ImageDraw.Draw(mask).text((round(left), round(top)), word, fill=255, font=font)
        masks.append(mask)
        left += font.getlength(word + " ")
    return masks


def _luminance(colour: tuple[int, int, int]) -> float:
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
