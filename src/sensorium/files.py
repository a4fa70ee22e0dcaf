"""Write a file whole or not at all: beside it under another name first, then renamed, which is one step on a disk.

A kill, a crash or a full disk leaves what was there before, and nothing half written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sensorium.errors import SensoriumError


@contextmanager
def replacing(path: Path, remedy: str = "Make room, or choose another place.") -> Iterator[Path]:
    """A path to write to; when the block ends well, what was written there takes the place of `path`.

    Makes the folder. Raises SensoriumError with `remedy` when the disk is full or refuses.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as error:
        raise SensoriumError(path, f"cannot be written ({error.strerror or error}).", remedy) from error
    finally:
        with suppress(OSError):  # the folder itself may be what is wrong
            part.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes | str, remedy: str = "Make room, or choose another place.") -> None:
    """`replacing` for what is in memory already; text becomes UTF-8."""
    with replacing(path, remedy) as part:
        part.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)
