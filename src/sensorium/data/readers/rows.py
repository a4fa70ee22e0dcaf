"""Rows of JSON files by number: JSON lines, or one array of objects, whichever a file holds.

Only byte offsets are kept (16 bytes a row), so that a file of a million conversations costs a pass over it when it is
opened and nothing afterwards; JSON lines line by line, an array with the whole file in memory while it is walked. Each
access opens the file anew: the object can be handed to other processes.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sensorium.errors import SensoriumError

_SPACE = " \t\r\n"


class JsonRows:
    """`rows[i]` -> (where, object). Raises SensoriumError, on access, for a row that is no JSON object.

    Raises SensoriumError at once when the file cannot be read, or an array cannot be walked through: what follows the
    damage could not be numbered.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._starts, self._ends = array("Q"), array("Q")
        try:
            with path.open("rb") as file:
                is_array = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
                file.seek(0)
                spans = _array_spans(file.read(), path) if is_array else _line_spans(file)
                for start, end in spans:
                    self._starts.append(start)
                    self._ends.append(end)
        except OSError as error:
            raise SensoriumError(path, f"cannot be read ({error.strerror or error}).", "Check the path.") from error

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, number: int) -> tuple[str, Mapping[str, Any]]:
        where = f"{self.path} row {range(len(self))[number] + 1}"
        with self.path.open("rb") as file:
            file.seek(self._starts[number])
            data = file.read(self._ends[number] - self._starts[number])
        try:
            value = json.loads(data.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise SensoriumError(where, f"is not JSON ({error}).") from error
        if not isinstance(value, dict):
            raise SensoriumError(where, f"expected an object, found {type(value).__name__}.")
        return where, value


def _line_spans(file: Any) -> Iterator[tuple[int, int]]:
    start = 0
    for line in file:
        if line.strip():
            yield start, start + len(line)
        start += len(line)


def _array_spans(data: bytes, path: Path) -> Iterator[tuple[int, int]]:
    """Where each element of an array lies. Read as Latin-1 a character is a byte, and the brackets are the same."""
    text, decoder = data.decode("latin-1"), json.JSONDecoder()
    at = _skip_space(text, text.index("[") + 1)
    while text[at : at + 1] not in ("]", ""):
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise SensoriumError(path, f"is not JSON after byte {at:,} ({error}).", "Get the file again.") from error
        yield at, end
        at = _skip_space(text, end)
        if text[at : at + 1] == ",":
            at = _skip_space(text, at + 1)
        elif text[at : at + 1] not in ("]", ""):
            raise SensoriumError(path, f"has no comma between elements at byte {at:,}.", "Get the file again.")
    if at >= len(text):
        raise SensoriumError(path, "ends inside its array.", "Get the file again.")
    if (after := _skip_space(text, at + 1)) < len(text):
        raise SensoriumError(path, f"goes on at byte {after:,} after its array.", "Write one array, or JSON lines.")


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at
