"""Several processes on one machine: started together, ended together, and heard as one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from sensorium.errors import SensoriumError
from sensorium.training import launch as launching
from sensorium.training.launch import launch, tell_torchrun


def _ranks(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def script(monkeypatch):
    """script(text): what processes run in place of `sensorium`, a script of Python's."""
    def put(text: str) -> None:
        def start(arguments: Any, places: Any) -> subprocess.Popen[bytes]:
            environment = os.environ | {name: str(value) for name, value in places.items()}
            return subprocess.Popen([sys.executable, "-S", "-c", text, *arguments], env=environment)

        monkeypatch.setattr(launching, "_start", start)

    return put


def test_each_process_is_told_its_place(script, tmp_path):
    script("import os, sys, pathlib; e = os.environ; assert e['MASTER_ADDR'] == '127.0.0.1' and int(e['MASTER_PORT'])\n"
           "pathlib.Path(sys.argv[1], '-'.join(e[k] for k in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE')))"
           ".touch()")
    assert launch([str(tmp_path)], 3) == 0
    assert _ranks(tmp_path) == ["0-0-3-3", "1-1-3-3", "2-2-3-3"]


@pytest.mark.parametrize(("codes", "expected"), [("0 0", 0), ("130 130", 130), ("2 2", 2), ("0 2", 2), ("130 1", 1)])
def test_the_exit_code_is_that_of_whoever_ended_the_run(script, codes, expected):
    script("import os, sys; sys.exit(int(sys.argv[1].split()[int(os.environ['RANK'])]))")
    assert launch([codes], 2) == expected


def test_one_that_fails_ends_the_others_that_would_wait_for_it(script, monkeypatch):
    monkeypatch.setattr(launching, "GRACE_S", 0.3)
    script("import os, sys, time\nif os.environ['RANK'] == '1': sys.exit(2)\ntime.sleep(600)")
    assert launch([], 3) == 2


def test_one_that_is_killed_is_told_as_a_shell_tells_it(script, monkeypatch):
    monkeypatch.setattr(launching, "GRACE_S", 0.3)
    script("import os, time\nif os.environ['RANK'] == '0': os.kill(os.getpid(), 9)\ntime.sleep(600)")
    assert launch([], 2) == 128 + signal.SIGKILL


def test_sigterm_is_handed_on_and_all_may_save(script, tmp_path):
    script("import os, pathlib, signal, sys, time\n"
           "here = pathlib.Path(sys.argv[1], os.environ['RANK'])\n"
           "signal.signal(signal.SIGTERM, lambda *_: (here.with_suffix('.saved').touch(), sys.exit(130)))\n"
           "here.touch()\ntime.sleep(600)")
    child = os.fork()
    if child == 0:
        os._exit(launch([str(tmp_path)], 2))
    deadline = time.monotonic() + 60
    while _ranks(tmp_path) != ["0", "1"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    assert _ranks(tmp_path) == ["0", "0.saved", "1", "1.saved"]


def test_an_error_of_a_run_in_several_processes_is_one_line(tiny_recipe_tree, tmp_path):
    """The recipe's own, met by both: said by the first, and the exit code is that of any other error of a person."""
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tiny_recipe_tree | {"data": "nowhere.yaml"}))
    command = [sys.executable, "-m", "sensorium", "train", "recipe.yaml", "--out", "run", "--processes", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"error: nowhere.yaml: is not there. A recipe's paths are relative to where you are, {tmp_path}. "
        "Go to another folder, or change `data` (--data)."]
    assert not (tmp_path / "run").exists()


def test_what_torchrun_says_last_is_what_is_wrong(tmp_path, monkeypatch):
    """Its own summary of two processes, of which one met the error and left it, and the other was ended."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    tell_torchrun(SensoriumError("recipe.yaml", "is not there.", "Look again."))
    failures = {0: ProcessFailure(0, 11, 2, str(tmp_path / "error.json")),
                1: ProcessFailure(1, 12, -15, str(tmp_path / "none.json"))}
    *_, last, border = str(ChildFailedError("sensorium", failures)).splitlines()
    assert last == "  traceback : error: recipe.yaml: is not there. Look again." and set(border) == {"="}
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "nowhere" / "error.json"))
    tell_torchrun(SensoriumError("recipe.yaml", "is not there."))
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE")
    tell_torchrun(SensoriumError("recipe.yaml", "is not there."))
    assert [path.name for path in tmp_path.iterdir()] == ["error.json"]
