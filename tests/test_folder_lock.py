"""A run's folder is written by one process at a time, of whichever kind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from sensorium.errors import SensoriumError
from sensorium.folder_lock import locked

pytest.importorskip("fcntl")

_HOLDER = """
import sys, time
from pathlib import Path
from sensorium.folder_lock import locked
with locked(Path(sys.argv[1]), "training"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_killed_writer_leaves_its_folder_free(tmp_path):
    with subprocess.Popen([sys.executable, "-c", _HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(SensoriumError, match="another training"), locked(tmp_path, "training"):
            pass
        os.kill(holder.pid, signal.SIGKILL)
    with locked(tmp_path, "training"):
        pass


def test_whoever_comes_second_is_told_who_is_there(tmp_path):
    refused = pytest.raises(SensoriumError, match="another evaluation is writing")
    with locked(tmp_path, "evaluation"), refused, locked(tmp_path, "evaluation"):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    run = tmp_path / "file" / "run"
    with pytest.raises(SensoriumError, match="file/run: cannot be written"), locked(run, "training"):
        pass
