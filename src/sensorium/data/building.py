"""What builders of datasets share: a folder claimed by what it will hold, work in processes, files written whole.

A build may be broken off at any moment: `build.json` says whose the folder is, `dataset.json` comes last.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from sensorium.data.records import SPLITS
from sensorium.errors import SensoriumError, did_you_mean
from sensorium.files import write_whole

Item = TypeVar("Item")


def known_splits(sizes: dict[str, int], item: str) -> dict[str, int]:
    """How many items each split is to have, of splits that there are. Raises ValueError, for pydantic to place."""
    for split, size in sizes.items():
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}. {did_you_mean(split, SPLITS)}")
        if size < 1:
            raise ValueError(f"split {split!r} needs at least one {item}; leave it out to have none.")
    return sizes


def digest_of(parts: list[Any]) -> str:
    """One hash of what JSON can say."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def claim_folder(out: Path, pictures: str) -> str | None:
    """Make the folder ours, or find that it is. Returns the fingerprint of the finished dataset in it, if any."""
    mark = out / "build.json"
    if mark.exists():
        try:
            found = json.loads(mark.read_text(encoding="utf-8")).get("pictures")
        except ValueError:
            found = None
        if found != pictures:
            raise SensoriumError(
                out, "holds a dataset of another config or catalogue.", "Choose another folder, or delete this one."
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SensoriumError(out, "exists and is not a dataset of ours.", "Choose an empty or new folder.")
    else:
        write_file(mark, json.dumps({"pictures": pictures}).encode())
    finished = out / "dataset.json"
    return json.loads(finished.read_text(encoding="utf-8")).get("fingerprint") if finished.exists() else None


def in_processes(work: Callable[[Item], None], items: Sequence[Item], processes: int) -> Iterator[None]:
    """Do some work for each item, yielding as one after the other is done."""
    if processes == 1 or len(items) <= 1:
        for item in items:
            work(item)
            yield
        return
    # Spawned, not forked: the caller may hold threads (torch, a progress bar) that do not survive a fork.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for future in as_completed([pool.submit(work, item) for item in items]):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """As JSON lines."""
    write_file(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())


def write_file(path: Path, data: bytes | str) -> None:
    """Whole or not at all; SensoriumError says that the build can go on."""
    write_whole(path, data, "Make room or choose another folder, and build again: it goes on where it was.")
