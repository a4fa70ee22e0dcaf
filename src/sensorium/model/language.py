"""The language model: any `transformers` causal LM, optionally with LoRA adapters by peft.

Adapters are injected into the module itself rather than wrapped around it, so that the model's class, its names and the
way it is called stay the same with and without them; merged, they cost nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from sensorium.model.lora import fuse_adapters
from sensorium.model.pretrained import load_pretrained
from sensorium.model.unread import unread_language
from sensorium.parts import converted
from sensorium.progress import ProgressCallback


class LoraConfig(BaseModel):
    """Low-rank adapters (LoRA, arXiv:2106.09685) on every linear layer of the blocks, as LLaVA-1.5's LoRA recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class LanguageConfig(BaseModel):
    """part: a causal language model (hub id, folder, package part or known name).

    chat_template: a Jinja template as `tokenizer.chat_template` holds it, for models that bring none (base models,
    Vicuna). What it prints after an assistant's words must begin with a special token, which ends the turn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    part: str
    chat_template: str | None = None

    def build(self, progress: ProgressCallback | None = None, unread: bool = False) -> tuple[nn.Module, Any]:
        """The model in float32 and its tokenizer. Raises SensoriumError when the part cannot be had.

        unread: leave its layers' numbers in their files where that can be, see `model.unread`.
        """
        from transformers import AutoModelForCausalLM

        folder = language_folder(self.part, progress)
        if unread and (later := unread_language(folder, self.part)) is not None:
            return later, self.tokenizer(progress)
        model = load_pretrained(AutoModelForCausalLM, folder, self.part, dtype=torch.float32)
        return model, self.tokenizer(progress)

    def tokenizer(self, progress: ProgressCallback | None = None) -> Any:
        """The part's tokenizer with the template it is to use. Raises SensoriumError when the part cannot be had."""
        from transformers import AutoTokenizer

        tokenizer = load_pretrained(AutoTokenizer, language_folder(self.part, progress), self.part)
        if self.chat_template is not None:
            tokenizer.chat_template = self.chat_template
        return tokenizer


def language_folder(part: str, progress: ProgressCallback | None = None) -> Path | str:
    """A folder that AutoModelForCausalLM reads: a GGUF package part is dequantized once into the cache."""
    from sensorium.model.gguf_language import convert_gguf

    return converted(part, "language-1", lambda file, folder: convert_gguf(file, folder, progress), progress)


ADAPTER = "default"


def add_lora(language: nn.Module, config: LoraConfig) -> None:
    """Inject adapters into every linear layer but the head; B starts at zero, so the model's output does not change."""
    from peft import LoraConfig as PeftLoraConfig
    from peft import inject_adapter_in_model

    peft_config = PeftLoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]
        lora_dropout=config.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    trainable = {name for name, parameter in language.named_parameters() if parameter.requires_grad}
    inject_adapter_in_model(peft_config, language, adapter_name=ADAPTER)
    for module in language.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            # peft would turn every input into the adapters' float32 and autocast turn it back: two copies for nothing.
            module.cast_input_dtype_enabled = False  # type: ignore[assignment]
    fuse_adapters(language, ADAPTER)
    for name, parameter in language.named_parameters():  # peft freezes the rest; who trains is the stage's decision
        parameter.requires_grad_("lora_" in name or name.replace(".base_layer", "") in trainable)
