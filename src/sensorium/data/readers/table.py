"""Hugging Face parquet in the form of the Cauldron and FineVision: a row of pictures and turns about them.

Columns `images` (encoded bytes or paths) and `texts` (a list of `{"user", "assistant"}`); FineVision adds ratings of
each turn, from 1 to 5, by which turns can be left out. Local files and `hf://` addresses alike are read a group of rows
at a time, when one of them is asked for (`readers.parquet`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from sensorium.conversation import Conversation, Image, Message, Text
from sensorium.data.readers import fields
from sensorium.data.readers.base import Sample, SourceSettings, picture
from sensorium.data.readers.hub import hub_files, local_path
from sensorium.data.readers.parquet import ParquetRows
from sensorium.data.readers.turns import TAG, check_turns
from sensorium.errors import SensoriumError

Rating = Literal["relevance", "image_correspondence", "visual_dependency", "formatting"]


class Table:
    """The samples of one or more parquet files. folder: of pictures given by path.

    runs: where rows are fetched many at a time, how many each time; whoever takes only some takes them together.
    """

    def __init__(self, table: ParquetRows, path: str, folder: Path | None, least: Mapping[Rating, int]) -> None:
        self.table, self.path, self.folder, self.least = table, path, folder, least
        self.runs = table.groups if path.startswith("hf://") else None
        self.fingerprint = table.fingerprint
        for column in columns(least):
            if column not in table.columns:
                raise SensoriumError(path, f"has no column {column!r}.", f"It has {', '.join(table.columns)}.")

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, number: int) -> Sample:
        where = f"{self.path} row {range(len(self))[number] + 1}"
        row = self.table[number]
        images = [self._image(value, f"{where}: images[{i}]") for i, value in enumerate(row["images"] or ())]
        turns = self._turns(row, where)
        messages: list[Message] = []
        for i, turn in enumerate(turns):
            shown = tuple(images) if i == 0 else ()
            messages.append(Message("user", (*shown, Text(_untagged(turn["user"])))))
            messages.append(Message("assistant", (Text(turn["assistant"]),)))
        conversation = Conversation(tuple(messages))
        check_turns(conversation, f"{where}: texts")
        return Sample(str(number), where, conversation)

    def _image(self, value: Any, where: str) -> Image:
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return Image(value)
        if isinstance(value, str) and self.folder is not None:
            return picture(value, self.folder, where)
        raise SensoriumError(where, "holds neither encoded bytes nor a path below `images`.")

    def _turns(self, row: Mapping[str, Any], where: str) -> Sequence[Mapping[str, str]]:
        turns = row["texts"]
        if not isinstance(turns, list) or not turns:
            raise SensoriumError(f"{where}: texts", "expected a list of turns, at least one.")
        for i, turn in enumerate(turns):
            for key in ("user", "assistant"):
                fields.words(turn, key, f"{where}: texts[{i}]")
        kept = [turn for i, turn in enumerate(turns) if self._is_good(row, i, len(turns), where)]
        if not kept:
            wanted = ", ".join(f"{name} >= {least}" for name, least in self.least.items())
            raise SensoriumError(f"{where}: ratings", f"no turn is rated {wanted}.")
        return kept

    def _is_good(self, row: Mapping[str, Any], turn: int, n_turns: int, where: str) -> bool:
        for name, least in self.least.items():
            ratings = row[f"{name}_ratings"]
            if not isinstance(ratings, list) or len(ratings) != n_turns:
                raise SensoriumError(f"{where}: {name}_ratings", f"expected {n_turns} ratings, one a turn.")
            if ratings[turn] is None or ratings[turn] < least:
                return False
        return True


def columns(least: Mapping[Rating, int]) -> list[str]:
    """The columns that are read."""
    return ["images", "texts", *(f"{name}_ratings" for name in least)]


class TableSettings(SourceSettings):
    """format `parquet`. path: a file, a folder of them, or `hf://datasets/…`. least: rating -> lowest that is kept."""

    format: Literal["parquet"] = "parquet"
    least: dict[Rating, int] = Field(default={})

    def open(self) -> Table:
        folder = local_path(self.images) if self.images else None
        return Table(open_parquet(self.path, columns(self.least)), self.path, folder, self.least)


def open_parquet(path: str, wants: Sequence[str]) -> ParquetRows:
    """Columns of the parquet files at a path. Raises SensoriumError when the library or the files are not there."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        remedy = "pip install 'sensorium[datasets]'"
        raise SensoriumError(path, "parquet needs the `pyarrow` library.", remedy) from error
    if path.startswith("hf://"):
        return ParquetRows(hub_files(path, ".parquet"), wants)
    found = local_path(path)
    files = sorted(found.glob("**/*.parquet")) if found.is_dir() else [found]
    if not files:
        raise SensoriumError(found, "holds no parquet files.", "Check the source's `path`.")
    return ParquetRows(files, wants)


def _untagged(text: str) -> str:
    """Without image tags: these tables put all pictures first, and some texts keep the tags of where they came from."""
    return text.replace(f"{TAG}\n", "").replace(f"\n{TAG}", "").replace(TAG, "")
