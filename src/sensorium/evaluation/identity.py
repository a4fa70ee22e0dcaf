"""Who answers: a digest of the weights and how they are computed with. Replies of two identities are never mixed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sensorium.engine.base import Card
from sensorium.engine.names import find_model
from sensorium.parts.hub import hub_folder
from sensorium.parts.package import sha256_of


def engine_identity(name: str, card: Card, precision: str) -> str:
    """name: as `load_engine` takes it. An address shows no weights; there it is the address and the model's name."""
    found = find_model(name)
    ways = "".join(f"-{way}" for way in card.ways)
    if found.kind == "remote":
        return f"{hashlib.sha256(f'{found.base_url} {card.name}'.encode()).hexdigest()}-remote{ways}"
    digest = weights_digest(found.folder or hub_folder(found.name))
    return f"{digest}-{card.provenance.get('quantization', precision)}{ways}"


def weights_digest(folder: Path) -> str:
    """sha256 over the checkpoint's files."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".gguf"))
    return hashlib.sha256("".join(f"{path.name} {sha256_of(path)}\n" for path in files).encode()).hexdigest()
