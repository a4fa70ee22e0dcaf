"""Say what bytes are when they are not a picture that can be opened.

A web page saved as `photo.png` is the commonest broken picture there is. "Cannot identify image file" helps nobody;
"is a web page (HTML)" does. Only the first bytes are looked at.
"""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """name: what the bytes are; is_readable: of a format that we open as a picture, so failing means damage; remedy:
    what to do where a picture was expected; is_recording: `media.container` opens it."""

    name: str
    is_readable: bool = False
    remedy: str = ""
    is_recording: bool = False


_CONVERT = "Convert it to PNG or JPEG."
_DRAWING = "Render it to PNG first."
_PAGE = "Export the page as PNG first."
_ASIDE = "Give a picture file."
_FILM = "Give a picture file, or show it as a video."
_SAVED_WRONG = "The download saved something else than the picture; get it again."
HEIC = Kind("a HEIC picture", False, "Install `sensorium[heic]`, or convert the picture to JPEG.")

# (offset, first bytes) -> kind; the first that fits.
_SIGNATURES: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", Kind("a PNG picture", True)),
    (0, b"\xff\xd8\xff", Kind("a JPEG picture", True)),
    (0, b"GIF87a", Kind("a GIF picture", True)),
    (0, b"GIF89a", Kind("a GIF picture", True)),
    (8, b"WEBP", Kind("a WebP picture", True)),
    (0, b"BM", Kind("a BMP picture", True)),
    (0, b"II*\0", Kind("a TIFF picture", True)),
    (0, b"MM\0*", Kind("a TIFF picture", True)),
    (4, b"ftypavif", Kind("an AVIF picture", True)),
    (4, b"ftypavis", Kind("an AVIF picture", True)),
    (0, b"\0\0\0\x0cjP  \r\n", Kind("a JPEG 2000 picture", True)),
    (0, b"\xff\x4f\xff\x51", Kind("a JPEG 2000 picture", True)),
    (0, b"\0\0\1\0", Kind("an ICO icon", True)),
    *((4, b"ftyp" + brand, HEIC) for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")),
    (4, b"ftyp", Kind("a video (MP4)", False, _FILM, True)),
    (0, b"\0\0\0\x0cJXL ", Kind("a JPEG XL picture", False, _CONVERT)),
    (0, b"\xff\x0a", Kind("a JPEG XL picture", False, _CONVERT)),
    (0, b"8BPS", Kind("a Photoshop document", False, _CONVERT)),
    (0, b"\x76\x2f\x31\x01", Kind("an OpenEXR picture", False, _CONVERT)),
    (0, b"%PDF", Kind("a PDF document", False, _PAGE)),
    (0, b"%!PS", Kind("a PostScript document", False, _PAGE)),
    (8, b"WAVE", Kind("a sound (WAV)", False, _ASIDE, True)),
    (8, b"AVI ", Kind("a video (AVI)", False, _FILM, True)),
    (0, b"\x1a\x45\xdf\xa3", Kind("a video (Matroska or WebM)", False, _FILM, True)),
    (0, b"ID3", Kind("a sound (MP3)", False, _ASIDE, True)),
    (0, b"OggS", Kind("a sound (Ogg)", False, _ASIDE, True)),
    (0, b"fLaC", Kind("a sound (FLAC)", False, _ASIDE, True)),
    (0, b"FLV\1", Kind("a video (Flash)", False, _FILM, True)),
    (0, b"\0\0\1\xba", Kind("a video (MPEG)", False, _FILM, True)),
    (0, b"PK\3\4", Kind("a ZIP archive", False, "Unpack it first.")),
    (0, b"\x1f\x8b", Kind("a gzip archive", False, "Unpack it first.")),
    (0, b"version https://git-lfs", Kind("a Git LFS pointer", False, "Fetch the file itself with `git lfs pull`.")),
)


def recognise(head: bytes) -> Kind:
    """head: the first bytes, some 512 of them; fewer are fine."""
    for offset, signature, kind in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return kind
    if b"\0" in head:
        return Kind("of no known picture format", False, _CONVERT)
    try:
        # The last character may be cut in two by where `head` ends.
        text = head.decode("utf-8-sig", errors="strict" if len(head) < 500 else "ignore").lstrip().lower()
    except UnicodeDecodeError:
        return Kind("of no known picture format", False, _CONVERT)
    if "<svg" in text:
        return Kind("an SVG drawing", False, _DRAWING)
    if text.startswith(("<!doctype html", "<html", "<head", "<body")) or "<html" in text:
        return Kind("a web page (HTML)", False, _SAVED_WRONG)
    if text.startswith("<?xml"):
        return Kind("an XML document", False, _ASIDE)
    if text.startswith(("{", "[")):
        return Kind("JSON text", False, _SAVED_WRONG)
    return Kind("plain text", False, _ASIDE)
