"""A run's folder is written by one training at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from sensorium.errors import SensoriumError
from sensorium.training import loop
from sensorium.training.journal import read_journal
from sensorium.training.lock import locked
from sensorium.training.loop import train
from sensorium.training.recipe import Recipe

pytest.importorskip("fcntl")

_HOLDER = """
import sys, time
from pathlib import Path
from sensorium.training.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_training_of_a_run_is_refused(tiny_recipe_tree, own_cache, tmp_path, monkeypatch):
    recipe = Recipe.model_validate(tiny_recipe_tree | {"stages": tiny_recipe_tree["stages"][:1]})
    real, refused = loop.train_step, []

    def step(*args):
        if not refused:
            with pytest.raises(SensoriumError, match="another training is writing this run"):
                train(recipe, tmp_path / "run", say=lambda line: None)
            refused.append(1)
        return real(*args)

    monkeypatch.setattr(loop, "train_step", step)
    assert train(recipe, tmp_path / "run", say=lambda line: None) == tmp_path / "run" / "model"
    steps = [row["step"] for row in read_journal(tmp_path / "run" / "journal.jsonl") if "loss" in row]
    assert refused and steps == [1, 2, 3, 4, 5, 6]


def test_a_killed_training_leaves_its_folder_free(tmp_path):
    with subprocess.Popen([sys.executable, "-c", _HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(SensoriumError, match="another training"), locked(tmp_path):
            pass
        os.kill(holder.pid, signal.SIGKILL)
    with locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SensoriumError, match="file/run: cannot be written"), locked(tmp_path / "file" / "run"):
        pass
