"""Rows of other people's result files: JSON arrays, JSON lines, tab-separated tables, and the line each row stands in.

A prediction file is written by a program of somebody else, cut off by a kill, merged by hand. Every fault is told with
file and line. Where a row of a JSON array stands is found only when there is something to say about it.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sensorium.errors import SensoriumError

_SPACE = " \t\r\n"
# A string, or a comma that nothing follows: what Video-MME's own template holds.
_STRING_OR_TRAILING = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[\]}])', re.S)
_LARGEST_CELL = 2**31 - 1
_LONGEST_NAMES = 200  # characters of the names of fields in an error


class Rows(Sequence[Mapping[str, Any]]):
    """Objects in the order of the file. line_of: the line, from 1, in which a row begins."""

    def __init__(self, path: Path, values: list[Any], line_of: Callable[[int], int]) -> None:
        self.path, self._values, self._line_of = path, values, line_of
        for i, value in enumerate(values):
            if not isinstance(value, dict):
                raise self.fault(i, f"expected an object, found {type(value).__name__}.")

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, i: Any) -> Any:
        return self._values[i]

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self._values)

    def where(self, i: int) -> str:
        return f"{self.path} line {self._line_of(i)}"

    def fault(self, i: int, what: str, remedy: str = "") -> SensoriumError:
        return SensoriumError(self.where(i), what, remedy)

    def text(self, i: int, *keys: str) -> str:
        """The string under the first of the keys that the row has; it may be empty."""
        for key in keys:
            if key in self._values[i]:
                value = self._values[i][key]
                if not isinstance(value, str):
                    remedy = 'Where a model said nothing, write "".' if value is None else ""
                    raise self.fault(i, f"`{key}` is {_kind(value)} where a string should be.", remedy)
                return value
        raise self.fault(i, f"has no `{'` or `'.join(keys)}`.", f"It has {_names(self._values[i])}.")

    def name(self, i: int, key: str) -> int | str:
        """An id: a number or a string."""
        if key not in self._values[i]:
            raise self.fault(i, f"has no `{key}`.", f"It has {_names(self._values[i])}.")
        value = self._values[i][key]
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise self.fault(i, f"`{key}` is {_kind(value)} where a number or a string should be.")
        return value

    def texts(self, i: int, key: str, may_be_empty: bool = False) -> list[str]:
        """A list of strings, at least one as a rule; a string alone is a list of one."""
        value = self._values[i].get(key)
        found = [value] if isinstance(value, str) else value
        if not isinstance(found, list) or not (found or may_be_empty) or not all(isinstance(one, str) for one in found):
            raise self.fault(i, f"`{key}` is {_kind(value)} where a list of strings should be.")
        return found

    def number(self, i: int, key: str) -> float:
        value = self._values[i].get(key)
        if not _is_number(value):
            raise self.fault(i, f"`{key}` is {_kind(value)} where a number should be.")
        return float(value)

    def numbers(self, i: int, key: str, count: int) -> list[float]:
        value = self._values[i].get(key)
        is_right = isinstance(value, list | tuple) and len(value) == count
        if not is_right or not all(map(_is_number, value)):
            raise self.fault(i, f"`{key}` is {_kind(value)} where {count} numbers should be.")
        return [float(one) for one in value]

    def by(self, key: str) -> dict[int | str, int]:
        """id -> row number. Raises SensoriumError for an id that stands there twice."""
        found: dict[int | str, int] = {}
        for i in range(len(self)):
            first = found.setdefault(self.name(i, key), i)
            if first != i:
                what = f"{key} {self.name(i, key)!r} was there before, in line {self._line_of(first)}."
                raise self.fault(i, what, "Keep one of them.")
        return found


def same_ids(asked: Rows, answered: Rows, key: str) -> list[tuple[int, int]]:
    """(row in asked, row in answered) of each id, in the order of `asked`.

    Raises SensoriumError for an id that is there twice, unknown, or without an answer.
    """
    known, given = asked.by(key), answered.by(key)
    for name, i in given.items():
        if name not in known:
            raise answered.fault(i, f"{key} {name!r} is not in {asked.path.name}.", "Are these files of one set?")
    for name, i in known.items():
        if name not in given:
            missing = len(known) - len(given)
            what = f"{key} {name!r} has no answer in {answered.path} ({missing} without one)."
            raise asked.fault(i, what, 'Add them; where a model said nothing, write "".')
    return [(i, given[name]) for name, i in known.items()]


def same_length(asked: Rows, answered: Rows) -> None:
    """Raises SensoriumError unless there are as many: files that are matched by order alone."""
    if len(asked) != len(answered):
        what = f"holds {len(answered)} answers to the {len(asked)} questions of {asked.path}."
        raise SensoriumError(answered.path, what, "They are matched line by line.")


def read_rows(path: Path, key: str | None = None) -> Rows:
    """The rows of a JSON array, of JSON lines, or of the array that stands under `key` of an object.

    Raises SensoriumError for a file that is none of these.
    """
    text = read_text(path)
    start = text.lstrip(_SPACE)[:1]
    if start == "[" or (key is not None and start == "{"):
        return _array(path, text, key)
    return _lines(path, text)


def read_json(path: Path, trailing_commas: bool = False) -> Any:
    """Raises SensoriumError naming the line. trailing_commas: put up with commas before a closing bracket."""
    return _parse(path, _without_trailing(read_text(path)) if trailing_commas else read_text(path))


def read_trailing_rows(path: Path) -> Rows:
    """The rows of a JSON array in which commas may stand before closing brackets."""
    return _array(path, _without_trailing(read_text(path)), None)


def read_table(path: Path) -> Rows:
    """The rows of a tab-separated table with a heading line, as spreadsheets write it; all cells are strings."""
    rows: list[Any] = []
    lines: list[int] = []
    csv.field_size_limit(_LARGEST_CELL)  # a cell may be a picture in base64
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter="\t")
            heading = next(reader, [])
            line = reader.line_num + 1
            for cells in reader:
                if cells:
                    if len(cells) != len(heading):
                        what = f"has {len(cells)} cells where the heading has {len(heading)}."
                        raise SensoriumError(f"{path} line {line}", what)
                    rows.append(dict(zip(heading, cells, strict=True)))
                    lines.append(line)
                line = reader.line_num + 1
    except OSError as error:
        raise SensoriumError(path, f"cannot be read ({error.strerror or error}).", "Check the path.") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise SensoriumError(path, f"is no tab-separated table in UTF-8 ({error}).") from error
    return Rows(path, rows, lines.__getitem__)


def read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SensoriumError(path, f"cannot be read ({error.strerror or error}).", "Check the path.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SensoriumError(f"{path} line {line}", f"is not UTF-8 ({error.reason}).") from error


def _lines(path: Path, text: str) -> Rows:
    values, numbers = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            values.append(_parse(path, line, number))
            numbers.append(number)
    return Rows(path, values, numbers.__getitem__)


def _array(path: Path, text: str, key: str | None) -> Rows:
    value = _parse(path, text)
    if key is not None and isinstance(value, dict):
        if not isinstance(value.get(key), list):
            raise SensoriumError(path, f"has no list `{key}`.", f"It has {_names(value)}.")
        value = value[key]
    if not isinstance(value, list):
        raise SensoriumError(path, f"is {_kind(value)} where a list of rows should be.")
    return Rows(path, value, lambda i: _line_of_element(text, key, i))


def _parse(path: Path, text: str, line: int = 1) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        at = line + error.lineno - 1
        raise SensoriumError(f"{path} line {at}", f"is not JSON ({error.msg}, column {error.colno}).") from error
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits; brackets in brackets
        raise SensoriumError(f"{path} line {line}", f"cannot be read as JSON ({error}).") from error


def _without_trailing(text: str) -> str:
    return _STRING_OR_TRAILING.sub(lambda found: " " if found[0] == "," else found[0], text)


def _line_of_element(text: str, key: str | None, number: int) -> int:
    """The line of an element of the array, at the top or under a key of the top object; the text is valid JSON."""
    decoder = json.JSONDecoder()
    at = _skip(text, 0)
    if text[at] == "{":
        at = _skip(text, at + 1)
        while True:
            name, at = decoder.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)  # over the colon
            if name == key:
                break
            _, at = decoder.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)  # over the comma
    at = _skip(text, at + 1)
    for _ in range(number):
        _, at = decoder.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
    return text.count("\n", 0, at) + 1


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _SPACE:
        at += 1
    return at


def _is_number(value: Any) -> bool:
    """One that a float holds: JSON's own may be of any size."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max


def _names(row: Mapping[str, Any]) -> str:
    """Of the fields that there are, as an error says them."""
    names = ", ".join(map(str, row)) or "nothing"
    return names if len(names) <= _LONGEST_NAMES else names[:_LONGEST_NAMES] + " …"


def _kind(value: Any) -> str:
    return "null" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
