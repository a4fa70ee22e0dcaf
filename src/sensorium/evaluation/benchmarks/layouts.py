"""Where a benchmark's data lies on this disk, and in which layout.

- `tsv`: VLMEvalKit's one table with pictures in it, a `.tsv` file or a folder that holds one;
- `parquet`: lmms-lab's, as the Hugging Face hub has it: a `.parquet` file or a folder with some;
- `official`: the authors' own files, which each benchmark reads by itself, and pictures beside them;
- `scenes`: our own, a folder of `sensorium data build scenes`, of which the `scenes-…` benchmarks are made, or of
  `sensorium data build video`, of which Video-MME's look-alike is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from sensorium.conversation import Image, Video
from sensorium.data.dataset import Dataset
from sensorium.data.records import TEST_SPLITS
from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks.tables import SpreadsheetTable, Table
from sensorium.parts.package import sha256_of

Layout = Literal["official", "parquet", "tsv", "scenes"]
_QUESTION_FILES = (".json", ".jsonl", ".txt", ".p", ".csv")  # of official layouts; the rest are pictures
_SCENES_FILES = ("scenes.jsonl", "probes.jsonl")
_FILMS_FILES = ("films.jsonl", "questions.jsonl")
_VIDEO_FOLDERS, _SUBTITLE_FOLDERS = ("", "video", "videos", "data"), ("subtitle", "subtitles", "")
_SUBTITLES = (".srt", ".vtt", ".ass")


class MissingMedia(SensoriumError):
    """A picture or video that the data names is not there."""


@dataclass(frozen=True)
class Data:
    """path: a file or folder. media: where pictures and videos lie, if not beside the questions. split: only files
    whose name holds this word, where there are several sets. frames, sampling: how videos are looked at, see
    `conversation.Video`; None is the benchmark's own way. with_subtitles: whether what is said in them is told.

    Raises SensoriumError when there is nothing at the path.
    """

    path: Path
    media: Path | None = None
    split: str | None = None
    frames: int | None = None
    sampling: str | None = None
    with_subtitles: bool = False

    def __post_init__(self) -> None:
        if not self.path.exists():
            raise SensoriumError(self.path, "does not exist.", "Name the benchmark's file or folder with --data.")
        if self.media is not None and not self.media.is_dir():
            raise SensoriumError(self.media, "is no folder.", "Name the folder of pictures with --media.")

    @cached_property
    def layout(self) -> Layout:
        if (self.path / "dataset.json").is_file():
            return "scenes"
        if self.path.suffix == ".tsv" or self._found("*.tsv"):
            return "tsv"
        return "parquet" if self.path.suffix == ".parquet" or self._found("**/*.parquet") else "official"

    @cached_property
    def files(self) -> list[Path]:
        """The files with the questions, pictures left out where they are files of their own."""
        if self.path.is_file():
            return [self.path]
        if self.layout == "scenes":
            return [
                self.scenes.folder(split) / name
                for split in self.scene_splits
                for name in (_FILMS_FILES if self.scenes.has_films(split) else _SCENES_FILES)
            ]
        if self.layout == "official":
            return [path for path in self._found("**/*") if path.suffix in _QUESTION_FILES]
        return self._found("*.tsv") if self.layout == "tsv" else self._found("**/*.parquet")

    @cached_property
    def sha256(self) -> str:
        """Over the question files' contents and names; what a run says that it is of."""
        lines = (f"{path.name} {sha256_of(path)}\n" for path in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @cached_property
    def scenes(self) -> Dataset:
        """The dataset of the layout `scenes`. Raises SensoriumError for any other folder."""
        return Dataset(self.path)

    @cached_property
    def scene_splits(self) -> list[str]:
        """The one that was named, or all test splits that there are."""
        splits = [self.split] if self.split else [name for name in TEST_SPLITS if name in self.scenes.splits]
        for name in splits:
            self.scenes.folder(name)
        if not splits:
            remedy = f"Name one with --split: {', '.join(self.scenes.splits)}."
            raise SensoriumError(self.path, "has none of the test splits.", remedy)
        return splits

    def table(self) -> Table:
        """The rows of the layouts `tsv` and `parquet`."""
        if self.layout == "scenes":
            remedy = "Ask scenes-mme, scenes-pope, scenes-caption, scenes-refcoco or scenes; of films, videomme."
            raise SensoriumError(self.path, "is a dataset of scenes, not this benchmark.", remedy)
        if self.layout == "parquet":
            from sensorium.evaluation.benchmarks.parquet import ParquetTable

            return ParquetTable(self.files, self.picture)
        if len(self.files) != 1:
            names = ", ".join(path.name for path in self.files)
            raise SensoriumError(self.path, f"holds several tables: {names}.", "Name one of them with --data.")
        return SpreadsheetTable(self.files[0], self.picture)

    def one_file(self, what: str, *patterns: str) -> Path:
        """The one file of an official layout whose name fits a pattern, or the path itself where that is a file."""
        if self.path.is_file():
            return self.path
        found = sorted({path for pattern in patterns for path in self._found(pattern)})
        if len(found) != 1:
            has = f"has several: {', '.join(path.name for path in found)}" if found else f"has none ({patterns[0]})"
            remedy = "Choose by a word of the name with --split." if found else "Check --data."
            raise SensoriumError(self.path, f"{has}; one file of {what} is needed.", remedy)
        return found[0]

    def picture(self, name: str) -> Image:
        """A picture by its name in the data. Raises MissingMedia where it is in none of the usual folders."""
        return Image(str(self._medium(name, ("", "images", "image"))))

    def pictures(self, *names: str) -> tuple[Image, ...]:
        return tuple(map(self.picture, names))

    def video(self, name: str, suffixes: Sequence[str] = ("", ".mp4", ".MP4", ".mkv")) -> Video:
        """A video by its name, with or without its suffix."""
        for suffix in suffixes:
            try:
                return Video(str(self._medium(name + suffix, _VIDEO_FOLDERS)))
            except MissingMedia:
                continue
        remedy = self._unpacked("video*.zip", "Name the folder of videos with --media.")
        raise MissingMedia(f"{self._bases[0]}: {name}", "this video is not there.", remedy)

    def subtitles(self, name: str) -> Path | None:
        """The subtitles of a video by its name; None where it has none."""
        for suffix in _SUBTITLES:
            try:
                return self._medium(name + suffix, _SUBTITLE_FOLDERS)
            except MissingMedia:
                continue
        return None

    def require_subtitles(self) -> None:
        """Raises SensoriumError where no video has any: to ask with them would be to ask without, unnoticed."""
        places = (base / folder for base in self._bases for folder in _SUBTITLE_FOLDERS)
        if not any(path.suffix in _SUBTITLES for place in places if place.is_dir() for path in place.iterdir()):
            what = "has no subtitles, and --subtitles asks for them."
            remedy = "Name the folder that `subtitle` lies in with --media, or leave --subtitles out."
            remedy = self._unpacked("subtitle*.zip", remedy)
            raise SensoriumError(self._bases[0] / "subtitle", what, remedy)

    def _unpacked(self, pattern: str, remedy: str) -> str:
        """A remedy for media that are not there: archives are not looked into, and the hub has videos as nothing else.
        """
        archives = sorted(path.name for base in self._bases for path in base.glob(pattern))
        more = f" and {len(archives) - 1} more" if len(archives) > 1 else ""
        return f"Unpack {archives[0]}{more} in that folder. Else: {remedy}" if archives else remedy

    @property
    def _bases(self) -> tuple[Path, ...]:
        """The folders under which media lie."""
        root = self.path if self.path.is_dir() else self.path.parent
        return (root,) if self.media is None else (self.media, root)

    def _medium(self, name: str, folders: Sequence[str]) -> Path:
        for base in self._bases:
            for folder in folders:
                # Names come from a file of somebody else's: none of them may lead out of the folder.
                path = base / folder / name
                if path.is_file() and path.resolve().is_relative_to(base.resolve()):
                    return path
        raise MissingMedia(name, "this picture is not there.", "Name the folder of pictures with --media.")

    def _found(self, pattern: str) -> list[Path]:
        if not self.path.is_dir():
            return []
        return sorted(path for path in self.path.glob(pattern) if self._is_meant(path))

    def _is_meant(self, path: Path) -> bool:
        return self.split is None or self.split in path.relative_to(self.path).as_posix()
