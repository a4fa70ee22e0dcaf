"""Open a picture somebody gave us, whatever it is, or say in one line why not.

A file or bytes go in, an upright 8-bit RGB picture comes out. Nothing is trusted: what is too large is refused by what
the header claims, before a pixel is decoded; only formats of pictures are tried (Pillow also opens PostScript by
running a program); and every way in which a decoder can fail on damaged bytes ends in a `SensoriumError`.

Pillow's process-wide switches are left as they are: other code in the same program may rely on them.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image as PILImage
from pydantic import BaseModel, ConfigDict, Field

from sensorium.conversation import Image
from sensorium.errors import SensoriumError
from sensorium.files import write_whole
from sensorium.media.pixels import to_rgb
from sensorium.media.recognise import HEIC, recognise
from sensorium.media.sources import open_source

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO")  # JPEG opens MPO as well
SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".gif": "GIF"}  # written
# By which a name is told to be a picture's; what a file is, its first bytes say.
READ_SUFFIXES = (
    *SUFFIXES, ".jpe", ".jfif", ".mpo", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".j2k", ".jpx", ".ico",
    ".ppm", ".pgm", ".pbm", ".pnm", ".dib",
)  # fmt: skip
HEAD = 512  # bytes looked at to name what is no picture
ORIENTATION = 0x0112  # the EXIF tag

# EXIF orientation -> what turns the stored pixels upright (EXIF 2.32, section 4.6.4).
_UPRIGHT = {
    2: PILImage.Transpose.FLIP_LEFT_RIGHT,
    3: PILImage.Transpose.ROTATE_180,
    4: PILImage.Transpose.FLIP_TOP_BOTTOM,
    5: PILImage.Transpose.TRANSPOSE,
    6: PILImage.Transpose.ROTATE_270,
    7: PILImage.Transpose.TRANSVERSE,
    8: PILImage.Transpose.ROTATE_90,
}
# Pillow's decoders raise all of these on damaged bytes; it promises no narrower set. Ours to mend are none of them.
_BOMB = (PILImage.DecompressionBombError, PILImage.DecompressionBombWarning)
_DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError,
    AssertionError, EOFError, MemoryError, struct.error, zlib.error, *_BOMB,
)  # fmt: skip


class ImageLimits(BaseModel):
    """What a picture may be at most, decided before decoding. max_bytes: encoded; max_side: pixels either way.

    Pillow adds its own: above twice `PIL.Image.MAX_IMAGE_PIXELS` (179 million) nothing opens, whatever stands here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int = Field(default=64 * 2**20, ge=1)
    max_pixels: int = Field(default=100_000_000, ge=1)
    max_side: int = Field(default=32_768, ge=1)


Source = Image | str | Path | bytes
DEFAULT_LIMITS = ImageLimits()
TOGETHER = 650_000_000  # pixels of all pictures of a conversation: six of the largest, fifty of a telephone's


def open_image(image: Source, limits: ImageLimits = DEFAULT_LIMITS) -> PILImage.Image:
    """The picture as upright 8-bit sRGB, mode RGB, fully loaded and free of its file; an animation's first frame.

    image: a part of a conversation, a path, a `data:` URL or encoded bytes. Alpha lies on white, deep samples are
    scaled, an embedded colour profile is applied. Raises SensoriumError (missing, too large, no picture, damaged).
    """
    with _opened(image, limits) as (where, stream, picture):
        try:
            orientation = _orientation(picture, stream)
            picture.load()
            require_size(where, picture.size, limits)  # a frame may be larger than its file's header said
            upright = to_rgb(picture)
        except _DAMAGE as error:
            raise _damaged(where, error) from error
    turn = _UPRIGHT.get(orientation)
    return upright if turn is None else upright.transpose(turn)


def image_size(image: Source, limits: ImageLimits = DEFAULT_LIMITS) -> tuple[int, int]:
    """(width, height) of the upright picture, from its header alone: what `open_image` would return, not decoded.

    Raises SensoriumError as `open_image` does, except for damage behind the header.
    """
    with _opened(image, limits) as (where, stream, picture):
        try:
            width, height = picture.size
            return (height, width) if _orientation(picture, stream) >= 5 else (width, height)
        except _DAMAGE as error:
            raise _damaged(where, error) from error


def require_pixels(images: Sequence[Source], most: int = TOGETHER) -> None:
    """Raises SensoriumError when the headers of pictures that are shown together claim more pixels than that.

    Some engines hold all of them decoded, three bytes a pixel; and every one takes its time.
    """
    if len(images) * DEFAULT_LIMITS.max_pixels <= most:
        return  # no header need be read
    n_pixels = 0
    for image in images:
        width, height = image_size(image)
        n_pixels += width * height
    if n_pixels > most:
        what = f"are {n_pixels:,} pixels together; at most {most:,} are looked at in one conversation."
        raise SensoriumError(f"{len(images)} pictures", what, "Show fewer, or make them smaller.")


@contextmanager
def _opened(image: Source, limits: ImageLimits) -> Iterator[tuple[str, BinaryIO, PILImage.Image]]:
    """(where, its bytes, the picture with its header read and found within the limits, not yet decoded)."""
    source = image.source if isinstance(image, Image) else image
    where, stream = open_source(source, "picture", limits.max_bytes)
    with stream:
        head = stream.read(HEAD)
        stream.seek(0)
        formats: tuple[str, ...] = FORMATS
        if recognise(head) == HEIC:
            formats = _with_heic(where)
        elif head.startswith(b"\0\0\1\0"):
            _check_icon(where, stream, limits)
        try:
            picture = PILImage.open(stream, formats=formats)
        except _BOMB as error:
            raise _too_many_pixels(where, error, limits) from error
        except _DAMAGE as error:
            kind = recognise(head)
            if kind.is_readable or kind == HEIC:  # HEIC comes here only with its plug-in at work
                raise _damaged(where, None) from error
            raise SensoriumError(where, f"is {kind.name}, not a picture that can be read.", kind.remedy) from error
        with picture:
            require_size(where, picture.size, limits)
            yield where, stream, picture


def _too_many_pixels(where: str, error: BaseException, limits: ImageLimits) -> SensoriumError:
    """Pillow refuses before it gives the size; its message holds the number of pixels, and after it its own limit."""
    claimed, own, *_ = [*map(int, re.findall(r"\d+", str(error))), 0, limits.max_pixels]
    most = min(limits.max_pixels, own)
    what = f"claims more pixels than a picture may have: {claimed:,}, at most {most:,} are allowed."
    return SensoriumError(where, what, "Make the picture smaller.")


def require_size(where: str, size: tuple[int, int], limits: ImageLimits = DEFAULT_LIMITS) -> None:
    """Raises SensoriumError when a picture may not have that (width, height)."""
    width, height = size
    if width < 1 or height < 1:
        raise SensoriumError(where, f"is {width} x {height} pixels: there is nothing in it.", "Get the file again.")
    if max(size) > limits.max_side or width * height > limits.max_pixels:
        what = f"is {width:,} x {height:,} pixels; at most {limits.max_pixels:,} and {limits.max_side:,} a side."
        raise SensoriumError(where, what, "Make the picture smaller, or raise the limits.")


def _check_icon(where: str, stream: BinaryIO, limits: ImageLimits) -> None:
    """An icon's directory says at most 256 a side, but the picture inside it may claim anything: look there."""
    data = stream.read()
    stream.seek(0)
    try:
        (n_entries,) = struct.unpack_from("<H", data, 4)
        for index in range(n_entries):
            (at,) = struct.unpack_from("<I", data, 6 + 16 * index + 12)
            if data[at : at + 8] == b"\x89PNG\r\n\x1a\n":
                width, height = struct.unpack_from(">II", data, at + 16)
            else:
                width, height = map(abs, struct.unpack_from("<ii", data, at + 4))
            require_size(where, (width, height), limits)
    except struct.error as error:
        raise _damaged(where, error) from error


def _with_heic(where: str) -> tuple[str, ...]:
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError as error:
        raise SensoriumError(where, "is a HEIC picture; these need an extra.", HEIC.remedy) from error
    return ("HEIF",)


def _damaged(where: str, error: Exception | BaseException | None) -> SensoriumError:
    reason = f" ({str(error)[:120] or type(error).__name__})" if error else ""
    return SensoriumError(where, f"is damaged or cut off{reason}.", "Get the file again.")


def _orientation(picture: PILImage.Image, stream: BinaryIO) -> int:
    """EXIF's orientation, 1-8; 1 when there is none, or none that can be read. Does not decode the picture."""
    if picture.format == "TIFF":
        return 1  # Pillow turns these upright itself, size included
    try:
        if picture.format == "PNG":
            # `getexif` of a PNG would decode it, to see whether the chunk comes after the pixels.
            exif = PILImage.Exif()
            exif.load(picture.info.get("exif") or _late_png_exif(stream))
        else:
            exif = picture.getexif()
        value = exif.get(ORIENTATION, 1)
    except _DAMAGE:
        return 1  # a broken note about the picture must not cost us the picture
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _late_png_exif(stream: BinaryIO) -> bytes:
    """The eXIf chunk wherever it stands in a PNG, found by hopping over the others; empty when there is none."""
    position = stream.tell()
    try:
        stream.seek(8)
        while len(head := stream.read(8)) == 8:
            (length,), kind = struct.unpack(">I", head[:4]), head[4:]
            if kind == b"eXIf":
                return stream.read(length)
            stream.seek(length + 4, os.SEEK_CUR)
        return b""
    finally:
        stream.seek(position)


def encode_image(picture: PILImage.Image, format: str = "PNG", quality: int = 90) -> bytes:
    """Encoded bytes; format: a value of `SUFFIXES`. What JPEG cannot hold (alpha, palettes) becomes RGB on white."""
    stream = io.BytesIO()
    to_rgb(picture).save(stream, format, quality=quality) if format == "JPEG" else picture.save(stream, format)
    return stream.getvalue()


def save_image(picture: PILImage.Image, path: str | Path) -> None:
    """Write the picture in the format of its suffix: whole or not at all, its folder made if need be.

    Raises SensoriumError for a suffix of no known format, and when the disk refuses (full, rights).
    """
    target = Path(path)
    if (format := SUFFIXES.get(target.suffix.lower())) is None:
        raise SensoriumError(target, f"`{target.suffix}` is no picture format.", f"End it in {', '.join(SUFFIXES)}.")
    write_whole(target, encode_image(picture, format), "Check the folder, its rights and the free space.")
