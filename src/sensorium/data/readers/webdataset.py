"""WebDataset tar shards: the files of a sample lie side by side and share their name up to the first dot.

A picture (`jpg`, `png`, `webp`, …) with `txt` (a caption), `cls` (a class) or `json` (turns as LLaVA writes them, or
`caption`, `question` with `answer`, `label`). Headers are walked once when a shard is opened; any sample is then a seek
away, so shards need not be read in order and resuming costs nothing. Compressed shards allow no seeking: unpack them.
"""

from __future__ import annotations

import json
import re
import tarfile
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, Literal

from sensorium.conversation import Image
from sensorium.data.readers.base import Annotated, Question, Sample, SourceSettings
from sensorium.data.readers.hub import local_path
from sensorium.data.readers.turns import tagged_conversation
from sensorium.errors import SensoriumError

_PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm")
_WORDS = ("txt", "json", "cls")
_PIECE = 1 << 20  # bytes read at a time
_MARK = 257  # where "ustar" stands in a header


@dataclass(frozen=True)
class Gap:
    """Bytes of a shard that cannot be read, up to the next header that can be, or to the end."""

    start: int
    end: int
    reason: str


class Shard:
    """The samples of one tar file, and one more that raises for each gap in it.

    How many samples lay in a gap nobody can tell; those beside it may lack some of their files, and raise too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys: list[str] = []
        self.gaps: list[Gap] = []
        self._beside: set[int] = set()  # samples next to a gap
        self._files: list[dict[str, tuple[int, int]]] = []
        for found in _walk(path):
            if isinstance(found, Gap):
                self.gaps.append(found)
                self._beside |= {len(self.keys) - 1, len(self.keys)}
            elif found.isreg():
                self._add(found)

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
        return len(self.keys) + len(self.gaps)

    def __getitem__(self, number: int) -> Sample:
        number = range(len(self))[number]
        if number >= len(self.keys):
            gap = self.gaps[number - len(self.keys)]
            raise SensoriumError(self.path, f"is damaged at byte {gap.start:,}: {gap.reason}.", "Get it again.")
        key, files = self.keys[number], self._files[number]
        where = f"{self.path} sample {key}"
        if number in self._beside:
            raise SensoriumError(where, "lies beside damage: files of it may be lost.", "Get the shard again.")
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
    """format `webdataset`. path: a tar file, or a folder of them.

    damaged: what becomes of a shard whose headers are damaged. A share of bad rows says nothing about what is lost in
    it, so that it is refused; `take` uses what can be read before and after the damage.
    """

    format: Literal["webdataset"] = "webdataset"
    damaged: Literal["refuse", "take"] = "refuse"

    def open(self) -> Shards:
        path = local_path(self.path)
        paths = sorted(path.glob("**/*.tar")) if path.is_dir() else [path]
        if not paths:
            raise SensoriumError(path, "holds no tar files.", "Check the source's `path`.")
        shards = Shards(paths)
        torn = [shard for shard in shards.shards if shard.gaps]
        if torn and self.damaged == "refuse":
            gap, others = torn[0].gaps[0], ", ".join(shard.path.name for shard in torn[1:])
            what = f"is damaged at byte {gap.start:,}: {gap.reason}; how many samples are lost cannot be told"
            raise SensoriumError(torn[0].path, f"{what}{f' (damaged, too: {others})' if others else ''}.",
                                 "Get it again, or use what can be read of it with `damaged: take`.")
        return shards


def _walk(path: Path) -> Iterator[tarfile.TarInfo | Gap]:
    """The members of a tar file in order, and what cannot be read between them.

    A whole archive ends in a block of zeros with nothing but zeros after it; Python's tarfile stops as quietly at a
    damaged header as at the end, so that where it stops is looked at. Raises SensoriumError for what is no plain tar.
    """
    start: int | None = 0
    try:
        with path.open("rb") as file:
            while start is not None:
                file.seek(start)
                reason = ""
                with tarfile.open(fileobj=file, mode="r:") as tar:
                    try:
                        yield from tar
                    except (tarfile.TarError, EOFError) as error:
                        reason = str(error)
                    at = tar.offset
                reason = reason or _damage(file, at)
                start = _next_header(file, at + 1) if reason else None
                if reason:
                    yield Gap(at, path.stat().st_size if start is None else start, reason)
    except (tarfile.TarError, EOFError, OSError) as error:
        what = f"is not a plain tar file that can be read ({error})."
        raise SensoriumError(path, what, "Get it again; unpack it if it is compressed.") from error


def _damage(file: BinaryIO, offset: int) -> str:
    """What is wrong where the walk over the headers ended, or nothing."""
    file.seek(offset)
    rest = file.read(_PIECE)
    if len(rest) < tarfile.BLOCKSIZE:
        return "it ends without the mark that whole archives have"
    while rest:
        if rest.count(0) < len(rest):
            return "the header there cannot be read"
        rest = file.read(_PIECE)
    return ""


def _next_header(file: BinaryIO, offset: int) -> int | None:
    """Where, from a byte on, the next header stands whose checksum is right."""
    file.seek(offset)
    data = b""
    while piece := file.read(_PIECE):
        data += piece
        for match in re.finditer(b"ustar", data):
            block = data[match.start() - _MARK :][: tarfile.BLOCKSIZE] if match.start() >= _MARK else b""
            if len(block) == tarfile.BLOCKSIZE and _is_header(block):
                return offset + match.start() - _MARK
        kept = data[-tarfile.BLOCKSIZE :]
        offset, data = offset + len(data) - len(kept), kept
    return None


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


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
