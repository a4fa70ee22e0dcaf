"""What every source of drawings yields: one `Artwork` per drawing, described but not yet rendered.

A source is a function from a vocabulary (and a folder for what it fetches) to artworks. It reads other people's
packages as data: nothing of theirs is run or imported. Rendering is `cutout.py`, the whole is `catalogue.py`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Artwork:
    """A drawing to be rendered: SVG text, or a picture file with an alpha channel (exactly one of the two).

    id: unique in a catalogue, a plain file name ("noto-dog-face"); name: the vocabulary's name for it.
    """

    id: str
    name: str
    style: str
    licence: str
    svg: str | None = None
    file: Path | None = None

    def content_key(self) -> str:
        """Eight hex digits of what would be rendered, so that a changed source is rendered anew."""
        content = self.svg.encode() if self.svg is not None else self.file.read_bytes() if self.file else b""
        return hashlib.sha256(content).hexdigest()[:8]
