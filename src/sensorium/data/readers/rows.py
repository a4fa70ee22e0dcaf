"""Rows of JSON files by number or by id: JSON lines, one array of objects, or an object of objects.

Only byte offsets and line numbers are kept (24 bytes a row), so that a file of a million conversations costs a pass
over it when it is opened and nothing afterwards. Each access opens the file anew: the object can be handed to other
processes.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sensorium.data.readers.walk import JsonFile
from sensorium.errors import SensoriumError


class JsonRows:
    """`rows[i]` -> (where, object). Raises SensoriumError, on access, for a row that is no JSON object.

    A row of JSON lines is called by its line, as editors count, one of an array by its number. Raises SensoriumError
    at once when the file cannot be read, or an array cannot be walked through: what follows the damage could not be
    numbered.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._starts, self._ends, self._numbers = array("Q"), array("Q"), array("Q")
        try:
            with path.open("rb") as file:
                is_array = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
                file.seek(0)
                self._unit = "row" if is_array else "line"
                for number, (start, end) in enumerate(JsonFile(path).spans() if is_array else _line_spans(file), 1):
                    if start == end:  # a blank line
                        continue
                    self._numbers.append(number)
                    self._starts.append(start)
                    self._ends.append(end)
        except OSError as error:
            raise SensoriumError(path, f"cannot be read ({error.strerror or error}).", "Check the path.") from error

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, number: int) -> tuple[str, Mapping[str, Any]]:
        where = f"{self.path} {self._unit} {self._numbers[number]}"
        value = _read(self.path, self._starts[number], self._ends[number], where)
        if not isinstance(value, dict):
            raise SensoriumError(where, f"expected an object, found {type(value).__name__}.")
        return where, value


class JsonEntries(Mapping[str, Any]):
    """The values of the object under a key (the outermost one without), by their ids.

    Raises SensoriumError at once when the file cannot be walked through, and on access when it has changed since.
    """

    def __init__(self, path: Path, key: str | None = None) -> None:
        self.path = path
        self._spans = {name: span for name, span, _ in JsonFile(path).pairs(key)}

    def __len__(self) -> int:
        return len(self._spans)

    def __iter__(self) -> Iterator[str]:
        return iter(self._spans)

    def __getitem__(self, name: str) -> Any:
        return _read(self.path, *self._spans[name], f"{self.path} row {name}")


def _read(path: Path, start: int, end: int, where: str) -> Any:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return json.loads(file.read(end - start).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SensoriumError(where, f"is not JSON ({error}).") from error


def _line_spans(file: Any) -> Iterator[tuple[int, int]]:
    """Where each line lies; of blank ones nothing."""
    start = 0
    for line in file:
        yield start, start + len(line) if line.strip() else start
        start += len(line)
