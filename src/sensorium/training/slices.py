"""Checkpoints of a model in slices: a folder to which every process writes its own, by torch's distributed checkpoints.

    step-00001200.slices/
      __0_0.distcp, __1_0.distcp, …   tensors, of each process those that it holds
      .metadata                       torch's table of what lies where
      run.pt                          the rest of the state, and size and SHA-256 of each file beside it

The folder gets its name when all of it is on the disk. torch checks none of its files when it reads them, so
`complaint` does: a file that is missing, cut off or altered makes the checkpoint a damaged one. Any number of processes
can read it, one as well, into slices or into whole tensors.

Used by `training.state`.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException

from sensorium.training import checkpoint
from sensorium.training.checkpoint import (
    State,
    cannot_save,
    make_room,
    part_path,
    publish,
    read_state,
    remove,
    sync_folder,
    write_state,
)
from sensorium.training.ranks import Ranks

SUFFIX = ".slices"
_STATE, _TABLE = "run.pt", ".metadata"
_Files = dict[str, tuple[int, str]]  # name -> size, SHA-256


def save_slices(folder: Path, state: State, tensors: dict[str, dict[str, Tensor]], ranks: Ranks) -> None:
    """Write a checkpoint, as `checkpoint.save_checkpoint` does; every process calls it.

    state: all but the tensors, the same everywhere. Raises SensoriumError, in every process, when the disk of one is
    full; earlier checkpoints stay.
    """
    part = part_path(folder, state["step"], "slices")
    try:
        with ranks.failing_together(), _explained(part):
            if ranks.is_first:
                make_room(part)
        with ranks.failing_together(), _explained(part):
            dcp.save(tensors, checkpoint_id=part, no_dist=ranks.size == 1)  # flushes each file to the disk
            mine = {file.name: _digest(file) for file in part.glob(f"__{ranks.rank}_*.distcp")}
        files: _Files = {name: found for of_rank in ranks.gather(mine) for name, found in of_rank.items()}
        with ranks.failing_together(), _explained(part):
            if ranks.is_first:
                files[_TABLE] = _digest(part / _TABLE)
                write_state(part / _STATE, state | {"files": files})
                sync_folder(part)
                publish(part)
    finally:
        if ranks.is_first:
            remove(part)


def read_slices_state(path: Path) -> State:
    """The state without its tensors, which `load_slices` reads, under the name that it goes by."""
    return read_state(path / _STATE) | {"slices": str(path)}


def load_slices(path: str, tensors: dict[str, dict[str, Tensor]], ranks: Ranks) -> None:
    """Read tensors, or this process's slices of them, into those given; every process calls it."""
    with warnings.catch_warnings():  # that one process reads them is meant so
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        dcp.load(tensors, checkpoint_id=path, no_dist=ranks.size == 1)


def complaint(path: Path, rank: int = 0, size: int = 1) -> str:
    """What is wrong with a checkpoint, or nothing. Of several processes each looks at its share of the files."""
    if not (path / _STATE).is_file():
        return f"{_STATE} is missing"
    if wrong := checkpoint.complaint(path / _STATE):
        return f"{_STATE} is {wrong}"
    files: _Files = read_state(path / _STATE)["files"]
    for name in sorted(files)[rank::size]:
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != files[name][0] or _digest(file) != tuple(files[name]):
            return f"{name} is cut off or altered"
    return ""


@contextmanager
def _explained(part: Path) -> Iterator[None]:
    try:
        yield
    except CheckpointException as error:  # torch's, in every process, about those that failed
        failures = [failure for failure, _ in error.failures.values()]
        problem = next((failure for failure in failures if isinstance(failure, OSError)), OSError(str(failures[0])))
        raise cannot_save(part, problem) from error
    except OSError as problem:
        raise cannot_save(part, problem) from problem


def _digest(file: Path) -> tuple[int, str]:
    with file.open("rb") as opened:
        return file.stat().st_size, hashlib.file_digest(opened, "sha256").hexdigest()
