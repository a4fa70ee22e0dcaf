"""A checkpoint in slices is whole or it is none: kills, missing and altered files, full disks."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch

from sensorium.errors import SensoriumError
from sensorium.training.checkpoint import save_checkpoint
from sensorium.training.ranks import ALONE
from sensorium.training.slices import load_slices, save_slices
from sensorium.training.state import VERSION, find_latest

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")  # by one process, for the test's sake


def save(folder: Path, step: int) -> Path:
    weights = {"model": {"weight": torch.full((1000,), float(step)), "bias": torch.ones(3)}}
    save_slices(folder, {"step": step, "version": VERSION}, weights, ALONE)
    return folder / f"step-{step:08d}.slices"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_is_loaded_and_only_the_newest_stay(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step)
    assert names(tmp_path) == ["step-00000002.slices", "step-00000003.slices"]
    found = find_latest(tmp_path, ALONE)
    read = {"model": {"weight": torch.zeros(1000)}}
    load_slices(found["slices"], read, ALONE)
    assert found["step"] == 3 and (read["model"]["weight"] == 3).all()


def test_files_and_folders_are_one_row_of_checkpoints(tmp_path):
    save(tmp_path, 1)
    save_checkpoint(tmp_path, {"step": 2, "version": VERSION})
    assert find_latest(tmp_path, ALONE)["step"] == 2
    save(tmp_path, 3)
    assert names(tmp_path) == ["step-00000002.pt", "step-00000003.slices"]
    with pytest.raises(SensoriumError, match=r"holds step-00000003\.slices, and this run is only at step 2"):
        save_checkpoint(tmp_path, {"step": 2})


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("file", ["__0_0.distcp", ".metadata", "run.pt"])
@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_any_damage_is_noticed_and_the_run_goes_on_from_the_one_before(tmp_path, caplog, file, damage):
    save(tmp_path, 1)
    damage(save(tmp_path, 2) / file)
    with caplog.at_level(logging.WARNING):
        assert find_latest(tmp_path, ALONE)["step"] == 1
    assert f"step-00000002.slices is damaged ({file} is " in caplog.text
    assert names(tmp_path) == ["step-00000001.slices", "step-00000002.slices.damaged"]
    save(tmp_path, 2)
    assert names(tmp_path) == ["step-00000001.slices", "step-00000002.slices"]


def test_when_all_are_damaged_the_run_does_not_start_anew(tmp_path):
    cut(save(tmp_path, 1) / "__0_0.distcp")
    (save(tmp_path, 2) / ".metadata").unlink()
    expected = r"step-00000002.slices: .metadata is missing, step-00000001.slices: __0_0.distcp is cut off or altered\)"
    with pytest.raises(SensoriumError, match=expected):
        find_latest(tmp_path, ALONE)


def test_checkpoints_of_another_version_are_refused(tmp_path):
    save_checkpoint(tmp_path, {"step": 1, "optimizer": {"state": {}}})
    with pytest.raises(SensoriumError, match="another version of Sensorium"):
        find_latest(tmp_path, ALONE)


PAIR = """
import os, random, signal, sys, time, torch
import torch.distributed as dist
from pathlib import Path
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from sensorium.errors import SensoriumError
from sensorium.training.checkpoint import checkpoints
from sensorium.training.ranks import ALONE, Ranks
from sensorium.training.slices import load_slices, save_slices
from sensorium.training.state import VERSION, find_latest
torch.set_num_threads(1)
folder, random_ = Path(sys.argv[1]), random.Random(0)
folder.mkdir()

def pair(number, work):
    children = []
    for rank in range(2):
        if (child := os.fork()) == 0:
            sys.stderr = open(os.devnull, "w")  # what the other one says when its peer dies
            dist.init_process_group("gloo", init_method=f"file://{folder}-{number}", rank=rank, world_size=2)
            mesh = init_device_mesh("cpu", (2,))
            work(Ranks(rank, 2), lambda tensor: distribute_tensor(tensor, mesh, [Shard(0)]))
            os._exit(0)
        children.append(child)
    return children

def newest():
    return max((int(path.stem[5:]) for path in checkpoints(folder)), default=0)
"""

# One interpreter loads torch once and forks two processes for each kill: real ones that share a save and really die.
KILLED = PAIR + """
seen = parts = 0
def saving(ranks, spread):
    for step in range(seen + 1, seen + 10_000):
        state = {"step": step, "version": VERSION}
        save_slices(folder, state, {"model": {"weight": spread(torch.full((200_001,), float(step)))}}, ranks)

for kill in range(12):
    children = pair(kill, saving)
    while newest() == seen:
        time.sleep(0.001)
    time.sleep(random_.random() * 0.05)
    first = kill % 2  # either of the two dies first, and the other does not live long without it
    os.kill(children[first], signal.SIGKILL)
    os.waitpid(children[first], 0)
    os.kill(children[1 - first], signal.SIGKILL)
    os.waitpid(children[1 - first], 0)
    before, seen = seen, newest()
    parts += any(folder.glob("*.part"))
    found, read = find_latest(folder, ALONE), {"model": {"weight": torch.zeros(200_001)}}
    load_slices(found["slices"], read, ALONE)
    assert found["step"] == seen > before and bool((read["model"]["weight"] == seen).all())
    assert not any(folder.glob("*.part")) and not any(folder.glob("*.damaged"))
print("kills in the middle of writing:", parts)
"""

FULL = PAIR + """
import resource
def saving(ranks, spread):
    # An uneven share: of two processes only the second meets its limit.
    save_slices(folder, {"step": 1, "version": VERSION}, {"model": {"weight": spread(torch.ones(10))}}, ranks)
    if ranks.rank == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        big = {"model": {"weight": spread(torch.ones(100_000))}}
        save_slices(folder, {"step": 2, "version": VERSION}, big, ranks)
    except SensoriumError as error:
        Path(f"{folder}-said-{ranks.rank}").write_text(str(error))

for child in pair(0, saving):
    os.waitpid(child, 0)
for rank in range(2):
    print(Path(f"{folder}-said-{rank}").read_text())
print(newest(), find_latest(folder, ALONE)["step"])
"""


@pytest.mark.skipif(os.name == "nt", reason="needs fork and SIGKILL")
def test_kill_9_at_any_moment_leaves_the_last_checkpoint_whole(tmp_path, run_script):
    said = run_script(KILLED, tmp_path / "run")
    assert int(said.rsplit(maxsplit=1)[1]) >= 3  # the moments were well chosen: some kills fell into a write


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_of_one_process_is_told_by_both_and_the_last_checkpoint_stays(tmp_path, run_script):
    *said, last = run_script(FULL, tmp_path / "run").splitlines()
    assert len(said) == 2 and said[0] == said[1] and "step-00000002.slices: cannot save this checkpoint" in said[0]
    assert last == "1 1" and names(tmp_path / "run") == ["step-00000001.slices"]
