"""Colour by counting pixels inside the boxes of a locator, what looks like the surroundings left out.

The names of colours are cut as the scenes are labelled (`data.scenes.cutout`). Nothing is said where no one name covers
enough of a thing, nor between colours that run into one another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from sensorium.correction.memo import Meter
from sensorium.correction.picture import Picture
from sensorium.correction.records import Claim, Evidence
from sensorium.correction.verifiers.base import OUTSIDE, Locator
from sensorium.correction.verifiers.located import sure
from sensorium.data.records import COLOURS
from sensorium.data.scenes.cutout import name_colours
from sensorium.data.scenes.facts import neighbours
from sensorium.grounding import Box

_RING = 0.12  # of the box's sides, how wide a ring around it counts as its surroundings
_LIKE_SURROUNDINGS = 40.0  # distance in RGB below which a pixel is background
_LEAST_FOREGROUND = 0.1  # of the box; below it everything in it counts
_CLEAR = 0.45  # share of named pixels from which a colour is the thing's own
_LEAST_SIDE = 6  # pixels of a box; of fewer the edges are all that is seen
_LEAST_NAMED = 0.25  # of the foreground must have a name at all


class Colour:
    """Whether a thing has a colour; its boxes come from `locator`."""

    name = "colour"

    def __init__(self, locator: Locator) -> None:
        self.locator = locator
        self.version, self.names = f"1-{locator.version}", locator.names

    def can(self, claim: Claim) -> bool:
        return claim.kind == "colour"

    def verify(self, picture: Picture, claims: Sequence[Claim], meter: Meter) -> list[Evidence]:
        return [self._verify(picture, claim, meter) for claim in claims]

    def _verify(self, picture: Picture, claim: Claim, meter: Meter) -> Evidence:
        if claim.thing is None or claim.thing.name is None:
            return self._said(claim, None, OUTSIDE)
        located = self.locator.locate(picture, claim.thing.name, meter)
        boxes = sure(located)
        if not boxes:
            return self._said(claim, None, located.reason or "the thing was not found, so neither was its colour")
        boxes = [found for found in boxes if _is_large(found.box, picture.size)]
        if not boxes:
            return self._said(claim, None, "too small for its colour to be told")
        measured = [shares(picture.pixels, found.box) for found in boxes]
        scores = [agreement(claim.value, share) for share in measured]
        known = [score for score in scores if score is not None]
        if not known or (len(known) < len(scores) and max(known) < 0.5):
            return self._said(claim, None, "no one colour is plain in its box")
        # "A red ball" needs one red ball; "the balls are red" all of them.
        score = min(known) if claim.thing.is_plural else max(known)
        # What is seen in a box is worth no more than the box: the thing may be another one.
        score = 0.5 + (score - 0.5) * min(1.0, max(found.score for found in boxes))
        top = clear_colour(measured[0]) if len(boxes) == 1 else None
        reason = f"its box is {', '.join(f'{name} {share:.0%}' for name, share in leading(measured[0]))}"
        return self._said(claim, score, reason, top, tuple(found.box for found in boxes))

    def _said(
        self, claim: Claim, score: float | None, reason: str, observed: str | None = None, boxes: tuple[Box, ...] = ()
    ) -> Evidence:
        return Evidence(
            claim=claim.id, verifier=self.name, version=self.version, score=None if score is None else round(score, 4),
            aspect="" if score is None else "colour", reason=reason, observed=observed, boxes=boxes,
        )  # fmt: skip


def _is_large(box: Box, size: tuple[int, int]) -> bool:
    x1, y1, x2, y2 = box.to_pixels(*size)
    return min(x2 - x1, y2 - y1) >= _LEAST_SIDE


def shares(picture: PILImage.Image, box: Box) -> dict[str, float]:
    """Colour -> its share of the thing's pixels, 0–1; what has no plain name is in none of them."""
    x1, y1, x2, y2 = box.to_pixels(*picture.size)
    rx, ry = max(2.0, (x2 - x1) * _RING), max(2.0, (y2 - y1) * _RING)
    outer = picture.crop((max(0, int(x1 - rx)), max(0, int(y1 - ry)),
                          min(picture.width, int(x2 + rx) + 1), min(picture.height, int(y2 + ry) + 1)))  # fmt: skip
    outer.thumbnail((96, 96))
    rgb = np.asarray(outer, dtype=np.float32)
    height, width = rgb.shape[:2]
    left, top = (x1 - max(0, x1 - rx)) / (x2 - x1 + 2 * rx), (y1 - max(0, y1 - ry)) / (y2 - y1 + 2 * ry)
    rows, columns = np.mgrid[0:height, 0:width]
    inside = (columns >= left * width) & (columns < (1 - left) * width) & (rows >= top * height) & (
        rows < (1 - top) * height)  # fmt: skip
    hsv = np.asarray(outer.convert("HSV"), dtype=np.float32)
    named = name_colours(hsv[..., 0] * (360 / 256), hsv[..., 1] / 255, hsv[..., 2] / 255)
    thing = inside & ~_like_surroundings(rgb, inside)
    if thing.sum() < _LEAST_FOREGROUND * inside.sum():
        thing = inside
    counts = np.bincount(named[thing].ravel(), minlength=len(COLOURS) + 1)[: len(COLOURS)]
    total = max(1, int(thing.sum()))
    return {name: float(count) / total for name, count in zip(COLOURS, counts, strict=True)}


def _like_surroundings(rgb: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels near the middle colour of the ring around the box; none where the ring is of many colours."""
    ring = rgb[~inside]
    if not len(ring):
        return np.zeros_like(inside)
    middle = np.median(ring, axis=0)
    distance = np.linalg.norm(rgb - middle, axis=-1)
    is_even = np.median(np.linalg.norm(ring - middle, axis=-1)) < _LIKE_SURROUNDINGS
    return distance < _LIKE_SURROUNDINGS if is_even else np.zeros_like(inside)


def leading(share: dict[str, float], n: int = 2) -> list[tuple[str, float]]:
    """The colours with the largest shares."""
    return [item for item in sorted(share.items(), key=lambda item: -item[1])[:n] if item[1] > 0.05]


def clear_colour(share: dict[str, float]) -> str | None:
    """The one colour that a thing plainly has."""
    named = sum(share.values())
    colour, most = max(share.items(), key=lambda item: item[1])
    return colour if named >= _LEAST_NAMED and most >= _CLEAR * named else None


def agreement(claimed: str, share: dict[str, float]) -> float | None:
    """0–1, how far pixels agree with a colour; None where they do not tell."""
    named = sum(share.values())
    top = clear_colour(share)
    if top is None or (top != claimed and neighbours(top, claimed)):
        return None
    own = share[claimed] / named
    return 0.5 + 0.5 * own if top == claimed else 0.5 * min(1.0, own / (share[top] / named))
