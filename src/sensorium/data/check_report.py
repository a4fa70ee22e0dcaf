"""What a check of a dataset finds: how many rows there are, what was answered, and every fault with its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sensorium.errors import SensoriumError

Row = TypeVar("Row")
_MOST_PROBLEMS = 200  # reported; a broken build repeats one problem a thousand times


@dataclass
class CheckReport:
    """What was found. rows: split -> file -> rows read; answers: split -> (kind, "Yes" or "No") -> how many."""

    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    answers: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.problems

    def add(self, where: object, what: str) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(f"{where}: {what}")


def good_rows(path: Path, parse: Callable[[Any, str], Row], report: CheckReport) -> Iterator[tuple[str, Row]]:
    """(where, row) of every row that parses; the others become problems."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        report.add(path, f"cannot be read ({error.strerror or error}).")
        return
    for number, line in enumerate(lines, start=1):
        where = f"{path} row {number}"
        try:
            row = parse(json.loads(line), where)
        except ValueError as error:
            report.add(where, f"is not JSON ({error}).")
        except SensoriumError as error:
            report.add(error.where, error.what)
        else:
            yield where, row
