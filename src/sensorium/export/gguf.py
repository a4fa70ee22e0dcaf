"""A trained model as the pair of GGUF files that llama.cpp runs: the language model, and `mmproj` for what it sees.

Adapters are merged. The folder also holds what our own engine needs beside them (`model.gguf_folder`), so it runs with
`sensorium chat FOLDER` as well as in any build of llama.cpp, on machines without torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from sensorium.errors import SensoriumError, did_you_mean
from sensorium.export.card import card, origins
from sensorium.export.gguf_text import require_llama, write_text
from sensorium.export.gguf_vision import require_dinov2, require_internvl, write_vision
from sensorium.export.gguf_weights import Quantization
from sensorium.model.checkpoint import load_model, read_config
from sensorium.model.folder import model_folder
from sensorium.model.gguf_folder import TEXT, VISION, GgufFolder
from sensorium.model.quiet import quietly
from sensorium.parts import licence_of
from sensorium.parts.cache import whole_or_nothing
from sensorium.progress import ProgressCallback


def export_gguf(
    name: str | Path, out: Path, quantization: Quantization = "q8_0", progress: ProgressCallback | None = None
) -> Path:
    """Write the folder `out` of a model: `default`, a model folder, or a finished run. Returns `out`.

    quantization: of the language model; encoder and connector are float16.
    Raises SensoriumError when there is no such model, `out` exists, llama.cpp has no graph for the model, or the disk
    is full; `out` is whole or not there.
    """
    if quantization not in get_args(Quantization):
        raise SensoriumError("quantization", f"`{quantization}` is not known.",
                             did_you_mean(quantization, get_args(Quantization)))
    folder = model_folder(name)
    if out.exists():
        raise SensoriumError(out, "exists already.", "Choose another folder, or remove it.")
    require_internvl(read_config(folder)[0])
    with whole_or_nothing(out, "Free some space, or choose another place.") as scratch:
        write_gguf(folder, scratch, out.name, quantization, progress)
    return out


def write_gguf(
    folder: Path, out: Path, name: str, quantization: Quantization, progress: ProgressCallback | None = None
) -> None:
    """The files of a model folder, into a folder that is there. Raises SensoriumError, or OSError for a full disk."""
    tell = progress or (lambda what, done, total: None)
    config, content = read_config(folder)
    require_internvl(config)  # before anything heavy is loaded
    provenance = content.get("provenance", {})
    provenance |= {"parts": origins(config, provenance)}
    parts = (config.vision.part, config.language.part)
    with quietly():
        tell("loading the model", 0, 0)
        model = load_model(folder, progress, merge=True)
        require_dinov2(model)
        require_llama(model)
        tell(f"writing the language model ({quantization})", 0, 0)
        write_text(model, out / TEXT, quantization, name)
        tell("writing the vision encoder", 0, 0)
        write_vision(model, out / VISION, name)
        model.tokenizer.save_pretrained(out)
    GgufFolder(
        folder=out,
        quantization=quantization,
        image_size=config.vision.image_size,
        token_pixels=model.sight.token_pixels,
        views=config.views,
        context_length=int(model.language.config.max_position_embeddings),  # type: ignore[union-attr, arg-type]
        licence="; ".join(f"{part}: {licence_of(part)}" for part in parts if licence_of(part)),
        provenance=provenance,
    ).write()
    text = card(name, "gguf", quantization, config, model, provenance, folder)
    (out / "README.md").write_text(text, encoding="utf-8")
