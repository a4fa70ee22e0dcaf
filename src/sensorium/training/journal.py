"""The record of a training run: one JSON object a line.

Two kinds of row: `{"stage", "step", "loss", "gradient_norm", "samples", "tokens", "lr", "seconds", "waited"}` for a
step, with `"mfu"` where the device's peak is known, `"sources": {name: samples}` where there are several, and `"lost"`,
`"lost_sources": {name: samples}`, `"lost_samples"` (numbers) of what could not be read and counts nowhere else; and
`{"stage", "step", "validation": {name: value}}`. Rows with other keys pass through. A line is out of the process's
hands when `write` returns, so a killed run has lost at most a part of its last line, which is dropped when the journal
is next opened.

Steps may count through the run or begin anew with each stage; the order of the rows is the order of the stages.

Used by `training.loop`, by `training.losses`, which draws it, and by whoever reads a run afterwards.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from sensorium.errors import SensoriumError
from sensorium.files import write_whole

Row = dict[str, Any]


class Journal:
    """An open journal; a torn last line is cut off at opening. Use it in a `with` block, or call `close`.

    Raises SensoriumError when the file cannot be opened or written; a line that did not fit is taken back whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                _cut_torn_line(path)
            self._file = io.FileIO(path, "ab")
        except OSError as problem:
            raise _cannot_write(path, problem) from problem

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row. JSON has no nan and no infinity: such a number is written as null."""
        line = _line(row)
        size = os.fstat(self._file.fileno()).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as problem:
            self._file.truncate(size)
            raise _cannot_write(self.path, problem) from problem

    def truncate_after(self, step: int, stage: str | None = None) -> None:
        """Forget what came after `step`, so that a run resumed from there records no step twice.

        With `stage`, the step is one of that stage, and the stages that began after it are forgotten too; without, it
        counts through the run. Rows without a step stay. The file is replaced whole.
        """
        rows = read_journal(self.path)
        order = {name: i for i, name in enumerate(stages_of(rows))}
        place = order.get(stage, len(order)) if stage is not None else None

        def is_kept(row: Row) -> bool:
            if "step" not in row:
                return True
            at = order[row.get("stage", "")]
            return row["step"] <= step if place is None or at == place else at < place

        self._file.close()
        try:
            write_whole(self.path, b"".join(_line(row) for row in rows if is_kept(row)), REMEDY)
            self._file = io.FileIO(self.path, "ab")
        except OSError as problem:
            raise _cannot_write(self.path, problem) from problem


def read_journal(path: Path) -> list[Row]:
    """All rows of a journal; a torn last line is passed over.

    Raises SensoriumError when the file is missing, or a line before the last is no JSON object.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as problem:
        raise SensoriumError(path, f"cannot read this journal ({problem.strerror or problem}).") from problem
    return [_parse(line, path, number) for number, line in enumerate(lines[:-1], start=1)]


def stages_of(rows: Iterable[Row]) -> list[str]:
    """Names of stages in the order in which they began; a row without one counts as of the stage ""."""
    return list(dict.fromkeys(row.get("stage", "") for row in rows if "step" in row))


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(_finite(row), ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _parse(line: bytes, path: Path, number: int) -> Row:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise SensoriumError(f"{path} line {number}", "this is no JSON object.", "Remove the line.")
    return row


def _cut_torn_line(path: Path) -> None:
    """Remove what follows the last line break: the beginning of a line whose writer was killed."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)


REMEDY = "Free some space, or look at rights."


def _cannot_write(path: Path, problem: OSError) -> SensoriumError:
    return SensoriumError(path, f"cannot write ({problem.strerror or problem}).", REMEDY)
