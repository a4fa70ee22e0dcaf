"""The embedded detector: SSD-MobileNetV2 for COCO's 80 classes, run by OpenCV on the processor.

One pass a picture, whatever the number of sentences. It knows the 80 classes and other names for them (`words.yaml`);
of everything else it says that it does not know it. Doubles are suppressed within a class only: a man is a person, and
a person's box must not make the man beside it vanish.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from sensorium.correction.memo import Meter
from sensorium.correction.picture import Picture
from sensorium.correction.verifiers.base import BUDGET, OUTSIDE, Found, Located
from sensorium.correction.words import look_up, words
from sensorium.errors import SensoriumError
from sensorium.grounding import Box
from sensorium.parts import locate
from sensorium.progress import ProgressCallback

PART = "ssd-mobilenet-v2-coco"
_SIDE = 300  # pixels, what the network was made for
_FAINT = 0.05  # scores below it are noise
_SAME = 0.5  # intersection over union from which two boxes of a class are one thing
_KEPT = 64  # pictures whose boxes are remembered


class Detector:
    """A locator of COCO's classes. Its boxes are remembered for the pictures seen last."""

    name, version = "detector", "ssd-mobilenet-v2-coco-2"

    def __init__(self, progress: ProgressCallback | None = None) -> None:
        self._net = _load(Path(locate(PART, progress)))
        self._seen: OrderedDict[str, dict[str, tuple[Found, ...]]] = OrderedDict()
        self._lock = threading.Lock()  # OpenCV's networks answer one caller at a time
        self.names = frozenset(words().coco)

    def locate(self, picture: Picture, name: str, meter: Meter) -> Located:
        known = look_up(name, words().coco)
        if known is None:
            return Located(reason=OUTSIDE)
        if picture.digest not in self._seen and not meter.allows():
            return Located(reason=BUDGET)
        boxes = self.boxes(picture, meter)
        found = [one for label in known.classes for one in boxes.get(label, ())]
        return Located(tuple(sorted(found, key=lambda one: -one.score)), fit=known.fit, label=known.classes[0])

    def boxes(self, picture: Picture, meter: Meter) -> dict[str, tuple[Found, ...]]:
        """Class -> its boxes, best first."""
        with self._lock:
            if picture.digest not in self._seen:
                meter.count(self.name)
                self._seen[picture.digest] = self._look(picture.pixels)
                while len(self._seen) > _KEPT:
                    self._seen.popitem(last=False)
            self._seen.move_to_end(picture.digest)
            return self._seen[picture.digest]

    def _look(self, pixels: PILImage.Image) -> dict[str, tuple[Found, ...]]:
        import cv2

        small = np.asarray(pixels.resize((_SIDE, _SIDE), PILImage.Resampling.BILINEAR))
        self._net.setInput(cv2.dnn.blobFromImage(small, size=(_SIDE, _SIDE)))
        rows = self._net.forward()[0, 0]  # [n, 7]: -, class id, score, corners as fractions
        by_class: dict[str, list[Found]] = {}
        for _, label, score, *corners in rows:
            name = words().coco_ids.get(int(label))
            if name is not None and score >= _FAINT:
                by_class.setdefault(name, []).append(Found(Box.from_unit(*map(float, corners)), float(score)))
        return {name: suppress(found) for name, found in by_class.items()}


def suppress(found: list[Found]) -> tuple[Found, ...]:
    """Boxes of one class without doubles, best first."""
    kept: list[Found] = []
    for one in sorted(found, key=lambda one: -one.score):
        if all(one.box.iou(other.box) < _SAME for other in kept):
            kept.append(one)
    return tuple(kept)


def _load(folder: Path) -> Any:
    try:
        import cv2
    except ImportError as error:
        raise SensoriumError("detector", "needs OpenCV.", "Run `pip install 'sensorium[correct]'`.") from error
    try:
        return cv2.dnn.readNetFromTensorflow(
            str(folder / "frozen_inference_graph.pb"), str(folder / "ssd_mobilenet_v2_coco_2018_03_29.pbtxt")
        )
    except cv2.error as error:
        raise SensoriumError(folder, f"OpenCV {cv2.__version__} cannot read the detector's graph.",
                             "Install opencv-python-headless 4.x, or run `sensorium parts verify`.") from error
