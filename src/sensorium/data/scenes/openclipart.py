"""Drawings from Debian's `openclipart-png`: some 8,000 clip-art pictures given to the public domain by many hands.

Titles there are too loose to trust ("cat" may be a silhouette, a cartoon or a bulldozer), so the vocabulary lists, file
by file, those that were looked at. Weapons, flags, silhouettes, scenes and the few items that are not public domain
are simply not listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sensorium.data.scenes.sources import Artwork
from sensorium.data.scenes.vocabulary import Vocabulary
from sensorium.errors import SensoriumError

OPENCLIPART = Path("/usr/share/openclipart/png")


def openclipart_artworks(vocabulary: Vocabulary, folder: Path = OPENCLIPART) -> Iterator[Artwork]:
    """The listed pictures that are there; SensoriumError when the collection is not installed."""
    if not folder.is_dir():
        raise SensoriumError(folder, "the clip-art collection is not installed.", "Run `apt install openclipart-png`.")
    for entry in vocabulary.entries:
        for key in entry.openclipart:
            artwork_id = f"openclipart-{key.replace('/', '-')}"
            if (file := folder / f"{key}.png").exists():
                yield Artwork(artwork_id, entry.name, "openclipart", "public domain", file=file)
