"""Save and find training checkpoints so that a kill, a crash or a full disk never costs the last one.

One file a checkpoint, `step-00001200.pt`: what `torch.save` writes, then a footer with the SHA-256 of it. (PyTorch
reads such a file unaided: a zip archive is found from its end backwards, past what follows it. It does not check the
archive's own checksums, hence ours.) The file is written under another name, flushed to the disk, then renamed, which
the file system does whole or not at all; only then are older ones removed. A model in slices makes a folder instead,
`step-00001200.slices`, which comes and goes by the same rules (`training.slices`); a run may have both.

The state is nested dicts, lists and tuples of tensors, numbers, strings, booleans and None, and no other class, so that
loading never runs code out of a file (`weights_only=True`). Its `step` counts through the whole run, over all stages.

Used by `training.state`, which knows what is in the state. One run at a time writes into a folder.
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
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch

from sensorium.errors import SensoriumError

State = dict[str, Any]

log = logging.getLogger(__name__)

NAME = re.compile(r"step-(\d{8,})\.(pt|slices)")
KEEP = 2  # checkpoints: the newest, and one more should the newest turn out to be damaged
PART = ".part"  # being written; whoever finds one later finds the remains of a kill
DAMAGED = ".damaged"  # found incomplete; kept until the run has got past it
FOOTER_MARK = b"SENSORIUM-SHA256"
FOOTER_BYTES = len(FOOTER_MARK) + hashlib.sha256().digest_size


def save_checkpoint(folder: Path, state: State, keep: int = KEEP) -> Path:
    """Write `state` as the newest checkpoint of `folder` and remove all but the `keep` newest; returns its path.

    state: see the module; state["step"] names the file. The folder is made if it is not there.
    Raises SensoriumError when the disk is full or refuses (older checkpoints stay, nothing half-written is left), or
    when the folder holds a later step: then it belongs to another run. Raises TypeError for a state that could be
    written but not read back.
    """
    _check_loadable(state, "state")
    part = part_path(folder, state["step"], "pt")
    try:
        make_room(part)
        write_state(part, state)
        return publish(part, keep)
    except OSError as problem:
        raise cannot_save(part, problem) from problem
    finally:
        remove(part)


def part_path(folder: Path, step: int, kind: str) -> Path:
    """Where to write the checkpoint of a step before `publish` makes it known. kind: `pt` or `slices`."""
    return folder / f"step-{step:08d}.{kind}{PART}"


def make_room(part: Path) -> None:
    """Make the folder, remove what killed saves left in it. Raises OSError, and SensoriumError as `save_checkpoint`."""
    part.parent.mkdir(parents=True, exist_ok=True)
    _sweep(part.parent, PART)
    _check_newest(part.parent, _step(part.with_suffix("")))


def publish(part: Path, keep: int = KEEP) -> Path:
    """Give a checkpoint that is whole on the disk its name, then remove all but the `keep` newest. Raises OSError."""
    if keep < 1:
        raise ValueError(f"keep = {keep}: at least the checkpoint just saved must stay.")
    folder, path = part.parent, part.with_suffix("")
    if path.is_dir():  # a file is replaced in one step, a folder is not
        remove(path)
    part.replace(path)
    sync_folder(folder)
    for old in checkpoints(folder)[:-keep]:
        remove(old)
    _sweep(folder, DAMAGED)
    return path


def read_state(path: Path) -> State:
    """What `write_state` wrote, tensors on the CPU. They are mapped into memory, and read when they are used: several
    processes on a machine share one copy.
    """
    state: State = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return state


def complaint(path: Path) -> str:
    """What is wrong with a file, or nothing: its footer must be there and be the hash of all before it."""
    left = path.stat().st_size - FOOTER_BYTES
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while left > 0 and (chunk := file.read(min(left, 1 << 20))):
            digest.update(chunk)
            left -= len(chunk)
        is_whole = left == 0 and file.read() == FOOTER_MARK + digest.digest()
    return "" if is_whole else "cut off or altered"


def load_latest(
    folder: Path, look: Callable[[Path], str] = complaint, read: Callable[[Path], State] = read_state
) -> State | None:
    """The newest whole checkpoint of `folder`; None when it has none or does not exist.

    look: says what is wrong with one, or nothing; read: gets the state from one. A damaged one is passed over with a
    logged warning and set aside as `NAME.damaged`. Remains of a killed save are removed. Raises SensoriumError when
    there are checkpoints and not one is whole: a run must not start anew over them.
    """
    damaged: dict[Path, str] = {}
    try:
        _sweep(folder, PART)
        for path in reversed(checkpoints(folder)):
            if not (wrong := look(path)):
                _set_aside(damaged, instead=path)
                return read(path)
            damaged[path] = wrong
    except OSError as problem:
        raise SensoriumError(folder, f"cannot read checkpoints here ({problem.strerror or problem}).") from problem
    if damaged:
        names = ", ".join(f"{path.name}: {wrong}" for path, wrong in damaged.items())
        remedy = "Restore one from a backup, or start a new run in another folder."
        raise SensoriumError(folder, f"every checkpoint here is damaged ({names}).", remedy)
    return None


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest step first, whole or not."""
    if not folder.is_dir():
        return []
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


def write_state(path: Path, state: State) -> None:
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


def _set_aside(damaged: dict[Path, str], instead: Path) -> None:
    for path, wrong in damaged.items():
        log.warning("%s is damaged (%s); going on from %s.", path, wrong, instead.name)
        remove(path.with_name(path.name + DAMAGED))
        with contextlib.suppress(FileNotFoundError):  # another process of the same run was first
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


def cannot_save(part: Path, problem: OSError) -> SensoriumError:
    """What to tell a person whose checkpoint could not be written."""
    remedy = "Older checkpoints are untouched."
    if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = f"Free some space and resume. {remedy}"
    return SensoriumError(part.with_suffix(""), f"cannot save this checkpoint ({problem.strerror or problem}).", remedy)


def _sweep(folder: Path, suffix: str) -> None:
    """Remove what earlier saves and loads left under names of ours with this suffix, and nothing else."""
    for path in folder.glob(f"step-*{suffix}"):
        if NAME.fullmatch(path.name.removesuffix(suffix)):
            remove(path)


def remove(path: Path) -> None:
    """Remove a file or a folder. It may be gone, or the disk may refuse: neither is worth failing a save for."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut. Windows cannot open a folder, and writes renames through on its own."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
