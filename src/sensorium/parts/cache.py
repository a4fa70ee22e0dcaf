"""The user's cache folder, and how something enters it: whole or not at all.

Everything in the cache can be made again, so a folder that was built halfway is simply removed and built anew.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from sensorium.errors import SensoriumError
from sensorium.files import write_whole


def cache_root() -> Path:
    """The folder for parts and what is derived from them: `$SENSORIUM_CACHE`, else the platform's cache folder."""
    # The one environment variable of the package, read here only: tests and shared machines must be able to move it.
    return Path(os.environ.get("SENSORIUM_CACHE") or platformdirs.user_cache_dir("sensorium"))


_MOVE = "Free some space, or set SENSORIUM_CACHE to another folder."


@contextmanager
def scratch_folder(beside: Path, remedy: str = _MOVE) -> Iterator[Path]:
    """A folder beside `beside`, on the same disk, that is removed at the end.

    Raises SensoriumError with `remedy` when the disk is full or cannot be written.
    """
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{beside.name}-", dir=beside.parent))
    except OSError as error:
        raise SensoriumError(beside.parent, f"cannot be written ({error.strerror}).", remedy) from error
    try:
        yield scratch
    except OSError as error:
        raise SensoriumError(beside, f"cannot be written ({error.strerror or error}).", remedy) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def whole_or_nothing(target: Path, remedy: str = _MOVE) -> Iterator[Path]:
    """A scratch folder that becomes `target` when the block ends well, and vanishes when it does not."""
    with scratch_folder(target, remedy) as scratch:
        yield scratch
        try:
            scratch.replace(target)
        except OSError:
            if not target.is_dir():  # else another process was faster; its folder is as good as ours
                raise


def derived(name: str, source_sha256: str, build: Callable[[Path], None]) -> Path:
    """The cached folder that `build(folder)` makes of a source file; built once for each content of the source, and
    again where a file of it is missing or was cut short since.

    name: what it is, with the version of the conversion, for example `dinov2-1`.
    """
    target = cache_root() / "derived" / f"{name}-{source_sha256[:16]}"
    beside = target.with_name(f"{target.name}.sizes.json")
    if target.is_dir() and beside.is_file() and _sizes(target) != json.loads(beside.read_text()):
        shutil.rmtree(target, ignore_errors=True)
    if not target.is_dir():
        with whole_or_nothing(target) as scratch:
            build(scratch)
        write_whole(beside, json.dumps(_sizes(target)), _MOVE)
    return target


def _sizes(folder: Path) -> dict[str, int]:
    """File -> bytes. Reading gigabytes at every start would be slower than what a rotten bit costs."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
