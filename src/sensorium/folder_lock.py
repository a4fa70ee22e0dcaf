"""One writer at a time in a folder: two would write one journal and remove each other's files.

The lock is the system's, on an open file: it is gone when its holder ends, killed or not, and the file left behind says
nothing. Where there are no such locks (Windows, some network disks) a folder goes unguarded.

Used by training and by evaluation, each for the folder of a run.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sensorium.errors import SensoriumError

NAME = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def locked(run: Path, writer: str) -> Iterator[None]:
    """Hold a run's folder, made if it is not there. writer: who holds it, "training" or "evaluation".

    Raises SensoriumError when another writer holds it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        run.mkdir(parents=True, exist_ok=True)
        file = (run / NAME).open("ab")
    except OSError as error:
        raise SensoriumError(run, f"cannot be written ({error.strerror or error}).", "Choose another --out.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SensoriumError(run, f"another {writer} is writing this run.",
                                 "Wait until it ends or stop it, or choose another --out.") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
