"""Open-vocabulary detectors through transformers: Grounding DINO, MM Grounding DINO, LLMDet, OWLv2, OmDet-Turbo.

They look for any phrase, so nothing is outside their vocabulary. One phrase a pass: phrases asked for together run into
one another in the detectors that return spans of the prompt.

OmDet-Turbo's own processor needs torchvision, which has no build for processors without a GPU; what it does before and
after the model is little, and done here.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from PIL import Image as PILImage

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
_OMDET_TOKENS = 77  # of CLIP's text model
Corners = tuple[float, float, float, float]


class OpenVocabulary:
    """A locator of any phrase. part: a hub id or folder of one of the detectors."""

    name = "open_vocabulary"
    names: frozenset[str] = frozenset()

    def __init__(self, part: str = DEFAULT, progress: ProgressCallback | None = None) -> None:
        from transformers import AutoConfig, AutoModelForZeroShotObjectDetection

        place = str(locate(part, progress))
        self.version = f"{part}-1"
        is_omdet = AutoConfig.from_pretrained(place).model_type == "omdet-turbo"
        self._prompting: _Prompting = _OmDet(place) if is_omdet else _Grounding(place)
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

        inputs = self._prompting.inputs(picture.pixels, names)
        with torch.inference_mode():
            outputs = self._model(**inputs)
        found = self._prompting.boxes(outputs, inputs, picture.size, names, (threshold, text_threshold))
        return [(phrase, Found(Box.from_unit(*corners), min(1.0, score))) for phrase, corners, score in found]

    def _look(self, picture: Picture, name: str) -> tuple[Found, ...]:
        return suppress([found for _, found in self.together(picture, [name], _FAINT, _FAINT)])


class _Prompting(Protocol):
    """What stands before and after a detector: from a picture and phrases to its inputs, from its outputs to boxes."""

    def inputs(self, pixels: PILImage.Image, names: Sequence[str]) -> dict[str, Any]: ...

    def boxes(
        self, outputs: Any, inputs: dict[str, Any], size: tuple[int, int], names: Sequence[str],
        thresholds: tuple[float, float],
    ) -> Iterable[tuple[str, Corners, float]]:
        """(phrase, corners as fractions of the picture of that (width, height), score) above the thresholds: of a box,
        and of a word of its phrase.
        """
        ...


class _Grounding:
    """The processors that all name their work alike: Grounding DINO's (LLMDet's too) and OWL's."""

    def __init__(self, place: str) -> None:
        from transformers import AutoProcessor

        self._processor: Any = AutoProcessor.from_pretrained(place)
        self._taken = inspect.signature(self._processor.post_process_grounded_object_detection).parameters

    def inputs(self, pixels: PILImage.Image, names: Sequence[str]) -> dict[str, Any]:
        return dict(self._processor(images=pixels, text=[list(names)], return_tensors="pt"))

    def boxes(
        self, outputs: Any, inputs: dict[str, Any], size: tuple[int, int], names: Sequence[str],
        thresholds: tuple[float, float],
    ) -> Iterable[tuple[str, Corners, float]]:
        width, height = size  # in pixels, since OWLv2 fills pictures up to a square and must know of which size
        options = {"outputs": outputs, "threshold": thresholds[0], "target_sizes": [(height, width)],
                   "input_ids": inputs.get("input_ids"), "text_threshold": thresholds[1],
                   "text_labels": [list(names)]}  # fmt: skip
        asked = {name: value for name, value in options.items() if name in self._taken}
        found = self._processor.post_process_grounded_object_detection(**asked)[0]
        labels = found.get("text_labels")
        if labels is None:
            labels = [names[int(label)] for label in found["labels"]]
        rows = zip(labels, found["boxes"].tolist(), found["scores"].tolist(), strict=True)
        for label, (x1, y1, x2, y2), score in rows:
            yield str(label), (x1 / width, y1 / height, x2 / width, y2 / height), score


class _OmDet:
    """OmDet-Turbo (arXiv:2403.06892): the phrases as its classes, and a task that says to detect them."""

    def __init__(self, place: str) -> None:
        from transformers import AutoImageProcessor, AutoTokenizer

        self._images: Any = AutoImageProcessor.from_pretrained(place)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(place)

    def inputs(self, pixels: PILImage.Image, names: Sequence[str]) -> dict[str, Any]:
        import torch

        inputs = dict(self._images(pixels, return_tensors="pt"))
        for what, words in (("classes", list(names)), ("tasks", [f"Detect {', '.join(names)}."])):
            encoded = self._tokenizer(
                words, padding="max_length", truncation=True, max_length=_OMDET_TOKENS, return_tensors="pt"
            )
            inputs |= {f"{what}_{key}": value for key, value in encoded.items() if key != "token_type_ids"}
        return inputs | {"classes_structure": torch.tensor([len(names)])}

    def boxes(
        self, outputs: Any, inputs: dict[str, Any], size: tuple[int, int], names: Sequence[str],
        thresholds: tuple[float, float],
    ) -> Iterable[tuple[str, Corners, float]]:
        scores = outputs.decoder_class_logits[0].sigmoid()  # [queries, phrases]
        best, which = scores[:, : len(names)].max(-1)
        rows = zip(outputs.decoder_coord_logits[0].tolist(), best.tolist(), which.tolist(), strict=True)
        for (x, y, width, height), score, number in rows:
            if score > thresholds[0]:
                yield names[number], (x - width / 2, y - height / 2, x + width / 2, y + height / 2), score
