"""Open-vocabulary detectors through transformers: Grounding DINO, MM Grounding DINO, LLMDet, OWLv2, OmDet-Turbo.

They look for any phrase, so nothing is outside their vocabulary. One phrase a pass: phrases asked for together run into
one another in the detectors that return spans of the prompt.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from sensorium.correction.memo import Meter
from sensorium.correction.picture import Picture
from sensorium.correction.verifiers.base import BUDGET, Found, Located
from sensorium.correction.verifiers.detector import suppress
from sensorium.grounding import Box
from sensorium.parts import locate
from sensorium.progress import ProgressCallback

DEFAULT = "iSEE-Laboratory/llmdet_tiny"
_FAINT = 0.05
_KEPT = 512


class OpenVocabulary:
    """A locator of any phrase. part: a hub id or folder of one of the detectors."""

    name = "open_vocabulary"
    names: frozenset[str] = frozenset()

    def __init__(self, part: str = DEFAULT, progress: ProgressCallback | None = None) -> None:
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        place = str(locate(part, progress))
        self.version = f"{part}-1"
        self._processor: Any = AutoProcessor.from_pretrained(place)
        self._model: Any = AutoModelForZeroShotObjectDetection.from_pretrained(place).eval()
        self._seen: OrderedDict[tuple[str, str], tuple[Found, ...]] = OrderedDict()

    def locate(self, picture: Picture, name: str, meter: Meter) -> Located:
        key = (picture.digest, name)
        if key not in self._seen:
            if not meter.allows():
                return Located(reason=BUDGET)
            meter.count(self.name)
            self._seen[key] = self._look(picture, name)
            while len(self._seen) > _KEPT:
                self._seen.popitem(last=False)
        return Located(self._seen[key], label=name)

    def together(
        self, picture: Picture, names: Sequence[str], threshold: float, text_threshold: float
    ) -> list[tuple[str, Found]]:
        """(phrase, box) of several things looked for in one pass, as Grounding DINO is asked with a prompt of them all.

        threshold, text_threshold: scores below which a box, and a word of its phrase, are dropped. Detectors that
        return spans of the prompt may return other phrases than `names`.
        """
        import torch

        width, height = picture.size
        inputs = self._processor(images=picture.pixels, text=[list(names)], return_tensors="pt")
        with torch.inference_mode():
            outputs = self._model(**inputs)
        process = self._processor.post_process_grounded_object_detection
        options = {"outputs": outputs, "threshold": threshold, "target_sizes": [(height, width)],
                   "input_ids": inputs.get("input_ids"), "text_threshold": text_threshold,
                   "text_labels": [list(names)]}  # fmt: skip
        taken = inspect.signature(process).parameters
        found = process(**{name: value for name, value in options.items() if name in taken})[0]
        labels = found["text_labels"]
        if labels is None:
            labels = [names[int(label)] for label in found["labels"]]
        return [
            (str(label), Found(Box.from_unit(x1 / width, y1 / height, x2 / width, y2 / height), min(1.0, float(score))))
            for label, (x1, y1, x2, y2), score in zip(labels, found["boxes"].tolist(), found["scores"], strict=True)
        ]  # fmt: skip

    def _look(self, picture: Picture, name: str) -> tuple[Found, ...]:
        return suppress([found for _, found in self.together(picture, [name], _FAINT, _FAINT)])
