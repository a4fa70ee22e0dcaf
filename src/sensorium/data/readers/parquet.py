"""Rows of parquet files by number: a group of rows is fetched when one of them is first asked for.

A parquet file says at its end where each of its groups of rows lies. So a table of a thousand files on the hub is
opened by their ends, and a training that takes two thousand rows fetches the groups that hold them, and of these the
columns that are read. What was fetched stays in the cache as Arrow, memory-mapped: a shuffled training is at any row at
once, and the next one asks the network only what is new. Groups of local files are unpacked into it likewise.
"""

from __future__ import annotations

import errno
import hashlib
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from sensorium.data.readers.hub import HubFile, in_a_line, unreachable
from sensorium.errors import SensoriumError
from sensorium.parts.cache import cache_root, scratch_folder

_AT_ONCE = 8  # ends of files that are fetched at the same time
_ROWS = 64  # unpacked at a time: a picture may have megabytes
_OPEN = 128  # groups that are mapped at the same time: each is an open file


class ParquetRows:
    """`rows[i]` -> the row's columns as plain data. wants: those that are read, where a file has them.

    groups: rows of each group, in order. fingerprint: of what the files hold, as their names, sizes and times tell, or
    the hub. Raises SensoriumError at once for a file that is no parquet, or has a column of another type than the
    first; on access for a group that cannot be read or fetched. A copy in another process opens its files anew.
    """

    def __init__(self, files: Sequence[Path | HubFile], wants: Sequence[str]) -> None:
        self.files = [_File.of(file) for file in files]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            ends = list(pool.map(lambda file: file.end(), self.files))
        schemas = [end.schema.to_arrow_schema() for end in ends]
        for file, schema in zip(self.files, schemas, strict=True):
            _compare(file.name, schema, self.files[0].name, schemas[0])
        self.columns: list[str] = schemas[0].names
        self._wanted = [name for name in wants if name in self.columns]
        self._groups = [(number, group) for number, end in enumerate(ends) for group in range(end.num_row_groups)]
        self.groups = tuple(ends[number].row_group(group).num_rows for number, group in self._groups)
        self._stops = list(accumulate(self.groups))
        self.fingerprint = hashlib.sha256(" ".join(file.mark for file in self.files).encode()).hexdigest()
        self._start()

    def _start(self) -> None:
        self._tables: OrderedDict[int, Any] = OrderedDict()
        self._lock, self._locks = threading.Lock(), [threading.Lock() for _ in self._groups]

    def __len__(self) -> int:
        return self._stops[-1] if self._stops else 0

    def __getitem__(self, number: int) -> dict[str, Any]:
        number = range(len(self))[number]
        group = bisect_right(self._stops, number)
        inside = number - (self._stops[group - 1] if group else 0)
        with self._locks[group]:  # two threads must not fetch the same
            table = self._tables.get(group) or self._table(group)
        with self._lock:
            self._tables[group] = table
            if len(self._tables) > _OPEN:
                self._tables.popitem(last=False)
        [row] = table.slice(inside, 1).to_pylist()
        return row  # type: ignore[no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_tables", "_lock", "_locks")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._start()

    def _table(self, group: int) -> Any:
        """A group's rows, from the cache or into it."""
        import pyarrow

        number, inside = self._groups[group]
        columns = hashlib.sha256(" ".join(self._wanted).encode()).hexdigest()[:8]
        path = self.files[number].folder / f"{inside}-{columns}.arrow"
        if not path.exists():
            self.files[number].unpack(inside, self._wanted, path)
        return pyarrow.ipc.open_file(pyarrow.memory_map(str(path))).read_all()


class _File:
    """One parquet file. mark: what its content is known by; read: opens it for reading at any place."""

    def __init__(self, name: str, mark: str, read: Callable[[], BinaryIO]) -> None:
        self.name, self.mark, self._read = name, mark, read

    @classmethod
    def of(cls, file: Path | HubFile) -> _File:
        if isinstance(file, HubFile):
            return cls(file.address, file.mark, file.open)
        stat = file.stat()
        return cls(str(file), f"{file} {stat.st_size} {stat.st_mtime_ns}", _Opener(file))

    @property
    def folder(self) -> Path:
        """Where what was fetched of it lies."""
        return cache_root() / "tables" / hashlib.sha256(self.mark.encode()).hexdigest()[:32]

    def end(self) -> Any:
        """What the file's end says of it, as pyarrow's FileMetaData."""
        from pyarrow import parquet

        kept = self.folder / "end.parquet"
        if kept.exists():
            return parquet.read_metadata(kept)
        with self._complaining(), self._read() as source:
            found = parquet.read_metadata(source)
        with scratch_folder(kept) as scratch:
            found.write_metadata_file(scratch / kept.name)
            kept.parent.mkdir(parents=True, exist_ok=True)
            (scratch / kept.name).replace(kept)
        return found

    def unpack(self, group: int, columns: Sequence[str], path: Path) -> None:
        """Columns of a group of rows, as an Arrow file at `path`."""
        import pyarrow
        from pyarrow import parquet

        with scratch_folder(path) as scratch:
            part = scratch / path.name
            with self._complaining(f" group {group + 1}"), self._read() as source:
                file = parquet.ParquetFile(source, metadata=self.end(), pre_buffer=True)
                schema = pyarrow.schema([file.schema_arrow.field(name) for name in columns])
                with pyarrow.ipc.new_file(str(part), schema) as writer:
                    for batch in file.iter_batches(_ROWS, row_groups=[group], columns=list(columns)):
                        writer.write_batch(batch.select(columns))
            part.replace(path)

    @contextmanager
    def _complaining(self, place: str = "") -> Iterator[None]:
        import pyarrow

        try:
            yield
        except unreachable() as error:
            raise SensoriumError(f"{self.name}{place}", f"could not be fetched ({in_a_line(error)}).",
                                 "Check token and network; what was fetched before is kept.") from error
        except (OSError, pyarrow.ArrowException) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise  # of the cache, not of the file
            raise SensoriumError(f"{self.name}{place}", f"cannot be read as parquet ({in_a_line(error)}).",
                                 "Get it again.") from error


class _Opener:
    """Opens a local file; unlike a lambda, it can be handed to other processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self) -> BinaryIO:
        return self.path.open("rb")


def _compare(name: str, schema: Any, first_name: str, first: Any) -> None:
    """Raises SensoriumError for a file that has a column of another type than the first one, or lacks it."""
    import pyarrow

    short = first_name.rpartition("/")[2]
    remedy = f"Make its columns those of {short}, or give the two as two sources."
    for column in first:
        if column.name not in schema.names:
            raise SensoriumError(name, f"has no column {column.name!r}, which {short} has.", remedy)
        found = schema.field(column.name).type
        try:
            pyarrow.nulls(0, found).cast(column.type)
        except pyarrow.ArrowException as error:
            what = f"expected {column.type}, as in {short}, found {found}."
            raise SensoriumError(f"{name}: {column.name}", what, remedy) from error
