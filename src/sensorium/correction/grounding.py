"""The names of what the embedded detector is sure to see: what detector guidance tells a model before its question."""

from __future__ import annotations

from functools import cached_property

from sensorium.conversation import Image
from sensorium.correction.memo import Meter
from sensorium.correction.picture import Picture
from sensorium.correction.verifiers.detector import Detector
from sensorium.engine.methods import DetectorGuidance, Method, SelfConsistency
from sensorium.progress import ProgressCallback


class DetectedNames:
    """From a picture to the classes found in it, the surest first. least: the score from which one counts.

    The detector is loaded at the first picture, so that this travels to other processes.
    """

    def __init__(self, least: float = 0.5, progress: ProgressCallback | None = None) -> None:
        self.least, self._progress = least, progress

    @cached_property
    def _detector(self) -> Detector:
        return Detector(self._progress)

    def __call__(self, image: Image) -> tuple[str, ...]:
        boxes = self._detector.boxes(Picture(image), Meter())
        best = {name: found[0].score for name, found in boxes.items() if found and found[0].score >= self.least}
        return tuple(sorted(best, key=lambda name: -best[name]))


def with_detector(
    method: Method | SelfConsistency, progress: ProgressCallback | None = None
) -> Method | SelfConsistency:
    """The method, with the embedded detector where it needs one."""
    if not isinstance(method, DetectorGuidance):
        return method
    return method.model_copy(update={"objects": DetectedNames(progress=progress)})
