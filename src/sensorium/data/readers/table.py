"""Hugging Face parquet in the form of the Cauldron and FineVision: a row of pictures and turns about them.

Columns `images` (encoded bytes or paths) and `texts` (a list of `{"user", "assistant"}`); FineVision adds ratings of
each turn, from 1 to 5, by which turns can be left out. Read through the `datasets` library, local files and `hf://`
addresses alike: it copies them once into its cache as Arrow, memory-mapped, where any row is at hand.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from sensorium.conversation import Conversation, Image, Message, Text
from sensorium.data.readers import fields
from sensorium.data.readers.base import Sample, SourceSettings, picture
from sensorium.data.readers.hub import local_path
from sensorium.data.readers.turns import TAG, check_turns
from sensorium.errors import SensoriumError

Rating = Literal["relevance", "image_correspondence", "visual_dependency", "formatting"]


class Table:
    """The samples of one or more parquet files. table: a `datasets.Dataset`; folder: of pictures given by path."""

    def __init__(self, table: Any, path: str, folder: Path | None, least: Mapping[Rating, int]) -> None:
        self.table, self.path, self.folder, self.least = table, path, folder, least
        for column in ("images", "texts", *(f"{name}_ratings" for name in least)):
            if column not in table.column_names:
                raise SensoriumError(path, f"has no column {column!r}.", f"It has {', '.join(table.column_names)}.")

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


class TableSettings(SourceSettings):
    """format `parquet`. path: a file, a folder of them, or `hf://datasets/…`. least: rating -> lowest that is kept."""

    format: Literal["parquet"] = "parquet"
    least: dict[Rating, int] = Field(default={})

    def open(self) -> Table:
        folder = local_path(self.images) if self.images else None
        return Table(open_parquet(self.path), self.path, folder, self.least)


def open_parquet(path: str) -> Any:
    """A `datasets.Dataset` of parquet files. Raises SensoriumError when the library or the files are not there."""
    try:
        import datasets
    except ImportError as error:
        remedy = "pip install 'sensorium[datasets]'"
        raise SensoriumError(path, "parquet needs the `datasets` library.", remedy) from error
    files: str | list[str] = path
    listed: list[Path] = []
    if not path.startswith("hf://"):
        found = Path(path).expanduser().absolute()
        if not found.exists():
            raise SensoriumError(found, "does not exist.", "Check the source's `path`.")
        listed = sorted(found.glob("**/*.parquet")) if found.is_dir() else [found]
        files = [glob.escape(str(file)) for file in listed]
    elif not path.endswith(".parquet"):
        files = f"{path.rstrip('/')}/**/*.parquet"
    try:
        table = datasets.load_dataset("parquet", data_files=files, split="train")
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        if not path.startswith("hf://"):
            _compare(listed)
        reason = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
        raise SensoriumError(path, f"cannot be read as parquet ({reason[:300]}).", "Check the files.") from error
    if isinstance(getattr(table.features.get("images"), "feature", None), datasets.Image):
        # Pictures stay bytes: `media` opens them, nobody else.
        table = table.cast_column("images", datasets.List(datasets.Image(decode=False)))
    return table


def _compare(files: list[Path]) -> None:
    """Raises SensoriumError for the first file that is no parquet, or that has a column of another type than the first.

    The library that reads them says of neither which it is.
    """
    import pyarrow
    from pyarrow import parquet

    first = None
    for file in files:
        try:
            schema = parquet.read_schema(file)
        except (OSError, pyarrow.ArrowException) as error:
            reason = " ".join(str(error).split())
            raise SensoriumError(file, f"cannot be read as parquet ({reason}).", "Get it again.") from error
        first = first or schema
        remedy = f"Make its columns those of {files[0].name}, or give the two as two sources."
        for column in first:
            if column.name not in schema.names:
                raise SensoriumError(file, f"has no column {column.name!r}, which {files[0].name} has.", remedy)
            found = schema.field(column.name).type
            try:
                pyarrow.nulls(0, found).cast(column.type)
            except pyarrow.ArrowException as error:
                what = f"expected {column.type}, as in {files[0].name}, found {found}."
                raise SensoriumError(f"{file}: {column.name}", what, remedy) from error


def _untagged(text: str) -> str:
    """Without image tags: these tables put all pictures first, and some texts keep the tags of where they came from."""
    return text.replace(f"{TAG}\n", "").replace(f"\n{TAG}", "").replace(TAG, "")
