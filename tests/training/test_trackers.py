"""Trackers show what the journal holds, under steps that count through stages; none of them can stop a training."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from sensorium.errors import SensoriumError
from sensorium.training import flops, loop
from sensorium.training.journal import Journal, read_journal
from sensorium.training.loop import train
from sensorium.training.recipe import Recipe
from sensorium.training.trackers import (
    TRACKERS,
    Numbers,
    TensorBoardTracker,
    Tracking,
    flatten,
    open_trackers,
)

STEP = {"stage": "align", "step": 3, "loss": 2.5, "gradient_norm": 0.5, "samples": 8, "tokens": 600,
        "lr": {"connector": 1e-3, "vision": 1e-4}, "seconds": 2.0, "waited": 0.5, "mfu": 0.4,
        "sources": {"chart qa": 6, "captions": 2}}
PROMISED = {"stage", "step", "loss", "gradient_norm", "samples", "tokens", "lr", "seconds", "waited"}


class Recorder:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.started: list[tuple[str, dict[str, Any], Path]] = []
        self.rows: list[dict[str, float]] = []
        self.finished = 0

    def start(self, name, config, folder) -> None:
        self.started.append((name, config, folder))

    def log(self, row) -> None:
        self.rows.append(dict(row))

    def finish(self) -> None:
        self.finished += 1


class Run:
    """What `wandb.init` and `trackio.init` give: remembers what it is told, refuses steps that lie back."""

    def __init__(self, starting_step: int, rows: list[tuple[int, dict[str, float]]]) -> None:
        self.starting_step, self.rows, self.is_finished = starting_step, rows, False

    def log(self, numbers: dict[str, float], step: int) -> None:
        self.rows.append((step, numbers))

    def finish(self) -> None:
        self.is_finished = True


@pytest.fixture
def service(monkeypatch) -> SimpleNamespace:
    """A fake `wandb` and `trackio` that keep runs by id or name, as the services do: given, runs, rows."""
    found = SimpleNamespace(given=[], runs=[], rows={})

    def init(**options: Any) -> Run:
        rows = found.rows.setdefault(options.get("id", options["name"]), [])
        found.given.append(options)
        found.runs.append(Run(max((step for step, _ in rows), default=-1) + 1, rows))
        return found.runs[-1]

    for name in ("wandb", "trackio"):
        library = ModuleType(name)
        library.init = init  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, library)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return found


def _with(monkeypatch: pytest.MonkeyPatch, *made: Any) -> None:
    """Let the next trainings have these trackers."""
    monkeypatch.setattr(loop, "open_trackers", lambda names: list(made))


def _train(tree: dict[str, Any], run: Path) -> Path | None:
    return train(Recipe.model_validate(tree), run, say=lambda line: None)


def _interrupt_at(monkeypatch: pytest.MonkeyPatch, number: int, act: Any) -> None:
    """Do something during the n-th optimizer step from now."""
    real, calls = loop.train_step, []

    def counted(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            act()
        return real(*args)

    monkeypatch.setattr(loop, "train_step", counted)


def _crash() -> None:
    raise RuntimeError("crash")


def test_a_row_becomes_flat_numbers():
    assert flatten(STEP) == {
        "loss": 2.5, "gradient_norm": 0.5, "mfu": 0.4, "lr/connector": 1e-3, "lr/vision": 1e-4,
        "samples_per_s": 4.0, "tokens_per_s": 300.0, "waiting_share": 0.25,
    }  # fmt: skip
    validation = {"stage": "align", "step": 3, "validation": {"loss": 2.0, "answers_right": 0.5}}
    assert flatten(validation) == {"validation/loss": 2.0, "validation/answers_right": 0.5}


def test_what_a_row_does_not_say_is_left_out():
    """A loss that was no number stands in the journal as null; a device's peak may be unknown; a step may take 0 s."""
    row = {"stage": "align", "step": 1, "loss": None, "samples": 1, "tokens": 9, "seconds": 0.0, "waited": 0.0}
    assert flatten(row) == {}
    opening = {"stage": "align", "step": 0, "packs": 3, "fill": 0.9, "sources": [{"title": "captions"}]}
    assert Numbers().of(opening) == {} and Numbers().of({"event": "moved"}) == {}


def test_steps_and_samples_of_each_source_count_through_the_stages():
    numbers = Numbers()
    rows = [("align", 0, {}), ("align", 1, {"a": 3, "b": 1}), ("align", 2, {"a": 2, "b": 2}), ("instruct", 0, {}),
            ("instruct", 1, {"a": 1, "c": 3})]
    found = []
    for stage, step, sources in rows:
        row = {"stage": stage, "step": step}
        if step:
            row |= {"loss": 1.0, "samples": 4, "sources": sources}
        seen = numbers.of(row)
        found.append((numbers.step, {name: n for name, n in seen.items() if "seen" in name}))
    assert found[1:3] == [(1, {"samples_seen": 4, "seen/a": 3, "seen/b": 1}),
                          (2, {"samples_seen": 8, "seen/a": 5, "seen/b": 3})]
    assert found[3:] == [(2, {}), (3, {"samples_seen": 12, "seen/a": 6, "seen/b": 3, "seen/c": 3})]


def test_a_training_writes_what_is_promised_into_journal_and_trackers(tiny_recipe_tree, own_cache, tmp_path,
                                                                     monkeypatch):
    recorder = Recorder()
    _with(monkeypatch, recorder)
    monkeypatch.setattr(flops, "peak_flops", lambda device: 1e12)
    _train(tiny_recipe_tree, tmp_path / "run")
    rows = read_journal(tmp_path / "run" / "journal.jsonl")
    steps = [row for row in rows if "loss" in row]
    assert all(row.keys() >= PROMISED | {"mfu"} for row in steps)
    assert all(0 <= row["waited"] <= row["seconds"] and 0 < row["mfu"] < 1 for row in steps)
    assert [(name, folder) for name, _, folder in recorder.started] == [("run", tmp_path / "run")]
    assert recorder.started[0][1]["name"] == "tiny" and json.dumps(recorder.started[0][1])
    assert recorder.finished == 1
    logged = [row for row in recorder.rows if "loss" in row]
    assert [row["step"] for row in logged] == list(range(1, len(steps) + 1))
    assert [row["loss"] for row in logged] == [row["loss"] for row in steps]
    assert logged[-1]["samples_seen"] == sum(row["samples"] for row in steps)
    assert logged[0].keys() >= {"gradient_norm", "mfu", "tokens_per_s", "samples_per_s", "waiting_share", "lr/vision"}
    validated = [row for row in recorder.rows if "validation/loss" in row]
    assert [row["step"] for row in validated][:4] == [4, 6, 10, 12]  # of stages of 6 steps, every 4 and at the end


def test_samples_seen_of_each_source_are_those_of_the_steps(tiny_recipe_tree, own_cache, tmp_path, monkeypatch):
    sources = _sources(tmp_path)
    recorder = Recorder()
    _with(monkeypatch, recorder)
    stage = tiny_recipe_tree["stages"][1] | {"data": str(sources), "samples": 24}
    _train(tiny_recipe_tree | {"stages": [stage]}, tmp_path / "run")
    rows = [row for row in read_journal(tmp_path / "run" / "journal.jsonl") if "loss" in row]
    expected: Counter[str] = Counter()
    for row, logged in zip(rows, (r for r in recorder.rows if "loss" in r), strict=True):
        expected.update(row["sources"])
        assert {f"seen/{name}": n for name, n in expected.items()}.items() <= logged.items()
    assert expected.total() == 24 and len(expected) == 2


def _sources(folder: Path) -> Path:
    """Two sources of conversations without pictures."""
    for name in ("first", "second"):
        rows = [{"messages": [{"role": "user", "content": f"Are you {name} {i}?"},
                              {"role": "assistant", "content": "You are."}]} for i in range(12)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "sources.yaml"
    listed = "".join(f"  - {{format: messages, path: {folder / name}.jsonl}}\n" for name in ("first", "second"))
    path.write_text(f"sources:\n{listed}")
    return path


@pytest.mark.parametrize("breaks", ["start", "log", "finish"])
def test_a_tracker_that_fails_is_warned_of_once_and_does_not_stop_the_run(tiny_recipe_tree, own_cache, tmp_path,
                                                                          monkeypatch, caplog, breaks):
    class Broken(Recorder):
        pass

    def fail(*_: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(Broken, breaks, fail)
    broken, recorder = Broken(), Recorder()
    _with(monkeypatch, broken, recorder)
    tree = tiny_recipe_tree | {"stages": tiny_recipe_tree["stages"][:1]}
    with caplog.at_level(logging.WARNING, "sensorium.training.trackers"):
        assert _train(tree, tmp_path / "run") == tmp_path / "run" / "model"
    assert [r.message for r in caplog.records if r.name == "sensorium.training.trackers"] == [
        "Broken failed and is left out from now on (ConnectionError: no network)"
    ]
    assert len([row for row in recorder.rows if "loss" in row]) == 6 and recorder.finished == 1


def test_a_resumed_run_goes_on_with_its_steps_and_its_sums(tiny_recipe_tree, own_cache, tmp_path, monkeypatch):
    """Interrupted in step 8, which is the second one of the second stage."""
    first, second, whole = Recorder(), Recorder(), Recorder()
    with monkeypatch.context() as patch:
        _with(patch, first)
        _interrupt_at(patch, 8, lambda: signal.raise_signal(signal.SIGINT))
        assert _train(tiny_recipe_tree, tmp_path / "run") is None
    assert first.finished == 1
    for recorder, run in ((second, "run"), (whole, "whole")):
        _with(monkeypatch, recorder)
        _train(tiny_recipe_tree, tmp_path / run)
    both = [row for row in first.rows + second.rows if "loss" in row]
    assert [row["step"] for row in both] == [row["step"] for row in whole.rows if "loss" in row]
    assert [row["samples_seen"] for row in both] == [row["samples_seen"] for row in whole.rows if "loss" in row]
    assert second.rows[0]["step"] == 9


def test_steps_done_again_after_a_crash_are_logged_once_where_the_service_knows_runs(tiny_recipe_tree, own_cache,
                                                                                     tmp_path, monkeypatch, service):
    """A crash in step 9, the last checkpoint after step 6: W&B is told of 7 and 8 by the first process alone."""
    tree = tiny_recipe_tree | {"trackers": ["wandb"]}
    with monkeypatch.context() as patch:
        _interrupt_at(patch, 9, _crash)
        with pytest.raises(RuntimeError, match="crash"):
            _train(tree, tmp_path / "run")
    _train(tree, tmp_path / "run")
    ids = {given["id"] for given in service.given}
    assert len(ids) == 1 and len(service.given) == 2 and all(run.is_finished for run in service.runs)
    steps = [step for step, numbers in service.rows[ids.pop()] if "loss" in numbers]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) > 12


_SCRIPT = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from sensorium.training import flops, loop
from sensorium.training.recipe import Recipe
real = loop.open_trackers
def opened(names):
    with open(sys.argv[3], "a") as file:
        file.write("opened\\n")
    return real(names)
loop.open_trackers, flops.peak_flops = opened, lambda device: 1e6
loop.train(Recipe.model_validate(json.loads(sys.argv[1])), Path(sys.argv[2]), say=lambda line: None)
"""


def test_several_processes_have_one_set_of_trackers_and_their_work_is_added_up(tiny_recipe_tree, own_cache, tmp_path):
    """Slices of the model over two processes: twice the peak, and the operations that one process would do."""
    (tmp_path / "train.py").write_text(_SCRIPT)
    stage = tiny_recipe_tree["stages"][1] | {"accumulate": 2}
    tree = json.dumps(tiny_recipe_tree | {"stages": [stage], "parallel": "fsdp"})
    operations = {}
    for size in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}",
                   str(tmp_path / "train.py"), tree, str(tmp_path / f"run{size}"), str(tmp_path / f"opened{size}")]
        subprocess.run(command, check=True, capture_output=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert (tmp_path / f"opened{size}").read_text() == "opened\n"
        rows = [row for row in read_journal(tmp_path / f"run{size}" / "journal.jsonl") if "loss" in row]
        operations[size] = [row["mfu"] * row["seconds"] * size * 1e6 for row in rows]
    assert operations[2] == pytest.approx(operations[1], rel=0.03)  # the journal rounds seconds


def test_wandb_and_trackio_are_told_of_the_run(tmp_path, service):
    for name, tracker in zip(("wandb", "trackio"), open_trackers(["wandb", "trackio", "wandb"]), strict=True):
        tracking = Tracking(Journal(tmp_path / name / "journal.jsonl"), [tracker])
        with tracking:
            tracking.start("mine", {"seed": 5}, tmp_path / name)
            tracking.log(STEP)
    wandb, trackio = service.given
    assert wandb["project"] == "sensorium" and wandb["name"] == "mine" and wandb["config"] == {"seed": 5}
    assert wandb["id"] == (tmp_path / "wandb" / "tracking-id").read_text() and wandb["resume"] == "allow"
    assert trackio["name"] == "mine-" + (tmp_path / "trackio" / "tracking-id").read_text()
    assert service.rows[wandb["id"]] == service.rows[trackio["name"]] == [
        (3, flatten(STEP) | {"samples_seen": 8, "seen/chart qa": 6, "seen/captions": 2})
    ]


@pytest.mark.parametrize(("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb"),
                                              ("trackio", "trackio")])
def test_a_library_that_is_missing_is_named_before_anything_is_made(tiny_recipe_tree, tmp_path, monkeypatch, name,
                                                                    module):
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(SensoriumError, match=rf"trackers: {name}: is not installed \(.*\). Run `pip install {name}`"):
        _train(tiny_recipe_tree | {"trackers": [name]}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_every_name_that_a_recipe_may_say_has_a_tracker(tiny_recipe_tree):
    assert Recipe.model_validate(tiny_recipe_tree | {"trackers": list(TRACKERS)}).trackers == tuple(TRACKERS)


def _events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return found


def test_tensorboard_reads_the_run_and_steps_done_again_are_there_once(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'sensorium[tracking]'")
    journal = tmp_path / "journal.jsonl"

    def log(first: int, last: int, loss: float) -> None:
        with Tracking(Journal(journal), [TensorBoardTracker()]) as tracking:
            tracking.journal.truncate_after(first - 1, "align")
            tracking.start("mine", {"seed": 5}, tmp_path)
            for step in range(first, last + 1):
                tracking.log(STEP | {"step": step, "loss": loss})

    log(1, 4, loss=2.0)
    log(3, 6, loss=1.0)  # after a crash in step 5, the last checkpoint after step 2
    found = _events(tmp_path)
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [
        (1, 2.0), (2, 2.0), (3, 1.0), (4, 1.0), (5, 1.0), (6, 1.0)
    ]  # fmt: skip
    assert [event.value for event in found.Scalars("seen/captions")] == [2, 4, 6, 8, 10, 12]
    assert {"lr/vision", "tokens_per_s", "waiting_share", "mfu"} <= set(found.Tags()["scalars"])
    assert "recipe/text_summary" in found.Tags()["tensors"]


_REAL = """
import sys
from pathlib import Path
from sensorium.training.journal import Journal
from sensorium.training.trackers import Tracking, open_trackers
name, folder = sys.argv[1], Path(sys.argv[2])
tracking = Tracking(Journal(folder / "journal.jsonl"), open_trackers([name]))
with tracking:
    tracking.start("mine", {"seed": 5}, folder)
    for step in (1, 2):
        tracking.log({"stage": "align", "step": step, "loss": 3.25 / step, "samples": 4, "tokens": 100, "seconds": 0.5,
                      "waited": 0.0})
"""


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_the_real_libraries_keep_the_numbers_on_this_machine(tmp_path, name):
    """W&B offline and trackio's own store, where they are installed; in a process of their own, which they stay in."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    places = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "TRACKIO_DIR": str(tmp_path / "store"),
              "HF_HUB_OFFLINE": "1"}  # fmt: skip
    subprocess.run([sys.executable, "-c", _REAL, name, str(tmp_path)], check=True, capture_output=True, timeout=120,
                   env=os.environ | places)  # fmt: skip
    id = (tmp_path / "tracking-id").read_text()
    if name == "wandb":
        [kept] = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
        data = kept.read_bytes()
        assert kept.stem == f"run-{id}" and all(word in data for word in (b"loss", b"3.25", b"1.625", b"tokens_per_s"))
    else:
        with sqlite3.connect(tmp_path / "store" / "sensorium.db") as store:
            rows = store.execute("select run_name, step, metrics from metrics order by step").fetchall()
        assert [(run, step, json.loads(numbers)["loss"]) for run, step, numbers in rows] == [
            (f"mine-{id}", 1, 3.25), (f"mine-{id}", 2, 1.625)]
        assert json.loads(rows[0][2])["tokens_per_s"] == 200 and json.loads(rows[1][2])["samples_seen"] == 8
