"""WebDataset tar shards: the files of a sample lie side by side and share their name up to the first dot.

A picture (`jpg`, `png`, `webp`, …) with `txt` (a caption), `cls` (a class) or `json` (turns as LLaVA writes them, or
`caption`, `question` with `answer`, `label`). Headers are walked once when a shard is opened; any sample is then a seek
away, so shards need not be read in order and resuming costs nothing. Compressed shards allow no seeking: unpack them.
"""

from __future__ import annotations

import json
import tarfile
from array import array
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from sensorium.conversation import Image
from sensorium.data.readers.base import Annotated, Question, Sample, SourceSettings
from sensorium.data.readers.hub import local_path
from sensorium.data.readers.turns import tagged_conversation
from sensorium.errors import SensoriumError

_PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm")
_WORDS = ("txt", "json", "cls")


class Shard:
    """The samples of one tar file. A damaged one has a sample more, which raises: the loss is counted, not hidden."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys: list[str] = []
        self._files: list[dict[str, tuple[int, int]]] = []
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    if member.isreg():
                        self._add(member)
                self.damage = _damage(path, tar.offset)
        except (tarfile.TarError, EOFError, OSError) as error:
            if not self.keys:
                what = f"is not a plain tar file that can be read ({error})."
                raise SensoriumError(path, what, "Get it again; unpack it if it is compressed.") from error
            self.damage = str(error)

    def _add(self, member: tarfile.TarInfo) -> None:
        folder, _, name = member.name.rpartition("/")
        stem, _, extension = name.partition(".")
        if not stem or not extension:  # hidden files, such as those that macOS adds, and what says nothing of its kind
            return
        key = f"{folder}/{stem}" if folder else stem
        if not self.keys or self.keys[-1] != key:
            self.keys.append(key)
            self._files.append({})
        self._files[-1][extension.lower()] = (member.offset_data, member.size)

    def __len__(self) -> int:
        return len(self.keys) + bool(self.damage)

    def __getitem__(self, number: int) -> Sample:
        number = range(len(self))[number]
        if number == len(self.keys):
            raise SensoriumError(self.path, f"is damaged after sample {self.keys[-1]}: {self.damage}.", "Get it again.")
        key, files = self.keys[number], self._files[number]
        where = f"{self.path} sample {key}"
        found = {}
        with self.path.open("rb") as file:
            for extension, (start, size) in files.items():
                file.seek(start)
                found[extension] = file.read(size)
                if len(found[extension]) < size:
                    raise SensoriumError(f"{where}.{extension}", "is cut off.", "Get the shard again.")
        return _sample(key, found, where)


class Shards:
    """Several tar files as one source."""

    def __init__(self, paths: list[Path]) -> None:
        self.shards = [Shard(path) for path in paths]
        self._ends = array("Q", accumulate(len(shard) for shard in self.shards))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, number: int) -> Sample:
        number = range(len(self))[number]
        shard = bisect_right(self._ends, number)
        return self.shards[shard][number - (self._ends[shard - 1] if shard else 0)]


class WebDatasetSettings(SourceSettings):
    """format `webdataset`. path: a tar file, or a folder of them."""

    format: Literal["webdataset"] = "webdataset"

    def open(self) -> Shards:
        path = local_path(self.path)
        paths = sorted(path.glob("**/*.tar")) if path.is_dir() else [path]
        if not paths:
            raise SensoriumError(path, "holds no tar files.", "Check the source's `path`.")
        return Shards(paths)


def _damage(path: Path, offset: int) -> str:
    """What is wrong where the walk over the headers ended, or nothing.

    A whole archive ends in a block of zeros with nothing but zeros after it; Python's tarfile stops as quietly at a
    damaged header as at the end.
    """
    with path.open("rb") as file:
        file.seek(offset)
        rest = file.read(tarfile.RECORDSIZE * 2)
    if len(rest) < tarfile.BLOCKSIZE:
        return "it ends without the mark that whole archives have"
    return "" if not any(rest) else f"the header at byte {offset:,} cannot be read"


def _sample(key: str, files: dict[str, bytes], where: str) -> Sample:
    pictures = [Image(data) for extension, data in files.items() if extension in _PICTURES]
    words = {extension: _text(files[extension], f"{where}.{extension}") for extension in _WORDS if extension in files}
    row: dict[str, Any] = {}
    if "json" in words:
        row = _object(words["json"], f"{where}.json")
        turns = row.get("conversations", row.get("messages"))
        if turns is not None:
            return Sample(key, where, tagged_conversation(turns, pictures, f"{where}.json"))
    if len(pictures) != 1:
        raise SensoriumError(where, f"holds {len(pictures)} pictures, expected one.")
    captions = [value for value in (words.get("txt"), row.get("caption")) if isinstance(value, str) and value.strip()]
    questions: tuple[Question, ...] = ()
    if isinstance(row.get("question"), str) and isinstance(row.get("answer"), str):
        questions = (Question(row["question"], (row["answer"],)),)
    label = words.get("cls", row.get("label"))
    content = Annotated(pictures[0], tuple(c.strip() for c in captions), questions, label=_label(label))
    if content.is_empty:
        raise SensoriumError(where, "holds a picture and no words: neither txt, json nor cls says anything.")
    return Sample(key, where, content)


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SensoriumError(where, f"is not UTF-8 ({error.reason}).") from error


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SensoriumError(where, f"is not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise SensoriumError(where, f"expected an object, found {type(value).__name__}.")
    return value


def _label(value: Any) -> str | None:
    """A class by name; a bare number says nothing to a language model."""
    return value.strip() if isinstance(value, str) and value.strip() and not value.strip().isdigit() else None
