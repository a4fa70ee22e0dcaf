"""From a model's name to its folder: the embedded default, a model folder, or the finished run it lies in.

Apart from everything heavy, so that a misspelt name is answered at once.
"""

from __future__ import annotations

import json
from pathlib import Path

from sensorium.errors import SensoriumError

DEFAULT = "default"
DEFAULT_FOLDER = Path(__file__).parent / "default"
GGUF_FILE = "sensorium.json"  # what tells a folder that was exported for llama.cpp


def is_gguf_folder(folder: Path) -> bool:
    return (folder / GGUF_FILE).is_file()


def is_transformers_folder(folder: Path) -> bool:
    """Whether its config.json is one of transformers', and not one of ours or damaged."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and isinstance(content.get("model_type"), str) and "format" not in content


def model_folder(name: str | Path) -> Path:
    """Where a named model lies. Raises SensoriumError when it is nowhere."""
    if name == DEFAULT:
        if not (DEFAULT_FOLDER / "config.json").is_file():
            raise SensoriumError(DEFAULT, "this copy of Sensorium holds no trained default model.",
                                 "Name a model folder, or train one: `sensorium train recipes/default.yaml`.")
        return DEFAULT_FOLDER
    folder = Path(name)
    if (folder / "config.json").is_file() or is_gguf_folder(folder):
        return folder
    if (folder / "model" / "config.json").is_file():
        return folder / "model"
    if (folder / "checkpoints").is_dir():
        raise SensoriumError(name, "is a run that has not finished.", "Start its `sensorium train` again: it goes on.")
    if folder.is_dir():
        raise SensoriumError(name, "is a folder without config.json, so no model.")
    if folder.exists():
        raise SensoriumError(name, "is a file, not a model folder.", "Pictures are shown with --image.")
    raise SensoriumError(name, "there is no such model folder.", "Use `default`, or what `sensorium train` made.")
