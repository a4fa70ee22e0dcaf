"""Parquet as the Hugging Face hub has it: rows of text, and pictures as encoded bytes, read a row group at a time.

Tables of questions without pictures are written as well, for other programs.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from sensorium.conversation import Image
from sensorium.errors import SensoriumError

REMEMBERED_GROUPS = 2


class ParquetTable:
    """paths: the files of one set, in their order. picture: finds one that a row names instead of holding it.

    Raises SensoriumError when the library is missing, or a file is damaged or has other columns than the first.
    """

    def __init__(self, paths: Sequence[Path], picture: Callable[[str], Image]) -> None:
        _require_library(paths[0])
        import pyarrow.parquet

        self.path, self._picture = paths[0], picture
        self._places: list[tuple[Path, int, int, int]] = []  # file, row group, row in the group, row in the file
        self._rows: list[Mapping[str, Any]] = []
        self._open = pyarrow.parquet.ParquetFile
        self._groups: OrderedDict[tuple[Path, int], list[Any]] = OrderedDict()
        self.columns: tuple[str, ...] = ()
        self._media: list[str] = []
        for path in paths:
            try:
                self._read(path)
            except (OSError, ValueError) as error:  # pyarrow's errors are these
                what = f"cannot be read as parquet ({_first_line(error)})."
                raise SensoriumError(path, what, "Get the file again.") from error

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, number: int) -> Mapping[str, Any]:
        return self._rows[number]

    def where(self, number: int) -> str:
        path, _, _, row = self._places[number]
        return f"{path} row {row}"

    def picture_id(self, number: int) -> str:
        return self._picture_ids[number]

    def images(self, number: int) -> tuple[Image, ...]:
        return tuple(self._image(value, self.where(number)) for value in self._values(number))

    def _read(self, path: Path) -> None:
        file = self._open(path)
        columns = tuple(file.schema_arrow.names)
        if self.columns and columns != self.columns:
            raise SensoriumError(path, "has other columns than the files before it.", "Choose one set with --split.")
        self.columns = columns
        self._media = [field.name for field in file.schema_arrow if _is_media(field.type)]
        texts = [name for name in columns if name not in self._media]
        before = 0
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, columns=texts).to_pylist()
            self._rows += rows
            self._places += [(path, group, number, before + number + 1) for number in range(len(rows))]
            before += len(rows)

    def _values(self, number: int) -> list[Any]:
        """The media cells of a row, lists taken apart, empty ones left out."""
        path, group, inside, _ = self._places[number]
        key = (path, group)
        if key not in self._groups:
            self._groups[key] = self._open(path).read_row_group(group, columns=self._media).to_pylist()
            if len(self._groups) > REMEMBERED_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        cells = self._groups[key][inside].values()
        return [one for cell in cells for one in (cell if isinstance(cell, list) else [cell]) if one is not None]

    def _image(self, value: Any, where: str) -> Image:
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes) and value:
            return Image(value)
        if isinstance(value, str) and value:
            return self._picture(value)
        raise SensoriumError(where, "holds neither the bytes of its picture nor the path of one.")

    @cached_property
    def _picture_ids(self) -> list[str]:
        """Digests of the pictures' bytes: two files of one set may use one name twice."""
        found = []
        for number in range(len(self)):
            digest = hashlib.sha256()
            for value in self._values(number):
                content = value.get("bytes") or value.get("path") if isinstance(value, Mapping) else value
                digest.update(content if isinstance(content, bytes) else str(content).encode())
            found.append(digest.hexdigest()[:16])
        return found


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A file of one row group, columns in the order of the first row's. Raises SensoriumError without the library."""
    _require_library(path)
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def _require_library(path: Path) -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        remedy = "pip install 'sensorium[datasets]'"
        raise SensoriumError(path, "parquet needs the `pyarrow` library.", remedy) from error


def _is_media(kind: Any) -> bool:
    """Encoded bytes, or Hugging Face's {bytes, path}, or a list of these."""
    import pyarrow

    if pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind):
        return _is_media(kind.value_type)
    if pyarrow.types.is_struct(kind):
        return {"bytes", "path"} <= {kind.field(i).name for i in range(kind.num_fields)}
    return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
