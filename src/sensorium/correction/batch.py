"""Correct many texts: JSON lines in, reports out, going on where a run was stopped.

A row that cannot be corrected is written with its error and does not stop the others; a row already answered is not
done again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.correction.corrector import Corrector
from sensorium.errors import SensoriumError


@dataclass(frozen=True)
class Tally:
    """What a batch did: rows corrected now, done before, and failed."""

    corrected: int
    before: int
    failed: int


def correct_rows(
    corrector: Corrector, rows: Path, out: Path, progress: Callable[[int, int], None] | None = None
) -> Tally:
    """rows: lines of {"image", "text", "question"?, "id"?}, pictures relative to the file; out: appended to.

    A line of the output is {"id", "report"} or {"id", "error"}; rows without an id are known by their number. Raises
    SensoriumError when a file cannot be read or written, or a line of the input is no object.
    """
    read = _read(rows)
    done = _done(out)
    corrected = failed = 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a", encoding="utf-8") as file:
            for number, row in enumerate(read, start=1):
                id = str(row.get("id", number))
                if id not in done:
                    answer = _correct(corrector, row, rows, number)
                    failed += "error" in answer
                    corrected += "report" in answer
                    file.write(json.dumps({"id": id, **answer}, ensure_ascii=False) + "\n")
                    file.flush()
                if progress is not None:
                    progress(number, len(read))
    except OSError as error:
        raise SensoriumError(out, f"cannot be written ({error.strerror}).", "Choose another place.") from error
    return Tally(corrected, len(read) - corrected - failed, failed)


def _correct(corrector: Corrector, row: dict[str, Any], rows: Path, number: int) -> dict[str, Any]:
    where = f"{rows} row {number}"
    try:
        for name in ("image", "text"):
            if not isinstance(row.get(name), str):
                raise SensoriumError(f"{where}: {name}", "is missing or no string.")
        question = row.get("question")
        if question is not None and not isinstance(question, str):
            raise SensoriumError(f"{where}: question", "is no string.")
        return {"report": corrector.correct(rows.parent / row["image"], row["text"], question).to_json()}
    except SensoriumError as error:
        return {"error": str(error)}


def _read(rows: Path) -> list[dict[str, Any]]:
    try:
        lines = rows.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SensoriumError(rows, f"cannot be read ({error}).") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise SensoriumError(f"{rows} row {number}", f"is not JSON ({error}).") from error
        if not isinstance(row, dict):
            raise SensoriumError(f"{rows} row {number}", "is not a JSON object.")
        found.append(row)
    return found


def _done(out: Path) -> set[str]:
    """Ids already answered; half a line at the end, which a stopped run left, is taken off."""
    if not out.exists():
        return set()
    data = out.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        out.write_bytes(whole)
    ids = set()
    for number, line in enumerate(whole.decode("utf-8", errors="replace").splitlines(), start=1):
        try:
            ids.add(str(json.loads(line)["id"]))
        except (ValueError, KeyError, TypeError) as error:
            raise SensoriumError(f"{out} row {number}", "is no answer of a batch.", "Choose another --out.") from error
    return ids
