"""A whole model of the Hugging Face hub as a folder: fetched once, data only, then found without network."""

from __future__ import annotations

import json
from pathlib import Path

from sensorium.errors import SensoriumError
from sensorium.progress import ProgressCallback

# Configuration, tokenizer, template, card and weights; no weights in forms that can hold programs, and no code.
WANTED = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors", "README.md")


def hub_folder(name: str, progress: ProgressCallback | None = None) -> Path:
    """The folder of the hub's model `user/name`, in the hub's own cache (`HF_HOME`).

    Raises SensoriumError when there is no such model, it may not be had, or the network fails before all is there.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=list(WANTED), local_files_only=True))
        if _is_whole(folder):
            return folder
    except (LocalEntryNotFoundError, ValueError):  # ValueError: no name that the hub has, which it says below
        pass
    if progress:
        progress(f"fetching {name}", 0, 0)
    try:
        folder = Path(snapshot_download(name, allow_patterns=list(WANTED)))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()).split(". ")[0].rstrip(".")[:200] or type(error).__name__
        raise SensoriumError(name, f"is no folder here, and cannot be fetched from the hub ({reason}).",
                             "Check the name and the network; private models need HF_TOKEN.") from error
    if any(folder.glob("*.safetensors*")) and not _is_whole(folder):  # as offline, after a download that was cut off
        raise SensoriumError(name, "is in the hub's cache only in part.", "Try again with network.")
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether configuration and all weights that the index lists are there."""
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        files = {str(file) for file in index["weight_map"].values()}
    except FileNotFoundError:
        files = {"model.safetensors"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return all((folder / file).is_file() for file in {"config.json", *files})
