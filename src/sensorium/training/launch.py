"""A process for each device of this machine, found by one another as those that `torchrun` starts.

For one machine it does what `torchrun` does and says less: torchrun adds a traceback of its own to whatever stops a
run, and has one exit code for all of it. Here a run ends with the exit code of the process that ended it. Under
torchrun itself the last lines are its summary, and `tell_torchrun` puts what is wrong into that.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

GRACE_S = 10.0  # for the others to say the same and go, after one has failed
_LOOK_S = 0.1
_ENDED_WELL = (0, 130)  # trained to the end, or stopped and saved


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run `python -m sensorium ARGUMENTS` in so many processes; returns the exit code that stands for all of them.

    Ctrl-C reaches them from the terminal; SIGTERM is handed on.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes,
              "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", max(1, (os.cpu_count() or 1) // processes))}
    children: list[subprocess.Popen[bytes]] = []
    with _handing_on(children):
        for rank in range(processes):
            children.append(_start(arguments, shared | {"RANK": rank, "LOCAL_RANK": rank}))
        return _ended(children)


def tell_torchrun(error: Exception) -> None:
    """Leave an error where torchrun, if it started this process, looks for what a failed one has to say: it then closes
    with that line, in place of an address where one may read how to have tracebacks.
    """
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        said = {"message": f"error: {error}", "extraInfo": {"timestamp": str(int(time.time()))}}
        with suppress(OSError):  # the error itself matters more, and has been said
            Path(file).write_text(json.dumps({"message": said}), encoding="utf-8")


def _start(arguments: Sequence[str], places: Mapping[str, object]) -> subprocess.Popen[bytes]:
    environment = os.environ | {name: str(value) for name, value in places.items()}
    return subprocess.Popen([sys.executable, "-m", "sensorium", *arguments], env=environment)


def _ended(children: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for all of them; once one has failed, for the others no longer than GRACE_S."""
    failed: int | None = None
    deadline = float("inf")
    while (left := [child for child in children if child.poll() is None]) and time.monotonic() < deadline:
        codes = [child.returncode for child in children if child.returncode not in (None, *_ENDED_WELL)]
        if codes and failed is None:
            failed, deadline = codes[0], time.monotonic() + GRACE_S
        time.sleep(_LOOK_S)
    for child in left:
        child.kill()
        child.wait()
    codes = [child.returncode for child in children]
    if failed is None:
        failed = next((code for code in codes if code not in _ENDED_WELL), None)
    code = max(codes) if failed is None else failed
    return code if code >= 0 else 128 - code  # as a shell says that a signal ended it


@contextmanager
def _handing_on(children: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    def handle(number: int, frame: FrameType | None) -> None:
        for child in children:
            if number == signal.SIGTERM and child.poll() is None:
                child.send_signal(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
