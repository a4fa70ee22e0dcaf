"""The fonts that printed words are set in: free ones, out of packages on the index, fetched once and never installed.

One is held out whole, as one drawing style is: a model that reads it has learnt letters and not a face. Which faces
are for running text is told apart, because nobody sets a page in a poster's letters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

from sensorium.errors import SensoriumError
from sensorium.parts.package import PackagePart, fetch
from sensorium.progress import ProgressCallback


@dataclass(frozen=True)
class FontPackage:
    """The folder of fonts in one package, and what it is licensed under."""

    part: PackagePart
    licence: str
    owner: str


@dataclass(frozen=True)
class Face:
    """One font file. for_text: fit for a page of small letters; held_out: for `test_style` alone."""

    name: str
    package: FontPackage
    file: str
    for_text: bool = False
    held_out: bool = False


def _package(name: str, version: str, sha256: str, licence: str, owner: str) -> FontPackage:
    part = PackagePart(name, version, f"{name.replace('-', '_')}/files/", sha256)
    return FontPackage(part, licence, owner)


_SANS = _package(
    "font-source-sans-pro", "0.0.1", "55837f735bac817b757590307d65bcc7caa84d81ca2d263caf3a4db4b44dabf9", "OFL-1.1",
    "Adobe",
)  # fmt: skip
_SERIF = _package(
    "font-source-serif-pro", "0.0.1", "5c02cf147111d16f9f04cc9351bb3682480f7c685e8ad5cca61608cdc34b3b4d", "OFL-1.1",
    "Adobe",
)  # fmt: skip
_LATO = _package(
    "font-lato", "0.1.0", "e1da99954eca89ff4dbb2e61f09722a5c86a08e6b7e6caa595d75b1ed4e85602", "OFL-1.1",
    "tyPoland Lukasz Dziedzic",
)  # fmt: skip
_CALADEA = _package(
    "font-caladea", "0.0.2", "e6aad1e17ef5b7cb582414d3acfead7acde9d35fd15f4f3add1cc641cdff6d86", "Apache-2.0",
    "Huerta Tipografica",
)  # fmt: skip
_MANROPE = _package(
    "font-manrope", "0.0.2", "796170507ae743f0bb733089b655e77c6f18615761fb422f4a01ea9e340582d9", "OFL-1.1",
    "The Manrope Project Authors",
)  # fmt: skip
_FJALLA = _package(
    "font-fjallaone", "0.1.7", "4307007e3a15aea38c99ca40100a3cf78efd71bc6939acd8ce023552141b37fb", "OFL-1.1",
    "Sorkin Type",
)  # fmt: skip
_FREDOKA = _package(
    "font-fredoka-one", "0.0.4", "6c1e620319ea484734ecdba9a73824fac6eca2de684eafe5422a5f7cbc8453b4", "OFL-1.1",
    "Milena B Brandao",
)  # fmt: skip
_HANKEN = _package(
    "font-hanken-grotesk", "0.0.2", "019fd5249810581af40fb81c8e3c138051e8f735835c977ddad62ef7021fbdd8", "OFL-1.1",
    "Alfredo Marco Pradil",
)  # fmt: skip

FACES = (
    Face("source-sans", _SANS, "SourceSansPro-Regular.ttf", for_text=True),
    Face("source-sans-bold", _SANS, "SourceSansPro-Bold.ttf"),
    Face("source-serif", _SERIF, "SourceSerifPro-Regular.ttf", for_text=True),
    Face("source-serif-bold", _SERIF, "SourceSerifPro-Bold.ttf"),
    Face("lato", _LATO, "Lato-Regular.ttf", for_text=True),
    Face("lato-bold", _LATO, "Lato-Bold.ttf"),
    Face("caladea", _CALADEA, "Caladea-Regular.ttf", for_text=True),
    Face("manrope", _MANROPE, "Manrope-Regular.ttf", for_text=True),
    Face("fjalla-one", _FJALLA, "FjallaOne-Regular.ttf"),
    Face("fredoka-one", _FREDOKA, "FredokaOne-Regular.ttf"),
    Face("hanken-grotesk", _HANKEN, "HankenGrotesk-Regular.otf", for_text=True, held_out=True),
    Face("hanken-grotesk-bold", _HANKEN, "HankenGrotesk-Bold.otf", held_out=True),
)
BY_NAME = {face.name: face for face in FACES}


def faces_of(split: str) -> tuple[Face, ...]:
    """Those that a split may show: `test_style` the held-out ones, every other split the rest."""
    return tuple(face for face in FACES if face.held_out == (split == "test_style"))


def fetch_fonts(progress: ProgressCallback | None = None) -> None:
    """Get every package that is not in the cache. Raises SensoriumError where there is no network, or another file."""
    for package in dict.fromkeys(face.package for face in FACES):
        fetch(package.part, progress)


@lru_cache(maxsize=256)
def open_face(name: str, pixels: int) -> ImageFont.FreeTypeFont:
    """A fetched face with an em of so many pixels; 12 points at 96 dots an inch are 16."""
    face = BY_NAME[name]
    path: Path = face.package.part.path / face.file
    try:
        # The basic layout is the same wherever Pillow was built; the other depends on a library of the system.
        return ImageFont.truetype(str(path), pixels, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise SensoriumError(path, f"cannot be read ({error}).", "Delete its folder, and build again.") from error
