"""Boxes in text: `<ref>name</ref><box>(x1,y1),(x2,y2)</box>`, integers 0–999 of width and height (Qwen-VL's form).

Parse what a model wrote, format what it should write, convert to pixels, to 0–1 and to other models' conventions, draw.
A `Box` is always in thousandths of the picture, corners ordered; everything else is a conversion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from sensorium.errors import SensoriumError

SCALE = 1000  # a coordinate is floor(1000 * fraction), so 0–999

REF_OPEN, REF_CLOSE, BOX_OPEN, BOX_CLOSE = "<ref>", "</ref>", "<box>", "</box>"
MARKS = (REF_OPEN, REF_CLOSE, BOX_OPEN, BOX_CLOSE)


@dataclass(frozen=True)
class Box:
    """Corners in thousandths of width and height: 0 <= x1 <= x2 <= 999, likewise y."""

    x1: int
    y1: int
    x2: int
    y2: int

    def __post_init__(self) -> None:
        if not (0 <= self.x1 <= self.x2 < SCALE and 0 <= self.y1 <= self.y2 < SCALE):
            raise SensoriumError("box", f"{self.corners} is not 0 <= x1 <= x2 <= 999 and 0 <= y1 <= y2 <= 999.")

    @property
    def corners(self) -> tuple[int, int, int, int]:
        return self.x1, self.y1, self.x2, self.y2

    @classmethod
    def from_unit(cls, x1: float, y1: float, x2: float, y2: float) -> Box:
        """From fractions 0–1 of width and height; values outside are clamped, corners put in order."""
        # Clamped while still a float: a model may write infinity, which is no integer.
        cells = [int(min(SCALE - 1, max(0, v * SCALE))) for v in (x1, y1, x2, y2)]
        (x1_, x2_), (y1_, y2_) = sorted(cells[0::2]), sorted(cells[1::2])
        return cls(x1_, y1_, x2_, y2_)

    def to_unit(self) -> tuple[float, float, float, float]:
        """Fractions 0–1: the middle of each thousandth, so that `from_unit(*to_unit())` is the identity."""
        x1, y1, x2, y2 = ((v + 0.5) / SCALE for v in self.corners)
        return x1, y1, x2, y2

    @classmethod
    def from_pixels(cls, x1: float, y1: float, x2: float, y2: float, width: int, height: int) -> Box:
        """From pixel corners (x2, y2 exclusive) of a picture of that size."""
        return cls.from_unit(x1 / width, y1 / height, x2 / width, y2 / height)

    def to_pixels(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Pixel corners in a picture of that size."""
        x1, y1, x2, y2 = self.to_unit()
        return x1 * width, y1 * height, x2 * width, y2 * height

    def iou(self, other: Box) -> float:
        """Intersection over union of the two areas, 0–1; both corners' cells count as covered."""
        w = min(self.x2, other.x2) - max(self.x1, other.x1) + 1
        h = min(self.y2, other.y2) - max(self.y1, other.y1) + 1
        shared = max(0, w) * max(0, h)
        return shared / (self.area + other.area - shared)

    @property
    def area(self) -> int:
        """Cells covered, of a million."""
        return (self.x2 - self.x1 + 1) * (self.y2 - self.y1 + 1)


@dataclass(frozen=True)
class Grounded:
    """A name and where it is; `span` are the characters of the parsed text it came from."""

    name: str
    boxes: tuple[Box, ...]
    span: tuple[int, int] = (0, 0)


_POINT = r"\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)"
_BOX = re.compile(rf"<box>\s*{_POINT}\s*,\s*{_POINT}\s*</box>")
_ANY_POINT = r"\(\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*\)"
_WRITTEN = re.compile(rf"<box>\s*{_ANY_POINT}\s*,\s*{_ANY_POINT}\s*</box>")
# The blanks belong to the name: free ones in front would be tried again from each of them, quadratic in a long row.
_GROUND = re.compile(rf"(?:<ref>(?P<name>[^<]*)</ref>\s*)?(?P<boxes>(?:{_BOX.pattern}\s*)+)")
_MARK = re.compile(f"({'|'.join(MARKS)})")


def format_grounded(name: str, *boxes: Box) -> str:
    """`<ref>name</ref><box>(x1,y1),(x2,y2)</box>…`; without a name only the boxes.

    Raises SensoriumError for a name with `<` in it: it could not be told from a mark when read back.
    """
    if "<" in name:
        raise SensoriumError("name", f"{name!r} holds `<`, which only marks may.", "Leave it out.")
    ref = f"{REF_OPEN}{name}{REF_CLOSE}" if (name := name.strip()) else ""
    return ref + "".join(f"{BOX_OPEN}({b.x1},{b.y1}),({b.x2},{b.y2}){BOX_CLOSE}" for b in boxes)


def parse_grounded(text: str) -> list[Grounded]:
    """Every grounded name in a reply, in order. Corners in the wrong order are swapped; marks that do not close, and
    numbers that do not fit, are plain text and skipped: a reply is never an error."""
    found = []
    for match in _GROUND.finditer(text):
        boxes = tuple(
            Box(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
            for x1, y1, x2, y2 in (map(int, box.groups()) for box in _BOX.finditer(match["boxes"]))
        )
        end = match.start() + len(match[0].rstrip())
        found.append(Grounded((match["name"] or "").strip(), boxes, (match.start(), end)))
    return found


def marks_apart(text: str) -> Iterator[tuple[str, bool]]:
    """A reply in pieces that are all of it: (mark, True) for those of well-formed grounding, (text, False)."""
    position = 0
    for item in parse_grounded(text):
        start, end = item.span
        if start > position:
            yield text[position:start], False
        yield from ((piece, piece in MARKS) for piece in _MARK.split(text[start:end]) if piece)
        position = end
    if text[position:]:
        yield text[position:], False


def box_fault(text: str) -> str:
    """What is wrong with the first box in a text to learn from that cannot be meant so; nothing where all are right.

    Unlike a reply's, such boxes are not mended: a model learns them as they stand. What is not written as two points
    is not judged.
    """
    for match in _WRITTEN.finditer(text):
        numbers = [float(value) for value in match.groups()]
        x1, y1, x2, y2 = numbers
        if not all(value.is_integer() and 0 <= value < SCALE for value in numbers):
            return f"box {match[0][len(BOX_OPEN) : -len(BOX_CLOSE)]} is not four integers 0–999."
        if x1 > x2 or y1 > y2:
            return f"box {match[0][len(BOX_OPEN) : -len(BOX_CLOSE)]} has its corners swapped: the upper left is first."
    return ""


def to_convention(box: Box, convention: str, width: int, height: int) -> tuple[float, float, float, float]:
    """A box as other models and data sets write it.

    convention: `unit` (LLaVA: 0–1, x1 y1 x2 y2), `pixels` (x1 y1 x2 y2), `coco` (pixels, x y width height),
    `paligemma` (0–1023, y1 x1 y2 x2), `thousand` (Qwen-VL, ours). Raises SensoriumError for another name.
    """
    x1, y1, x2, y2 = box.to_unit()
    if convention == "unit":
        return x1, y1, x2, y2
    if convention == "pixels":
        return box.to_pixels(width, height)
    if convention == "coco":
        return x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height
    if convention == "paligemma":
        return tuple(float(int(v * 1024)) for v in (y1, x1, y2, x2))  # type: ignore[return-value]
    if convention == "thousand":
        return tuple(map(float, box.corners))  # type: ignore[return-value]
    raise SensoriumError("convention", f"unknown {convention!r}.", f"Known: {', '.join(CONVENTIONS)}.")


def from_convention(values: tuple[float, float, float, float], convention: str, width: int, height: int) -> Box:
    """The inverse of `to_convention`; exact: `from_convention(to_convention(box)) == box`."""
    a, b, c, d = values
    if convention == "unit":
        return Box.from_unit(a, b, c, d)
    if convention == "pixels":
        return Box.from_pixels(a, b, c, d, width, height)
    if convention == "coco":
        return Box.from_pixels(a, b, a + c, b + d, width, height)
    if convention == "paligemma":
        return Box.from_unit(*((v + 0.5) / 1024 for v in (b, a, d, c)))
    if convention == "thousand":
        return Box(*(int(v) for v in values))
    raise SensoriumError("convention", f"unknown {convention!r}.", f"Known: {', '.join(CONVENTIONS)}.")


CONVENTIONS = ("unit", "pixels", "coco", "paligemma", "thousand")

_COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#000075")


def colours_of(grounded: list[Grounded]) -> dict[str, str]:
    """The colour (`#rrggbb`) of each name's boxes, by the order in which names first come."""
    names = dict.fromkeys(item.name for item in grounded)
    return {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}


def draw_grounded(picture: Image.Image, grounded: list[Grounded]) -> Image.Image:
    """A copy of the picture with each name's boxes, one colour a name. The picture itself stays as it was."""
    copy = picture.convert("RGB")
    pen = ImageDraw.Draw(copy)
    line = max(2, round(min(copy.size) / 160))
    font = ImageFont.load_default(size=max(11, round(min(copy.size) / 22)))
    colours = colours_of(grounded)
    for item in grounded:
        colour = colours[item.name]
        for box in item.boxes:
            x1, y1, x2, y2 = box.to_pixels(*copy.size)
            pen.rectangle((x1, y1, x2, y2), outline=colour, width=line)
            if item.name:
                left, top, right, bottom = pen.textbbox((x1, y1), item.name, font=font)
                y = max(0, y1 - (bottom - top) - 4)
                pen.rectangle((x1, y, x1 + right - left + 6, y + bottom - top + 6), fill=colour)
                pen.text((x1 + 3, y + 1), item.name, fill="white", font=font)
    return copy
