"""Save and find training checkpoints so that a kill, a crash or a full disk never costs the last one.

One file a checkpoint, `step-00001200.pt`: what `torch.save` writes, then a footer with the SHA-256 of it. (PyTorch
reads such a file unaided: a zip archive is found from its end backwards, past what follows it. It does not check the
archive's own checksums, hence ours.) The file is written under another name, flushed to the disk, then renamed, which
the file system does whole or not at all; only then are older ones removed.

The state is nested dicts, lists and tuples of tensors, numbers, strings, booleans and None, and no other class, so that
loading never runs code out of a file (`weights_only=True`). Its `step` counts through the whole run, over all stages.

Used by `training.loop`; what is in the state is the loop's affair. One run at a time writes into a folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import logging
import os
import random
import re
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch

from sensorium.errors import SensoriumError

State = dict[str, Any]

log = logging.getLogger(__name__)

NAME = re.compile(r"step-(\d{8,})\.pt")
PART = ".part"  # being written; whoever finds one later finds the remains of a kill
DAMAGED = ".damaged"  # found incomplete; kept until the run has got past it
FOOTER_MARK = b"SENSORIUM-SHA256"
FOOTER_BYTES = len(FOOTER_MARK) + hashlib.sha256().digest_size


def save_checkpoint(folder: Path, state: State, keep: int = 2) -> Path:
    """Write `state` as the newest checkpoint of `folder` and remove all but the `keep` newest; returns its path.

    state: see the module; state["step"] names the file. The folder is made if it is not there.
    Raises SensoriumError when the disk is full or refuses (older checkpoints stay, nothing half-written is left), or
    when the folder holds a later step: then it belongs to another run. Raises TypeError for a state that could be
    written but not read back.
    """
    if keep < 1:
        raise ValueError(f"keep = {keep}: at least the checkpoint just saved must stay.")
    _check_loadable(state, "state")
    path = folder / f"step-{state['step']:08d}.pt"
    part = path.with_name(path.name + PART)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder, PART)
        _check_newest(folder, state["step"])
        _write(part, state)
        part.replace(path)
        _sync_folder(folder)
        for old in checkpoints(folder)[:-keep]:
            old.unlink()
        _sweep(folder, DAMAGED)
    except OSError as problem:
        raise _cannot_save(path, problem) from problem
    finally:
        _forget(part)
    return path


def load_latest(folder: Path) -> State | None:
    """The newest whole checkpoint of `folder`, tensors on the CPU; None when it has none or does not exist.

    A damaged file is passed over with a logged warning and set aside as `NAME.damaged`. Remains of a killed save are
    removed. Raises SensoriumError when there are checkpoints and not one is whole: a run must not start anew over them.
    """
    if not folder.is_dir():
        return None
    try:
        _sweep(folder, PART)
        damaged: list[Path] = []
        for path in reversed(checkpoints(folder)):
            if _is_whole(path):
                _set_aside(damaged, instead=path)
                return torch.load(path, map_location="cpu", weights_only=True)
            damaged.append(path)
    except OSError as problem:
        raise SensoriumError(folder, f"cannot read checkpoints here ({problem.strerror or problem}).") from problem
    if damaged:
        names = ", ".join(path.name for path in damaged)
        remedy = "Restore one from a backup, or start a new run in another folder."
        raise SensoriumError(folder, f"every checkpoint here is damaged ({names}).", remedy)
    return None


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoint files of a folder, oldest step first, whole or not."""
    return sorted((path for path in folder.iterdir() if NAME.fullmatch(path.name)), key=_step)


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def rng_state() -> State:
    """The state of the global random generators of Python, NumPy, PyTorch and each CUDA device, as plain data."""
    numpy: Any = np.random.get_state(legacy=False)
    return {
        "python": random.getstate(),
        "numpy": {**numpy, "state": {**numpy["state"], "key": numpy["state"]["key"].tolist()}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_rng(state: State) -> None:
    """Put back what `rng_state` returned; CUDA devices missing then or now are passed over."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    words_of_numpy = np.array(state["numpy"]["state"]["key"], dtype=np.uint32)
    np.random.set_state({**state["numpy"], "state": {**state["numpy"]["state"], "key": words_of_numpy}})
    torch.set_rng_state(state["torch"])
    for device, device_state in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(device_state, device)


class _HashingWriter:
    """The file-like object `torch.save` writes to: passes bytes on, hashes them, remembers why a write failed.

    PyTorch's archive writer covers an OSError with its own RuntimeError about positions; the cause is needed. The file
    is unbuffered, since a buffer that could not be written is tried again on closing and fails there a second time.
    """

    def __init__(self, file: io.FileIO) -> None:
        self.file, self.digest = file, hashlib.sha256()
        self.failure: OSError | None = None

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        try:
            while rest:  # a raw write may take only a part, on a disk that is nearly full for one
                rest = rest[self.file.write(rest) :]
        except OSError as problem:
            self.failure = problem
            raise
        self.digest.update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back; `torch.save` asks."""


def _write(path: Path, state: State) -> None:
    """State and footer into a new file, all of it on the disk on return. Raises OSError."""
    with io.FileIO(path, "wb") as file:
        writer = _HashingWriter(file)
        try:
            torch.save(state, cast(IO[bytes], writer))
        except RuntimeError:
            if writer.failure is None:
                raise
            raise writer.failure from None
        writer.write(FOOTER_MARK + writer.digest.digest())
        os.fsync(file.fileno())


def _is_whole(path: Path) -> bool:
    """Whether the footer is there and is the hash of all before it."""
    left = path.stat().st_size - FOOTER_BYTES
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while left > 0 and (chunk := file.read(min(left, 1 << 20))):
            digest.update(chunk)
            left -= len(chunk)
        return left == 0 and file.read() == FOOTER_MARK + digest.digest()


def _set_aside(damaged: list[Path], instead: Path) -> None:
    for path in damaged:
        log.warning("%s is damaged (cut off or altered); going on from %s.", path, instead.name)
        with contextlib.suppress(FileNotFoundError):  # another rank of the same run was first
            path.rename(path.with_name(path.name + DAMAGED))


def _check_newest(folder: Path, step: int) -> None:
    """A later checkpoint cannot be this run's, which was resumed from the newest; it would win the next load."""
    for later in checkpoints(folder)[-1:]:
        if _step(later) > step:
            what = f"it holds {later.name}, and this run is only at step {step}."
            raise SensoriumError(folder, what, "Resume that run, or save this one in another folder.")


def _check_loadable(value: object, where: str) -> None:
    """Raises TypeError naming the place of anything that `weights_only=True` would refuse to load.

    Exact types: a NumPy number is a float to isinstance, and a class of its own to the pickle.
    """
    if isinstance(value, torch.Tensor) or type(value) in (int, float, str, bool, bytes, type(None)):
        return
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():  # type: ignore[attr-defined]
            _check_loadable(key, f"{where} key {key!r}")
            _check_loadable(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for i, item in enumerate(value):  # type: ignore[arg-type, var-annotated]
            _check_loadable(item, f"{where}[{i}]")
    else:
        raise TypeError(f"{where} is a {type(value).__qualname__}; a checkpoint holds tensors and plain data only.")


def _cannot_save(path: Path, problem: OSError) -> SensoriumError:
    remedy = "Older checkpoints are untouched."
    if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = f"Free some space and resume. {remedy}"
    return SensoriumError(path, f"cannot save this checkpoint ({problem.strerror or problem}).", remedy)


def _sweep(folder: Path, suffix: str) -> None:
    """Remove what earlier saves and loads left under names of ours with this suffix, and no other file."""
    for path in folder.glob(f"step-*.pt{suffix}"):
        _forget(path)


def _forget(path: Path) -> None:
    with contextlib.suppress(OSError):  # it may be gone, or the disk may refuse: neither is worth failing a save for
        path.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut. Windows cannot open a folder, and writes renames through on its own."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
