"""The one place where transformers reads a pretrained part, so that every way of failing at it says the same.

transformers answers a misspelt id, a missing network and a folder without files alike with a long OSError or
ValueError that advises programmers. Whoever wrote a recipe needs the part's name and what to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from sensorium.errors import SensoriumError


def load_pretrained(auto: Any, source: Path | str, part: str, **options: Any) -> Any:
    """`auto.from_pretrained(source, **options)`; auto: a transformers class; part: as the user named it.

    Raises SensoriumError when there is no such part, it cannot be fetched, or it is of another kind than `auto` reads.
    """
    try:
        return auto.from_pretrained(source, **options)
    except (OSError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split()).split(". ")[0].rstrip(".")[:200]  # what follows advises programmers
        raise SensoriumError(part, f"cannot be read as a part ({reason}).", _remedy(source)) from error


def require_weights(source: Path | str, part: str) -> None:
    """Raises SensoriumError for a folder that has no file of weights. Of a hub id nothing is asked, nor fetched."""
    folder = Path(source)
    if folder.is_dir() and not any(path for kind in _WEIGHTS for path in folder.glob(kind)):
        raise SensoriumError(part, f"has no weights ({', '.join(_WEIGHTS)}).", _remedy(source))


_WEIGHTS = ("*.safetensors", "*.bin")


def _remedy(source: Path | str) -> str:
    if Path(source).is_dir():
        return "A part's folder is what `save_pretrained` writes: config.json, weights, a language model's tokenizer."
    return "Check the name, and the network: a hub id is fetched at its first use."
