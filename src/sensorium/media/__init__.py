"""Media: bytes to pixels. Everything untrusted is opened here and nowhere else, under limits read from headers."""

from __future__ import annotations

from sensorium.media.images import ImageLimits, encode_image, image_size, open_image, require_pixels, save_image

__all__ = ["ImageLimits", "encode_image", "image_size", "open_image", "require_pixels", "save_image"]
