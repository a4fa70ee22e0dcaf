"""A picture as it travels to another program: its own bytes where anybody can read them, else encoded anew."""

from __future__ import annotations

import base64

from PIL import Image as PILImage

from sensorium.conversation import Image
from sensorium.media.images import DEFAULT_LIMITS, ImageLimits, _opened, _orientation, encode_image, open_image

KINDS = {"PNG": "image/png", "JPEG": "image/jpeg"}  # what every server of such pictures reads
LOSSLESS_BYTES = 4_000_000  # larger ones are written as JPEG: servers limit what they take


def to_data_url(image: Image, max_side: int | None = None, limits: ImageLimits = DEFAULT_LIMITS) -> str:
    """The picture as a `data:` URL of PNG or JPEG.

    Bytes that are one of these, upright and within max_side pixels, go as they are. Others are encoded anew: turned
    upright (many readers forget to), shrunk to max_side, as PNG while that is small.
    Raises SensoriumError as `open_image` does, except for damage behind the header of bytes that go as they are.
    """
    with _opened(image, limits) as (_, stream, picture):
        kind = KINDS.get(picture.format or "")
        if kind and (max_side is None or max(picture.size) <= max_side) and _orientation(picture, stream) == 1:
            stream.seek(0)
            return _url(kind, stream.read())
    upright = open_image(image, limits)
    if max_side is not None:
        upright.thumbnail((max_side, max_side), PILImage.Resampling.LANCZOS)
    data = encode_image(upright)
    if len(data) <= LOSSLESS_BYTES:
        return _url("image/png", data)
    return _url("image/jpeg", encode_image(upright, "JPEG", quality=95))


def _url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
