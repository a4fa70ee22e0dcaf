"""Drawings from Debian's `tuxpaint-stamps-default`: photographs and pictures cut out for a children's paint program.

The only photographic cut-outs at hand. They are under the GPL: fit to train on, and never redistributed with us.
The vocabulary lists those that were looked at, by path; mirrored twins are not listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sensorium.data.scenes.sources import Artwork
from sensorium.data.scenes.vocabulary import Vocabulary
from sensorium.errors import SensoriumError

STAMPS = Path("/usr/share/tuxpaint/stamps")


def stamp_artworks(vocabulary: Vocabulary, folder: Path = STAMPS) -> Iterator[Artwork]:
    """The listed stamps that are there; a stamp is a PNG or, when none is shipped, an SVG."""
    if not folder.is_dir():
        raise SensoriumError(folder, "the stamps are not installed.", "Run `apt install tuxpaint-stamps-default`.")
    for entry in vocabulary.entries:
        for key in entry.stamps:
            artwork_id = f"stamps-{key.replace('/', '-')}"
            if (file := folder / f"{key}.png").exists():
                yield Artwork(artwork_id, entry.name, "stamps", "GPL-2.0-or-later", file=file)
            elif (drawn := folder / f"{key}.svg").exists():
                yield Artwork(artwork_id, entry.name, "stamps", "GPL-2.0-or-later", svg=drawn.read_text("utf-8"))
