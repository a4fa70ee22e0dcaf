"""Words in the picture, read by the OCR that `rapidocr` ships (PP-OCR through onnxruntime).

A reading that is near to what is claimed supports it; another reading in its place refutes it. Where nothing can be
read nothing is denied: small letters are often missed.
"""

from __future__ import annotations

import difflib
import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from sensorium.correction.memo import Meter
from sensorium.correction.picture import Picture
from sensorium.correction.records import Claim, Evidence
from sensorium.correction.verifiers.base import BUDGET
from sensorium.errors import SensoriumError
from sensorium.grounding import Box

_SAME = 0.85  # similarity from which two spellings are one reading
_RELATED = 0.4  # and from which one may have been misread for the other, in one picture of several readings
_KEPT = 64


class Text:
    """Whether words can be read in the picture."""

    name, version = "text", "rapidocr-1"
    names: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self._engine = _load()
        self._seen: OrderedDict[str, list[tuple[str, float, Box]]] = OrderedDict()

    def can(self, claim: Claim) -> bool:
        return claim.kind == "text"

    def verify(self, picture: Picture, claims: Sequence[Claim], meter: Meter) -> list[Evidence]:
        if picture.digest not in self._seen and not meter.allows():
            return [self._said(claim, None, BUDGET) for claim in claims]
        lines = self.lines(picture, meter)
        return [self._verify(claim, lines) for claim in claims]

    def lines(self, picture: Picture, meter: Meter) -> list[tuple[str, float, Box]]:
        """(words, score, box) of each line that can be read; one pass a picture."""
        if picture.digest not in self._seen:
            meter.count(self.name)
            found = self._engine(np.asarray(picture.pixels)[:, :, ::-1])
            self._seen[picture.digest] = [
                (str(words), float(score), _box(corners, picture.size))
                for words, score, corners in zip(found.txts or (), found.scores or (), _rows(found.boxes), strict=True)
            ]
            while len(self._seen) > _KEPT:
                self._seen.popitem(last=False)
        return self._seen[picture.digest]

    def _verify(self, claim: Claim, lines: list[tuple[str, float, Box]]) -> Evidence:
        claimed = _plain(claim.value)
        if not lines or not claimed:
            return self._said(claim, None, "nothing can be read")
        whole = _plain(" ".join(words for words, _, _ in lines))
        if claimed in whole:
            line = max(lines, key=lambda line: _likeness(claimed, _plain(line[0])))
            return self._said(claim, line[1], f"reads “{line[0]}”", line[0], (line[2],))
        words, score, box = max(lines, key=lambda line: _likeness(claimed, _plain(line[0])))
        likeness = _likeness(claimed, _plain(words))
        if likeness >= _SAME:
            return self._said(claim, score * likeness, f"reads “{words}”", words, (box,))
        if len(lines) == 1 or likeness >= _RELATED:
            return self._said(claim, 1 - score, f"reads “{words}”", words, (box,))
        return self._said(claim, None, "other words can be read, none in their place")

    def _said(
        self, claim: Claim, score: float | None, reason: str, observed: str | None = None, boxes: tuple[Box, ...] = ()
    ) -> Evidence:
        return Evidence(
            claim=claim.id, verifier=self.name, version=self.version, score=None if score is None else round(score, 4),
            aspect="" if score is None else "text", reason=reason, observed=observed, boxes=boxes,
        )  # fmt: skip


def _plain(words: str) -> str:
    return " ".join(re.findall(r"\w+", words.lower()))


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one.replace(" ", ""), other.replace(" ", "")).ratio()


def _rows(boxes: Any) -> list[Any]:
    return [] if boxes is None else list(boxes)


def _box(corners: Any, size: tuple[int, int]) -> Box:
    points = np.asarray(corners, dtype=float)
    (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
    return Box.from_pixels(float(x1), float(y1), float(x2), float(y2), *size)


def _load() -> Any:
    try:
        from rapidocr import RapidOCR
    except ImportError as error:
        raise SensoriumError("text", "needs rapidocr.", "Run `pip install 'sensorium[correct]'`.") from error
    return RapidOCR(params={"Global.log_level": "critical"})
