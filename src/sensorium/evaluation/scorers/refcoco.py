"""RefCOCO, RefCOCO+, RefCOCOg: the share of phrases whose box overlaps the true one by at least a half (IoU).

Rows of the true boxes as Qwen-VL and InternVL lay them out, {image, sent, bbox: [x1, y1, x2, y2] in pixels, width,
height}, with predictions {answer} in the same order; or one file of {answer, gt_bbox, hw: [height, width]}.

variants are the conventions in which models write boxes, each with the parser of its harness, and none of them guesses
but one: `official` (Qwen-VL: `(x1,y1),(x2,y2)` over 999), `internvl` (`[x1, y1, x2, y2]` over 1000), `lmms-eval`
(`[x1, y1, x2, y2]` of the unit square), `vlmevalkit` (four numbers; the largest decides whether they are of the unit
square, per mille or pixels, so that pixel boxes below 1000 are misread). A reply without a box counts as wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sensorium.errors import SensoriumError
from sensorium.evaluation.intervals import Clusters
from sensorium.evaluation.scorers.outcome import Outcome, known_variant
from sensorium.evaluation.scorers.rows import Rows, read_rows, same_length

VARIANTS = ("official", "internvl", "lmms-eval", "vlmevalkit")
ENOUGH = 0.5
_THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)

Corners = tuple[float, float, float, float]
_PLAIN = r"(-?\d+(?:\.\d+)?)"
_UNIT = re.compile(rf"\[\s*{_PLAIN},\s*{_PLAIN},\s*{_PLAIN},\s*{_PLAIN}\s*\]")
_ANY = r"((?>[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?))"
_APART = r"(?:\s*,\s*|\s+)"
_ANY_BRACKETS = re.compile(rf"\[\s*{_ANY}{_APART}{_ANY}{_APART}{_ANY}{_APART}{_ANY}\s*\]")


@dataclass(frozen=True)
class BoxReply:
    """box: x1, y1, x2, y2 in pixels of a picture of that size; picture: whose phrases belong together."""

    box: Corners
    width: float
    height: float
    reply: str
    picture: str | None = None


def read(answers: Path, questions: Path | None = None) -> list[BoxReply]:
    """Raises SensoriumError naming file and line."""
    given = read_rows(answers)
    asked = given if questions is None else read_rows(questions)
    same_length(asked, given)
    found = [_reply(asked, i, given.text(i, "answer")) for i in range(len(asked))]
    if not found:
        raise SensoriumError(asked.path, "holds no boxes.")
    return found


def _reply(asked: Rows, i: int, answer: str) -> BoxReply:
    row = asked[i]
    if "gt_bbox" in row:
        box, (height, width) = asked.numbers(i, "gt_bbox", 4), asked.numbers(i, "hw", 2)
    elif "bbox" in row:
        box = asked.numbers(i, "bbox", 4)
        width, height = asked.number(i, "width"), asked.number(i, "height")
    else:
        raise asked.fault(i, "has neither `bbox` nor `gt_bbox`.", "True boxes: --questions FILE.")
    if width <= 0 or height <= 0:
        raise asked.fault(i, f"the picture's size is {width} x {height}.")
    picture = row.get("image")
    return BoxReply((box[0], box[1], box[2], box[3]), width, height, answer, str(picture) if picture else None)


def parse(reply: BoxReply, variant: str = "official") -> Corners | None:
    """The box that a reply means, in pixels (in the unit square for `lmms-eval`); None where its parser finds none."""
    return _PARSERS[variant](reply)


def _qwen(reply: BoxReply) -> Corners | None:
    """The first `(…),(…)` within a line, however long it is; the two brackets must hold two numbers each.

    Done by steps, as the next one: the tools' regular expressions find the same, but a reply that is all opening
    brackets keeps them busy for hours.
    """
    for line in reply.reply.split("\n"):
        start = line.find("(") + 1
        middle = line.find("),(", start)
        end = line.find(")", middle + 3)
        if start and middle >= 0 and end >= 0:
            points = line[start:middle].split(","), line[middle + 3 : end].split(",")
            return _scaled(_floats([*points[0], *points[1]]), 999, reply) if len(points[0]) == len(points[1]) else None
    return None


def _internvl(reply: BoxReply) -> Corners | None:
    """The first `[…,…,…,…]` within a line, over 1000, unless the four add up to less than four: then they are taken for
    a unit square's. What stands before the third comma is three numbers, what follows up to a bracket the fourth."""
    lines = (line[line.find("[") :].lstrip("[") for line in reply.reply.split("\n") if "[" in line)
    parts = (line.split(",", 3) for line in lines)
    found = next((part for part in parts if len(part) == 4 and "]" in part[3]), None)
    corners = _floats([*found[:3], found[3].split("]", 1)[0]]) if found else None
    if corners is None:
        return None
    return _scaled(corners, 1000 if sum(corners) >= 4 else 1, reply)


def _unit(reply: BoxReply) -> Corners | None:
    found = _UNIT.search(reply.reply)
    return _floats(list(found.groups())) if found else None


def _guessed(reply: BoxReply) -> Corners | None:
    found = _ANY_BRACKETS.search(reply.reply)
    numbers = list(found.groups()) if found else re.findall(_ANY, reply.reply)[:4]
    corners = _floats(numbers)
    if corners is None:
        return None
    largest = max(map(abs, corners))
    scale = 1.0 if largest <= 1.5 else 1000.0 if largest <= 1000 else 0.0
    width, height = reply.width, reply.height
    across = [value / scale * width if scale else value for value in corners[0::2]]
    down = [value / scale * height if scale else value for value in corners[1::2]]
    x1, x2 = sorted(min(max(value, 0.0), width) for value in across)
    y1, y2 = sorted(min(max(value, 0.0), height) for value in down)
    return x1, y1, x2, y2


_PARSERS: dict[str, Callable[[BoxReply], Corners | None]] = {
    "official": _qwen, "internvl": _internvl, "lmms-eval": _unit, "vlmevalkit": _guessed,
}  # fmt: skip


def _floats(texts: Sequence[str]) -> Corners | None:
    try:
        x1, y1, x2, y2 = map(float, texts)
    except ValueError:
        return None
    return x1, y1, x2, y2


def _scaled(corners: Corners | None, over: float, reply: BoxReply) -> Corners | None:
    """In pixels, rounded as the tools' float32 rounds: it decides boxes that overlap by just a half."""
    if corners is None:
        return None
    with np.errstate(over="ignore", invalid="ignore"):  # a model may write any number
        sides = np.asarray((reply.width, reply.height) * 2, np.float32)
        x1, y1, x2, y2 = np.asarray(corners, np.float32) / np.float32(over) * sides
    return float(x1), float(y1), float(x2), float(y2)


def overlap(reply: BoxReply, variant: str = "official") -> float:
    """Intersection over union of the reply's box and the true one; 0 without a box.

    Corners in the wrong order are not put in order (but by `vlmevalkit`): the tools do not either.
    """
    said = parse(reply, variant)
    if said is None:
        return 0.0
    true = np.asarray(reply.box)
    if variant == "lmms-eval":
        true = true / np.asarray((reply.width, reply.height) * 2)
    kind = np.float32 if variant in ("official", "internvl") else np.float64
    with np.errstate(over="ignore"):  # a file may hold any number
        return _iou(np.asarray(said, kind), true.astype(kind))


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    with np.errstate(all="ignore"):  # a box of nothing or of infinity: the comparison below is false
        sides = np.maximum(np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]), 0)
        shared = sides[0] * sides[1]
        areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
        found = float(shared / (areas[0] + areas[1] - shared))
    return found if np.isfinite(found) else 0.0


def score(replies: Sequence[BoxReply], variant: str = "official") -> Outcome:
    """`precision` at an overlap of a half, 0-1 (percent for `vlmevalkit`), `mean_iou`, and `at` other overlaps."""
    scale = 100 if known_variant(variant, VARIANTS) == "vlmevalkit" else 1
    overlaps = [overlap(reply, variant) for reply in replies]
    clusters = Clusters()
    for reply, one in zip(replies, overlaps, strict=True):
        clusters.add(reply.picture, one >= ENOUGH, 1)
    n = len(replies)
    values = {
        "precision": scale * sum(one >= ENOUGH for one in overlaps) / n,
        "mean_iou": sum(overlaps) / n,
        "at": {str(least): scale * sum(one >= least for one in overlaps) / n for least in _THRESHOLDS},
        "boxes": n,
        "unparsed": sum(parse(reply, variant) is None for reply in replies),
    }
    return Outcome("refcoco", variant, values, {"precision": clusters.mean_interval(scale)})
