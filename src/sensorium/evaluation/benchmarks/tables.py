"""Tables of questions with pictures in their cells, read without holding the pictures: VLMEvalKit's TSV.

One table a benchmark. The cell `image` holds a picture in base64, a list of such, or, at most 64 characters long, the
index of another row whose picture it is. A table may have gigabytes; what is kept is text and the places of rows.
"""

from __future__ import annotations

import ast
import base64
import binascii
import csv
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from sensorium.conversation import Image
from sensorium.errors import SensoriumError

LONGEST_POINTER = 64
_LARGEST_CELL = 2**31 - 1


class Table(Protocol):
    """Rows of text with pictures that are fetched one by one."""

    path: Path
    columns: tuple[str, ...]

    def __len__(self) -> int: ...

    def row(self, number: int) -> Mapping[str, Any]:
        """The cells of a row, pictures left out."""
        ...

    def images(self, number: int) -> tuple[Image, ...]:
        """The pictures of a row. Raises SensoriumError where they are missing or damaged."""
        ...

    def picture_id(self, number: int) -> str:
        """The same for rows with the same pictures, and for no others."""
        ...

    def where(self, number: int) -> str: ...


class SpreadsheetTable:
    """path: a tab-separated table with a heading line; picture: finds one that is named by `image_path`.

    Raises SensoriumError naming the line for cells too many or too few, a row that is there twice, and a pointer to
    nowhere.
    """

    def __init__(self, path: Path, picture: Callable[[str], Image]) -> None:
        self.path, self._picture = path, picture
        self._rows: list[dict[str, str]] = []
        self._lines: list[int] = []
        self._offsets: list[int] = []
        self._pictures: list[str] = []  # digest of the cell, "" where it is empty
        self._pointers: dict[int, str] = {}
        self.columns: tuple[str, ...] = ()
        csv.field_size_limit(_LARGEST_CELL)
        try:
            with path.open("rb") as file:
                self._read(file)
        except OSError as error:
            raise SensoriumError(path, f"cannot be read ({error.strerror or error}).", "Check the path.") from error
        except (csv.Error, UnicodeDecodeError) as error:
            raise SensoriumError(path, f"is no tab-separated table in UTF-8 ({error}).") from error
        self._by_index = self._numbered()

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, number: int) -> Mapping[str, str]:
        return self._rows[number]

    def where(self, number: int) -> str:
        return f"{self.path} line {self._lines[number]}"

    def picture_id(self, number: int) -> str:
        return self._pictures[self._home(number)] or f"{self.path.name} {self._rows[number].get('image_path', number)}"

    def images(self, number: int) -> tuple[Image, ...]:
        home = self._home(number)
        if not self._pictures[home]:
            names = _listed(self._rows[number].get("image_path", ""))
            if not names:
                raise SensoriumError(self.where(number), "has neither a picture nor the path of one.")
            return tuple(self._picture(name) for name in names)
        found: list[Image] = []
        for cell in _listed(self._cells(home)["image"]):
            if len(cell) <= LONGEST_POINTER:
                found += self.images(self._target(number, cell))
            else:
                found.append(Image(self._decoded(cell, home)))
        return tuple(found)

    def _read(self, file: BinaryIO) -> None:
        lines = _Lines(file)
        reader = csv.reader(lines, delimiter="\t", strict=True)
        heading = [name.removeprefix("\ufeff") for name in next(reader, [])]
        self.columns = tuple(heading)
        if "index" not in heading:
            raise SensoriumError(self.path, f"has the columns {', '.join(heading) or 'of nothing'}.",
                                 "VLMEvalKit's tables have `index`, `image`, `question` and others.")
        while True:
            offset, line = lines.offset, reader.line_num + 1
            cells = next(reader, None)
            if cells is None:
                break
            if not cells:
                continue
            if len(cells) != len(heading):
                what = f"has {len(cells)} cells where the heading has {len(heading)}."
                raise SensoriumError(f"{self.path} line {line}", what, "Was the file cut off?")
            row = dict(zip(heading, cells, strict=True))
            image = row.pop("image", "")
            if 0 < len(image) <= LONGEST_POINTER and not image.startswith("["):
                self._pointers[len(self._rows)] = image
            self._pictures.append(hashlib.sha256(image.encode()).hexdigest()[:16] if image else "")
            self._rows.append(row)
            self._lines.append(line)
            self._offsets.append(offset)

    def _numbered(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for number, row in enumerate(self._rows):
            first = found.setdefault(row["index"], number)
            if first != number:
                what = f"index {row['index']} was there before, in line {self._lines[first]}."
                raise SensoriumError(self.where(number), what, "Keep one of them.")
        return found

    def _home(self, number: int) -> int:
        """The row that holds the pictures of this one."""
        return self._target(number, self._pointers[number]) if number in self._pointers else number

    def _target(self, number: int, pointer: str) -> int:
        target = self._by_index.get(pointer)
        if target is None or target in self._pointers or target == number:
            raise SensoriumError(self.where(number), f"its picture is that of index {pointer!r}, which has none.")
        return target

    def _cells(self, number: int) -> dict[str, str]:
        """All cells of a row, read again."""
        with self.path.open("rb") as file:
            file.seek(self._offsets[number])
            cells = next(csv.reader(_Lines(file), delimiter="\t"))
        return dict(zip(self.columns, cells, strict=True))

    def _decoded(self, cell: str, number: int) -> bytes:
        try:
            return base64.b64decode(cell.partition(",")[2] if cell.startswith("data:") else cell, validate=True)
        except binascii.Error as error:
            raise SensoriumError(self.where(number), f"the base64 of its picture is damaged ({error}).") from error


class _Lines:
    """Lines of a binary file as text, which knows where the next one begins."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.offset = file.tell()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline()
        if not line:
            raise StopIteration
        self.offset += len(line)
        return line.decode("utf-8")


def _listed(cell: str) -> list[str]:
    """A cell that is a Python list of strings, or one string; an empty one is no string."""
    cell = cell.strip()
    if cell.startswith("[") and cell.endswith("]"):
        return strings_of(cell)
    return [cell] if cell else []


def strings_of(cell: str) -> list[str]:
    """The strings of a list written as Python or JSON does; a cell that is no list is one string.

    Literals alone are read: VLMEvalKit itself runs such cells as programs.
    """
    try:
        value = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return [cell]
    return [str(item) for item in value] if isinstance(value, list | tuple) else [cell]
