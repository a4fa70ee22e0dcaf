"""A model folder of transformers: loaded as data, never as code, and what it tells about itself."""

from __future__ import annotations

import inspect
import math
import re
from pathlib import Path
from typing import Any

import yaml

from sensorium.errors import SensoriumError
from sensorium.model.pretrained import load_pretrained


def load_folder(folder: Path, name: str, dtype: Any) -> tuple[Any, Any]:
    """(model, processor, or the tokenizer alone of a model that sees nothing); the model in eval mode.

    Weights are safetensors and code is transformers' own, whatever the folder asks for.
    Raises SensoriumError when the folder has neither a model nor weights that can be read so.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    if not any(folder.glob("*.safetensors")):
        raise SensoriumError(name, "has no weights in safetensors.", "Older forms can hold programs; convert them.")
    config, processor, sees = read_folder(folder, name)
    auto = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    model = _read(auto, folder, name, config=config, dtype=dtype, use_safetensors=True)
    return model.eval().requires_grad_(False), processor


def read_folder(folder: Path, name: str) -> tuple[Any, Any, bool]:
    """(config, processor or tokenizer, whether the model sees): all but the weights. Raises as `load_folder`."""
    from transformers import AutoConfig, AutoTokenizer
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING as SEEING

    config = _read(AutoConfig, folder, name)
    sees = type(config) in SEEING
    return config, _read(_processor_class(config) if sees else AutoTokenizer, folder, name), sees


class _NoVideos:
    """For a processor: without the part that reads videos, which needs torchvision and is shown none here."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        return [name for name in super().get_attributes() if name != "video_processor"]  # type: ignore[misc]


def _processor_class(config: Any) -> Any:
    """What reads the processor of such a model: Qwen's, InternVL's and others have a part that can be done without."""
    from transformers import AutoProcessor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
    from transformers.utils import is_torchvision_available

    if is_torchvision_available() or type(config) not in PROCESSOR_MAPPING:
        return AutoProcessor
    own: Any = PROCESSOR_MAPPING[type(config)]
    videos = inspect.signature(own).parameters.get("video_processor")
    can_do_without = videos is not None and videos.default is None  # SmolVLM's cannot
    return type(own.__name__, (_NoVideos, own), {}) if can_do_without else AutoProcessor


def _read(auto: Any, folder: Path, name: str, **options: Any) -> Any:
    try:
        return load_pretrained(auto, folder, name, trust_remote_code=False, **options)
    except ImportError as error:  # a processor may want a package that we do not
        reason = " ".join(str(error).split())[:200]
        raise SensoriumError(name, f"needs a package that is not here ({reason}).", "Install it.") from error


def licence_of_folder(folder: Path) -> str:
    """The licence that the model card at the folder's root names, or ""."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
        head = yaml.safe_load(match[1]) if (match := re.match(r"---\n(.*?)\n---\n", text, re.S)) else None
    except (OSError, ValueError, yaml.YAMLError):
        return ""
    return str(head.get("license") or "") if isinstance(head, dict) else ""


def context_length_of(config: Any, tokenizer: Any) -> int:
    """Positions that the language model has; what the tokenizer says where that is less, or the model has no table."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    told = [n for n in (positions, tokenizer.model_max_length) if isinstance(n, int) and 0 < n < 10**9]
    return min(told, default=2048)


def count_parameters(folder: Path) -> int:
    """How many numbers the folder's weights hold, read from their headers."""
    from safetensors import safe_open

    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            total += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
    return total
