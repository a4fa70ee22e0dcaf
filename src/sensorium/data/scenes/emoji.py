"""Drawings from emoji fonts: npm's `@iconify-json` sets, each one hand drawing the same few thousand things.

Ten styles, one of them held out whole (`HELD_OUT_STYLE`): a model that names its drawings has learnt the thing and not
the hand. OpenMoji, because its outlined, flat, limited palette is the farthest from the rest and still easily read.
The packages are fetched by npm at pinned versions and checked against the registry's sha512; npm runs none of their
code, and only `icons.json` is read.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.data.scenes.sources import Artwork
from sensorium.data.scenes.vocabulary import Vocabulary
from sensorium.errors import SensoriumError

HELD_OUT_STYLE = "openmoji"


@dataclass(frozen=True)
class EmojiStyle:
    """One emoji set: npm package `@iconify-json/<package>` at `version`, whose tarball has this sha512 (base64)."""

    style: str
    package: str
    version: str
    sha512: str
    licence: str

    @property
    def tarball(self) -> str:
        """The file name that `npm pack` gives it."""
        return f"iconify-json-{self.package}-{self.version}.tgz"


EMOJI_STYLES = (
    EmojiStyle(
        "noto", "noto", "1.2.9",
        "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
        "Apache-2.0",
    ),
    EmojiStyle(
        "noto-v1", "noto-v1", "1.2.5",
        "/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA==",
        "Apache-2.0",
    ),
    EmojiStyle(
        "twemoji", "twemoji", "1.2.5",
        "uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
        "CC-BY-4.0",
    ),
    EmojiStyle(
        "fluent", "fluent-emoji", "1.2.7",
        "D8G6bKAyIsyxP1rzZtIWr/gg/fO4Rg1+DyCWlfqKK4h8W+4Em/Y0P6QYgJUQTlUcagzJvSyg+9OBv4hz4Hc/QA==",
        "MIT",
    ),
    EmojiStyle(
        "fluent-flat", "fluent-emoji-flat", "1.2.6",
        "RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
        "MIT",
    ),
    EmojiStyle(
        "emojione", "emojione", "1.2.3",
        "T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==",
        "CC-BY-4.0",
    ),
    EmojiStyle(
        "emojione-v1", "emojione-v1", "1.2.3",
        "UjI2VQEXVtGlPBvQuxEizro7QCgBcJDOYwKUupquvvZ8UV4xOlvm45IU82JYWegiAWLerY79gFLMZ26U6Ms+ww==",
        "CC-BY-SA-4.0",
    ),
    EmojiStyle(
        "fxemoji", "fxemoji", "1.2.2",
        "UAasRaxzFUKfIGSmLwnoarsssA4LX0VLLuEmplIqM6ZNQqIQRtav8tZ4H1neTlBreXuMQyAifr5jP4kn78DpiQ==",
        "Apache-2.0",
    ),
    EmojiStyle(
        "streamline", "streamline-emojis", "1.2.4",
        "iNr9T9XuZVTyQPJO8ZlLxBzPkpi7qMl+z1l0C31vpEMqhPMelth3n7CeWQYtixdetDPdI81yeG4ROqjWpYJE6A==",
        "CC-BY-4.0",
    ),
    EmojiStyle(
        "openmoji", "openmoji", "1.2.29",
        "vXdhkqcXVSO6suy+m9LbcUM3OdVyuNOtpV8/als/WqfkQIRxevL5Geb/g+6GH/Qwnq1OqksEmaDGTCmZ5nFKJQ==",
        "CC-BY-SA-4.0",
    ),
)


def emoji_artworks(vocabulary: Vocabulary, cache: Path) -> Iterator[Artwork]:
    """Every emoji that the vocabulary names, in every style that draws it; packages are fetched into `cache`."""
    for style in EMOJI_STYLES:
        icons = IconSet(json.loads(read_icons(fetch_package(style, cache))))
        for entry in vocabulary.entries:
            for icon in dict.fromkeys(icon for slug in entry.emoji for icon in icons.find(slug)):
                artwork_id = f"{style.style}-{icon}"
                if artwork_id not in entry.exclude:
                    yield Artwork(artwork_id, entry.name, style.style, style.licence, svg=icons.svg(icon))


def fetch_package(style: EmojiStyle, cache: Path) -> Path:
    """The package's tarball in `cache`, fetched with `npm pack` unless it is there; checked either way."""
    tarball = cache / style.tarball
    package = f"@iconify-json/{style.package}@{style.version}"
    if not tarball.exists():
        if not (npm := shutil.which("npm")):
            raise SensoriumError(package, "npm is needed to fetch this package and is not installed.",
                                 "Install Node.js (Debian: apt install npm).")
        cache.mkdir(parents=True, exist_ok=True)
        command = [npm, "pack", package, "--ignore-scripts", "--silent"]
        done = subprocess.run(command, cwd=cache, capture_output=True, text=True, timeout=600)
        if done.returncode or not tarball.exists():
            raise SensoriumError(package, f"npm could not fetch it ({done.stderr.strip()[-300:]}).",
                                 "Check the network connection, and run this again.")
    found = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if found != style.sha512:
        raise SensoriumError(tarball.name, f"sha512 is {found[:12]}… but {style.sha512[:12]}… was expected.",
                             "Delete the file and run this again.")
    return tarball


def read_icons(tarball: Path) -> bytes:
    """`icons.json` of an iconify package, read from its tarball without unpacking it."""
    with tarfile.open(tarball) as archive:
        member = archive.extractfile("package/icons.json")
        if member is None:
            raise SensoriumError(tarball.name, "has no package/icons.json.")
        return member.read()


class IconSet:
    """An iconify set (icons.json): bodies of SVG found by name.

    Sets name the same emoji with and without hyphens ("fire-engine", "fireengine"), and one numbers its variants
    ("baby-1", "baby-2"); `find` knows both.
    """

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self.icons: dict[str, dict[str, Any]] = tree["icons"]
        self.size = {key: tree[key] for key in ("left", "top", "width", "height") if key in tree}
        self.found: dict[str, list[str]] = {}
        for name in sorted(self.icons):
            self.found.setdefault(_flat(name), []).append(name)
        for alias, target in sorted(tree.get("aliases", {}).items()):
            # An alias with a rotation or flip is another drawing; with a parent alone it is another name.
            if set(target) <= {"parent", "hidden"} and target["parent"] in self.icons:
                self.found.setdefault(_flat(alias), [target["parent"]])

    def find(self, slug: str) -> list[str]:
        """Names of the icons that draw `slug`: the one of that name, else its numbered variants, else none."""
        if exact := self.found.get(slug.replace("-", "")):
            return exact[:1]
        return self.found.get(slug.replace("-", "") + "#", [])

    def svg(self, icon: str) -> str:
        """The icon as a whole SVG document."""
        body = self.icons[icon]
        left, top, width, height = (
            body.get(key, self.size.get(key, default))
            for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
        )
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{width}" height="{height}" viewBox="{left} {top} {width} {height}">{body["body"]}</svg>'
        )


def _flat(name: str) -> str:
    """The name without hyphens; a variant's number becomes "#"."""
    return re.sub(r"-\d$", "#", name).replace("-", "")
