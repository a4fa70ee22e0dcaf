"""A picture as verifiers see it: decoded once, known by the hash of its file."""

from __future__ import annotations

import functools
from pathlib import Path

from PIL import Image as PILImage

from sensorium.conversation import Image
from sensorium.media import image_size, open_image


class Picture:
    """source: a part of a conversation, a path, a `data:` URL or encoded bytes. Opened at the first use.

    Raises SensoriumError when it cannot be read.
    """

    def __init__(self, source: Image | str | Path | bytes) -> None:
        if not isinstance(source, Image):
            source = Image(source if isinstance(source, bytes) else str(source))
        self.image = source

    @functools.cached_property
    def digest(self) -> str:
        """sha256 of the file."""
        return self.image.digest

    @functools.cached_property
    def pixels(self) -> PILImage.Image:
        """Upright 8-bit RGB."""
        return open_image(self.image)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.size

    def check(self) -> None:
        """Raises SensoriumError when the file is no picture; looks at its header only."""
        image_size(self.image)

    def blank(self) -> Image:
        """A grey picture of the same size: what an engine is asked about to see what looking adds."""
        from sensorium.media import encode_image

        return Image(encode_image(PILImage.new("RGB", self.size, (128, 128, 128))))
