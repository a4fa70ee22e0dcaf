"""What a model is made of, without its weights: parameters per module, visual tokens, memory.

The model is assembled on torch's `meta` device from its parts' configurations alone, so that a model which does not fit
into this machine can still be looked at before anybody downloads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from sensorium.media.sight import Sight
from sensorium.model.checkpoint import module_parameters
from sensorium.model.language import add_lora, language_folder
from sensorium.model.multimodal import ModelConfig, MultimodalModel
from sensorium.model.pretrained import load_pretrained
from sensorium.model.quiet import quietly
from sensorium.model.vision import VisionEncoder, vision_folder
from sensorium.parts import licence_of, parse_part
from sensorium.progress import ProgressCallback

# AdamW keeps, in float32, the weight itself, its gradient and two moments.
TRAINING_BYTES = 4 * 4


@dataclass(frozen=True)
class PartSummary:
    """One pretrained part. licence is empty when nobody told us."""

    role: str
    name: str
    source: str
    licence: str


@dataclass(frozen=True)
class ModelSummary:
    """parameters: of the modules `vision stem`, `vision tail`, `connector`, `tokens`, `language` and `lora`.

    sight: how pictures are shown, and what each costs. context_length: tokens of a conversation, 0 if the language
    model's configuration does not say. n_layers: of the language model.
    """

    parts: tuple[PartSummary, ...]
    parameters: dict[str, int]
    sight: Sight
    context_length: int
    n_layers: int

    @property
    def total(self) -> int:
        return sum(self.parameters.values())

    def weight_bytes(self, dtype: torch.dtype) -> int:
        """Memory of all weights in one type."""
        return self.total * dtype.itemsize


def skeleton(
    config: ModelConfig, progress: ProgressCallback | None = None, with_tokenizer: bool = False
) -> MultimodalModel:
    """The model with shapes and no numbers. Package parts are fetched, of others only the configuration is read.

    with_tokenizer: read that too, so that conversations can be rendered and measured.
    Raises SensoriumError when a part cannot be had.
    """
    with quietly():
        vision, language = config.vision.part, config.language.part
        vision_config = load_pretrained(AutoConfig, vision_folder(vision, progress), vision)
        language_config = load_pretrained(AutoConfig, language_folder(language, progress), language)
        tokenizer = config.language.tokenizer(progress) if with_tokenizer else None
        with torch.device("meta"):
            backbone = AutoModel.from_config(vision_config)
            encoder = VisionEncoder(getattr(backbone, "vision_model", backbone), config.vision)
            decoder = AutoModelForCausalLM.from_config(language_config)
            width = decoder.get_input_embeddings().weight.shape[1]
            connector = config.connector.build(encoder.width, width)
            model = MultimodalModel(encoder, connector, decoder, tokenizer, config)
            if config.lora is not None:
                add_lora(model.language, config.lora)
    return model


def summarise(config: ModelConfig, progress: ProgressCallback | None = None) -> ModelSummary:
    """Count what a model is made of. Raises SensoriumError when a part cannot be had."""
    model = skeleton(config, progress)
    parameters: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        row = _row(name)
        parameters[row] = parameters.get(row, 0) + parameter.numel()
    parts = (part_summary("vision", config.vision.part), part_summary("language", config.language.part))
    length = int(getattr(model.language.config, "max_position_embeddings", 0))  # type: ignore[union-attr]
    n_layers = model.language.config.get_text_config().num_hidden_layers  # type: ignore[union-attr, operator]
    return ModelSummary(parts, parameters, model.sight, length, n_layers)


def trainable(config: ModelConfig, modules: Iterable[str]) -> dict[str, int]:
    """How many parameters train when these modules do, module by module."""
    model = skeleton(config)
    return {name: sum(p.numel() for p in module_parameters(model, name).values()) for name in modules}


def _row(name: str) -> str:
    """The row of the table that a parameter belongs to."""
    if "lora_" in name:
        return "lora"
    module, _, rest = name.partition(".")
    if module == "vision":
        return "vision stem" if rest.startswith("stem.") else "vision tail"
    return "tokens" if module == "added_embeddings" else module


def part_summary(role: str, name: str) -> PartSummary:
    """A part as a recipe or checkpoint names it, and whose it is."""
    package = parse_part(name).package
    source = package.spec if package else name
    return PartSummary(role, name, source, licence_of(name))
