"""A trained model as one folder that needs no hub and no package index.

Form `sensorium` is our own checkpoint with its parts beside it: `vision/` and `language/` are folders that
transformers' AutoModel and AutoModelForCausalLM read, adapters merged and the tower's trained blocks in their places;
`trained.safetensors` keeps what neither of them can hold (connector, added tokens, fresh norm), and `config.json` names
the parts as `./vision` and `./language`, so the folder may be moved. Form `llava`: see there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError

from sensorium.errors import SensoriumError, did_you_mean
from sensorium.export.card import card, origins
from sensorium.export.llava import require_llava, write_llava
from sensorium.export.preprocessor import preprocessor
from sensorium.model.checkpoint import load_model, part_identity, read_config, thin_state, write_checkpoint
from sensorium.model.folder import model_folder
from sensorium.model.multimodal import MultimodalModel
from sensorium.model.quiet import quietly
from sensorium.parts.cache import whole_or_nothing
from sensorium.progress import ProgressCallback

Form = Literal["sensorium", "llava"]
Dtype = Literal["float32", "bfloat16", "float16"]
_VISION, _LANGUAGE = "./vision", "./language"
_MAKE_ROOM = "Free some space, or choose another place."


def export_huggingface(
    name: str | Path,
    out: Path,
    form: Form = "sensorium",
    dtype: Dtype = "float32",
    progress: ProgressCallback | None = None,
) -> Path:
    """Write the folder `out` of a model: `default`, a model folder, or a finished run. Returns `out`.

    dtype: of the weights in the files; float32 gives the model back exactly, the others its rounding in half the space.
    Raises SensoriumError when there is no such model, `out` exists, the disk is full, or form `llava` cannot hold the
    model; `out` is whole or not there.
    """
    for given, known, what in ((form, Form, "format"), (dtype, Dtype, "dtype")):
        if given not in get_args(known):
            raise SensoriumError(what, f"`{given}` is not known.", did_you_mean(given, get_args(known)))
    folder = model_folder(name)
    if out.exists():
        raise SensoriumError(out, "exists already.", "Choose another folder, or remove it.")
    config, content = read_config(folder)
    if form == "llava":
        require_llava(config)
    provenance = content.get("provenance", {})
    provenance |= {"parts": origins(config, provenance)}
    tell = progress or (lambda what, done, total: None)
    precision: torch.dtype = getattr(torch, dtype)
    with quietly():
        tell("loading the model", 0, 0)
        model = load_model(folder, progress, merge=True)
        _require_room(out, sum(p.numel() for p in model.parameters()) * precision.itemsize)
        tell("writing the folder", 0, 0)
        with _written_whole(out) as scratch:
            if form == "llava":
                write_llava(model, scratch, precision, progress)
            else:
                _write_sensorium(model, scratch, precision, provenance, progress)
            text = card(out.name, form, dtype, config, model, provenance, folder)
            (scratch / "README.md").write_text(text, encoding="utf-8")
    return out


def _write_sensorium(
    model: MultimodalModel, folder: Path, dtype: torch.dtype, provenance: dict[str, Any], tell: ProgressCallback | None
) -> None:
    """Parts, what they cannot hold, and how pictures become pixels. The language model is turned to `dtype`."""
    config = model.config
    thin = {name: p.to(dtype).contiguous() for name, p in thin_state(model, ()).items()}
    _save(model.vision.uncut(tell).to(dtype), folder / _VISION)
    # The tokenizer as its part has it: whoever loads the model adds our tokens after the table's last row again.
    tokenizer = config.language.tokenizer(tell)
    _save(model.language.to(dtype), folder / _LANGUAGE)
    tokenizer.save_pretrained(folder / _LANGUAGE)
    identities = {part: part_identity(str(folder / part)) for part in (_VISION, _LANGUAGE)}
    write_checkpoint(folder, config.with_parts(_VISION, _LANGUAGE), thin, (), identities, provenance)
    settings = preprocessor(config.views, config.vision.image_size)
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def _save(module: Any, folder: Path) -> None:
    """A transformers model as its own folder."""
    from transformers import GenerationConfig

    if (own := getattr(module, "generation_config", None)) is not None:
        # The ids only: transformers refuses to write settings that it reads without complaint (Vicuna has a temperature
        # and no sampling), and how the bare language model was sampled says nothing of the one trained here.
        ids = {name: getattr(own, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        module.generation_config = GenerationConfig(**ids)
    module.save_pretrained(folder)


def _require_room(out: Path, n_bytes: int) -> None:
    """Raises SensoriumError when the disk clearly cannot hold the weights: better now than after minutes of writing."""
    above = next(folder for folder in out.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(above).free
    if free < n_bytes:
        raise SensoriumError(out, f"needs {n_bytes / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free.", _MAKE_ROOM)


@contextmanager
def _written_whole(out: Path) -> Iterator[Path]:
    """`whole_or_nothing`, for which safetensors' own error of a full disk is one too."""
    with whole_or_nothing(out, _MAKE_ROOM) as scratch:
        try:
            yield scratch
        except SafetensorError as error:
            raise SensoriumError(out, f"cannot be written ({error}).", _MAKE_ROOM) from error
