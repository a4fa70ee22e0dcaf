"""How a part is named, and where its name leads.

`hub-user/name` (Hugging Face hub), a folder, `package:NAME==VERSION/file` (`…/folder/` for a whole folder), or the
short name of a known part.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sensorium.errors import SensoriumError, did_you_mean
from sensorium.parts.cache import derived
from sensorium.parts.known import KNOWN
from sensorium.parts.package import PackagePart, fetch, sha256_of, verify
from sensorium.progress import ProgressCallback

_PACKAGE = re.compile(r"package:(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.+!-]+)/(?P<file>[^/].*)")
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class PartSpec:
    """A parsed name. kind: where it comes from; package: set for package parts only."""

    name: str
    kind: Literal["package", "folder", "hub"]
    package: PackagePart | None = None


def parse_part(name: str) -> PartSpec:
    """Raises SensoriumError for a name that leads nowhere."""
    if name in KNOWN:
        return PartSpec(name, "package", KNOWN[name].package)
    if (match := _PACKAGE.fullmatch(name)) and ".." not in Path(match["file"]).parts:
        package = PackagePart(match["name"], match["version"], match["file"])
        return PartSpec(name, "package", next((k.package for k in KNOWN.values() if k.package.spec == name), package))
    if name and Path(name).is_dir():
        return PartSpec(name, "folder")
    if _HUB.fullmatch(name) and not name.startswith((".", "/", "~")):
        return PartSpec(name, "hub")
    raise SensoriumError(
        name,
        "is neither a folder, nor a hub id (user/name), nor `package:NAME==VERSION/file`, nor a known part.",
        did_you_mean(name, KNOWN),
    )


def locate(name: str, progress: ProgressCallback | None = None) -> Path | str:
    """A local path (package file or folder), or the hub id itself, which transformers resolves."""
    spec = parse_part(name)
    if spec.package is not None:
        return fetch(spec.package, progress)
    return Path(name) if spec.kind == "folder" else name


def converted(
    name: str, version: str, convert: Callable[[Path, Path], None], progress: ProgressCallback | None = None
) -> Path | str:
    """A folder (or hub id) that transformers reads: what a package part holds is converted once, into the cache.

    version: what is made and by which version of the conversion, for example `dinov2-1`; convert: (file, folder).
    Raises SensoriumError when the cached file is not the pinned one: it was damaged after it was fetched.
    """
    source = locate(name, progress)
    package = parse_part(name).package
    if package is None:
        return source
    file = package.path

    def build(folder: Path) -> None:
        verify(package)
        convert(file, folder)

    return derived(version, package.sha256 or sha256_of(file), build)
