"""Batches made ahead: the same and in the same order whoever makes them, and a worker that goes is told of."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image as PILImage

from sensorium.errors import SensoriumError
from sensorium.training import loop, workers
from sensorium.training.checkpoint import load_latest
from sensorium.training.journal import read_journal
from sensorium.training.loop import train
from sensorium.training.recipe import Recipe
from sensorium.training.workers import batches_ahead, workers_wanted

Made = tuple[torch.Tensor, int]


def make(indices: Any) -> Made:
    """What batches of these tests are: numbers, and who made them."""
    if -1 in indices:
        raise SensoriumError("mix.json row 7", "is damaged.", "Get it again.")
    if -2 in indices:
        raise ZeroDivisionError("a fault of ours")
    if -3 in indices:
        os.kill(os.getpid(), signal.SIGKILL)
    if -4 in indices:
        time.sleep(600)
    if 0 in indices:
        time.sleep(0.2)  # so that a later one is ready before the first
    return torch.tensor(indices, dtype=torch.float32), os.getpid()


@pytest.mark.parametrize("number", [0, 1, 3])
def test_batches_come_in_the_order_of_the_packs_whoever_makes_them(number):
    packs = [[i, i + 1] for i in range(0, 40, 2)]
    with batches_ahead(make, iter(packs), number) as batches:
        found = list(batches)
    assert [tensor.tolist() for tensor, _ in found] == packs
    makers = {process for _, process in found}
    assert len(makers) == max(1, number) and (os.getpid() in makers) == (number == 0)


def test_no_more_than_a_few_batches_are_made_ahead():
    """Packs of an epoch are millions, and batches are large."""
    asked = count()
    packs = ([next(asked)] for _ in range(1000))
    with batches_ahead(make, packs, 2) as batches:
        for _ in range(5):
            next(batches)
    assert next(asked) <= 5 + workers.AHEAD + 2


def test_tensors_of_every_kind_arrive_as_they_left():
    kinds = [torch.tensor([[1.5, -0.0]]), torch.tensor([2**60]), torch.tensor([True, False]), torch.zeros(0, 3),
             torch.arange(6).reshape(2, 3).T]
    is_batch, found = workers.pickle.loads(workers._pickled((True, {"kinds": kinds, "names": ("a", "b")})))
    assert is_batch and found["names"] == ("a", "b")
    for one, other in zip(kinds, found["kinds"], strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    found["kinds"][0] += 1  # it is ours to change


@pytest.mark.parametrize("number", [0, 2])
def test_what_a_person_can_mend_is_raised_in_its_place(number):
    with batches_ahead(make, [[1], [2], [-1], [3]], number) as batches:
        assert [next(batches)[0].item() for _ in range(2)] == [1, 2]
        with pytest.raises(SensoriumError, match=r"mix.json row 7: is damaged. Get it again."):
            next(batches)


def test_a_fault_of_ours_is_none_for_a_person_to_mend():
    with batches_ahead(make, [[1], [-2], [3]], 2) as batches:
        next(batches)
        with pytest.raises(RuntimeError, match=r"worker that makes batches failed \(exit code 1\)"):
            next(batches)


def test_a_worker_that_is_killed_is_told_of():
    with batches_ahead(make, [[1], [2], [-3], [3], [4]], 2) as batches:
        assert [next(batches)[0].item() for _ in range(2)] == [1, 2]
        with pytest.raises(SensoriumError, match=r"workers: one of the processes .* was killed \(SIGKILL\)\..*lower"):
            next(batches)


def _is_alive(process: int) -> bool:
    """Not gone, and no zombie that its parent has yet to look at."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_leaving_early_waits_for_no_batch():
    """One of them sleeps for ten minutes."""
    with batches_ahead(make, [[1], [2], [-4], [3], [4]], 2) as batches:
        makers = {next(batches)[1] for _ in range(2)}
        assert all(map(_is_alive, makers))
    assert not any(map(_is_alive, makers))


def test_signals_to_all_of_a_run_are_for_the_loop_alone():
    with batches_ahead(make, [[i] for i in range(1, 40)], 2) as batches:
        makers = [next(batches)[1] for _ in range(2)]
        for process in makers:
            os.kill(process, signal.SIGINT)
            os.kill(process, signal.SIGTERM)
        assert {process for _, process in batches} == set(makers)


_ORPHANS = """
import os, signal
from sensorium.training.workers import batches_ahead
from tests_of_workers import make
with batches_ahead(make, [[i] for i in range(1, 9)], 2) as batches:
    print(*[next(batches)[1] for _ in range(2)], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_workers_go_when_the_loop_is_killed(tmp_path):
    (tmp_path / "tests_of_workers.py").write_bytes(Path(__file__).read_bytes())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", _ORPHANS], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env=environment, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    deadline = time.monotonic() + 20
    while any(_is_alive(int(process)) for process in done.stdout.split()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(done.stdout.split()) == 2


@pytest.mark.parametrize(("asked", "device", "processes", "cores", "number"), [
    (None, "cpu", 1, 64, 0), (None, "cuda", 1, 16, 4), (None, "cuda", 8, 16, 1), (None, "cuda", 1, 2, 1),
    (0, "cuda", 1, 16, 0), (7, "cpu", 1, 2, 7),
])  # fmt: skip
def test_unasked_there_are_as_many_as_help(monkeypatch, asked, device, processes, cores, number):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert workers_wanted(asked, torch.device(device), processes) == number


@pytest.fixture
def tree(tiny_recipe_tree, three_formats, own_cache) -> dict[str, Any]:
    """One stage over three formats, with pictures to decode, one of them damaged behind its header; packs are small."""
    for i in range(12):
        PILImage.effect_noise((40 + i, 30), 40 + i).save(three_formats / "pictures" / f"{i}.png")
    damaged, sources = three_formats / "pictures" / "3.png", three_formats / "sources.yaml"
    damaged.write_bytes(damaged.read_bytes()[:90])
    sources.write_text(sources.read_text() + "max_bad_rows: 0.2\n")
    stage = tiny_recipe_tree["stages"][1] | {"batch": {"max_tokens": 128}, "accumulate": 2}
    del stage["samples"]
    return tiny_recipe_tree | {"data": str(sources), "stages": [stage]}


def _train(tree: dict[str, Any], run: Path) -> Path | None:
    return train(Recipe.model_validate(tree), run, say=lambda line: None)


def _numbers(run: Path) -> list[dict[str, Any]]:
    """What the journal says of each step, but for the time that it took."""
    rows = read_journal(run / "journal.jsonl")
    return [{key: value for key, value in row.items() if key not in ("seconds", "waited", "mfu")} for row in rows]


def _weights(run: Path) -> bytes:
    return (run / "model" / "trained.safetensors").read_bytes()


@pytest.fixture
def whole(tree, tmp_path) -> Path:
    """The run in one piece and in one process."""
    _train(tree, tmp_path / "whole")
    return tmp_path / "whole"


@pytest.mark.parametrize("number", [1, 3])
def test_the_same_is_learned_with_any_number_of_workers(tree, whole, tmp_path, number, caplog):
    """Bad rows count the same too: a picture damaged behind its header costs the three samples that show it."""
    _train(tree | {"workers": number}, tmp_path / "run")
    assert _weights(tmp_path / "run") == _weights(whole) and _numbers(tmp_path / "run") == _numbers(whole)
    assert sum(row.get("lost", 0) for row in _numbers(whole)) == 3
    said, before = ([record.getMessage() for record in caplog.get_records(when)] for when in ("call", "setup"))
    assert len(said) == 3 and said == before  # both runs complain alike, and name file and row
    assert any("mix.json row 4: picture 1 (" in line and "3.png): is damaged" in line for line in said)


@pytest.mark.parametrize("numbers", [(0, 2), (2, 1, 0)])
def test_a_run_goes_on_with_another_number_of_workers_bit_for_bit(tree, whole, tmp_path, monkeypatch, numbers):
    real, calls = loop.train_step, list[int]()

    def stopped(*args: Any) -> Any:
        calls.append(1)
        if len(calls) in (2, 4):
            signal.raise_signal(signal.SIGINT)
        return real(*args)

    for number in numbers:
        assert not (tmp_path / "run" / "model").exists()
        with monkeypatch.context() as patch:
            if number != numbers[-1]:
                patch.setattr(loop, "train_step", stopped)
            _train(tree | {"workers": number}, tmp_path / "run")
    assert len(calls) == 2 * (len(numbers) - 1)
    assert _weights(tmp_path / "run") == _weights(whole) and _numbers(tmp_path / "run") == _numbers(whole)
    states = [load_latest(run / "checkpoints") for run in (tmp_path / "run", whole)]
    assert torch.equal(states[0]["rng"][0]["torch"], states[1]["rng"][0]["torch"])


def test_a_killed_worker_stops_the_run_and_costs_no_checkpoint(tree, whole, tmp_path, monkeypatch):
    real, calls = loop.train_step, list[int]()

    def step(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            for process in _children():
                os.kill(process, signal.SIGKILL)
        return real(*args)

    often = tree | {"workers": 2, "checkpoint_minutes": 0}
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", step)
        with pytest.raises(SensoriumError, match=r"was killed \(SIGKILL\).* goes on from its last checkpoint"):
            _train(often, tmp_path / "run")
    saved = load_latest(tmp_path / "run" / "checkpoints")
    assert saved is not None and saved["step"] >= 2 and not list((tmp_path / "run").rglob("*.part"))
    _train(often, tmp_path / "run")
    assert _weights(tmp_path / "run") == _weights(whole)


def _children() -> Iterator[int]:
    """The workers that live."""
    import multiprocessing

    return (child.pid for child in multiprocessing.active_children() if child.name == "batches" and child.pid)


_INTERRUPTED = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from sensorium.training.loop import train
from sensorium.training.recipe import Recipe
if __name__ == "__main__":
    print("ended", train(Recipe.model_validate_json(sys.argv[1]), Path(sys.argv[2]), say=lambda line: None), flush=True)
"""


def test_ctrl_c_in_a_terminal_reaches_workers_too_and_all_end_cleanly(tree, tmp_path):
    """The signal goes to the whole group of processes, as a terminal sends it."""
    tree["stages"][0]["samples"] = 4000
    sources = yaml.safe_load((tmp_path / "sources.yaml").read_text())
    del sources["sources"][2]["epochs"]
    (tmp_path / "sources.yaml").write_text(yaml.safe_dump(sources))
    command = [sys.executable, "-c", _INTERRUPTED, json.dumps(tree | {"workers": 2}), str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    journal, deadline = tmp_path / "run" / "journal.jsonl", time.monotonic() + 100
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 5):
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "ended None\n") and "Traceback" not in err
    saved = load_latest(tmp_path / "run" / "checkpoints")
    assert saved is not None and saved["step"] == max(row["step"] for row in read_journal(journal))
