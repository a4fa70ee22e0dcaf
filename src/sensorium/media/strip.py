"""Frames of a film side by side, each with its time: how a person sees at a glance what was taken from it.

Used by `sensorium info --draw` and the contact sheets of datasets; knows nothing of where frames come from.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

_GAP = 2  # pixels between frames
_LETTERS = 11


def strip_of(pictures: Sequence[Image.Image], labels: Sequence[str], across: int, width: int) -> Image.Image:
    """RGB, `across` pictures a row in reading order, each `width` pixels wide with its gap and as high as the first one
    then is, its label in its corner."""
    height = round(pictures[0].height * width / pictures[0].width)
    strip = Image.new("RGB", (min(across, len(pictures)) * width, -(-len(pictures) // across) * height), "white")
    pen, font = ImageDraw.Draw(strip), ImageFont.load_default(size=_LETTERS)
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x, y = number % across * width, number // across * height
        size = (max(1, width - _GAP), max(1, height - _GAP))
        strip.paste(picture.resize(size, Image.Resampling.BICUBIC), (x, y))
        pen.text((x + 3, y + 2), label, fill="white", font=font, stroke_width=1, stroke_fill="black")
    return strip
