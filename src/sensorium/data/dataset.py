"""Read a folder of conversations about pictures: the format `sensorium-conversations-1`, whoever built it.

A dataset is a folder with `dataset.json` and one folder a split; a split holds pictures, `scenes.jsonl` (what truly
is in each picture), `conversations.jsonl` (what is trained on) and `probes.jsonl` (what is measured). Of films these
are `films.jsonl`, `conversations.jsonl` and `questions.jsonl`. Rows are found by byte offsets and parsed when asked
for, so a hundred thousand of them open at once and cost nothing until used.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from sensorium.data.films.records import Film, FilmQuestion, film_from_json, question_from_json
from sensorium.data.records import (
    FORMAT,
    KINDS,
    SUBSETS,
    TASKS,
    ConversationRow,
    Probe,
    Scene,
    SceneObject,
    conversation_from_json,
    probe_from_json,
    scene_from_json,
)
from sensorium.errors import SensoriumError, did_you_mean

__all__ = ["FORMAT", "SUBSETS", "TASKS", "ConversationRow", "Dataset", "Probe", "Rows", "Scene", "SceneObject"]

Row = TypeVar("Row")
_NAME_SOURCES = (
    "Other people's data is named in a YAML file, `sources: [{format: llava, path: mix.json}]`: give that file. "
    "docs/train-your-own.md lists the formats."
)


class Rows(Sequence[Row], Generic[Row]):
    """The rows of a JSON-lines file, parsed when asked for.

    Only the byte offsets are held (8 bytes a row). Each access opens the file anew, which makes the object safe to hand
    to other processes, and is cheap beside decoding the picture that the row names.
    """

    def __init__(
        self,
        path: Path,
        parse: Callable[[Mapping[str, Any], str], Row],
        keep: Callable[[Mapping[str, Any]], bool] | None = None,
    ) -> None:
        self.path, self._parse = path, parse
        self._offsets, self._numbers = array("Q"), array("Q")
        offset = 0
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip() and (keep is None or keep(self._object(line, number))):
                        self._offsets.append(offset)
                        self._numbers.append(number)
                    offset += len(line)
        except OSError as error:
            raise SensoriumError(path, f"cannot be read ({error.strerror or error}).") from error

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        offset, number = self._offsets[index], self._numbers[index]
        with self.path.open("rb") as file:
            file.seek(offset)
            line = file.readline()
        return self._parse(self._object(line, number), f"{self.path} row {number}")

    def __iter__(self) -> Iterator[Row]:
        numbers = set(self._numbers)
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if number in numbers:
                    yield self._parse(self._object(line, number), f"{self.path} row {number}")

    def _object(self, line: bytes, number: int) -> Mapping[str, Any]:
        where = f"{self.path} row {number}"
        try:
            value = json.loads(line)
        except ValueError as error:
            raise SensoriumError(where, f"is not JSON ({error}).", "Build the dataset again.") from error
        if not isinstance(value, dict):
            raise SensoriumError(where, "is not a JSON object.", "Build the dataset again.")
        return value


class Dataset:
    """A dataset folder of the format `sensorium-conversations-1`.

    Raises SensoriumError when the folder or its `dataset.json` is missing, damaged, or of another format.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()
        path = self.root / "dataset.json"
        remedy = "Make one with `sensorium data build scenes`."
        try:
            self.info: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            if self.root.is_file():
                what = "is a file, not a dataset folder."
                raise SensoriumError(self.root, what, _NAME_SOURCES) from error
            raise SensoriumError(path, "is missing: this is not a finished dataset folder.", remedy) from error
        except (OSError, ValueError) as error:
            raise SensoriumError(path, f"cannot be read ({error}).", remedy) from error
        found = self.info.get("format") if isinstance(self.info, dict) else None
        if found != FORMAT:
            raise SensoriumError(path, f"`format` is {found!r}, expected {FORMAT!r}.", remedy)
        if not isinstance(self.info.get("splits"), dict):
            raise SensoriumError(path, "`splits` is missing.", remedy)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.info["splits"])

    def folder(self, split: str) -> Path:
        """The folder of a split; picture paths in its files are relative to it."""
        if split not in self.info["splits"]:
            raise SensoriumError(f"{self.root}: split {split!r}", "is not there.", did_you_mean(split, self.splits))
        return self.root / split

    def scenes(self, split: str, kind: str | None = None) -> Rows[Scene]:
        """The truth about each picture, `image` absolute, of one kind only if one is given."""
        folder = self._of_pictures(split)
        if kind is not None and kind not in KINDS:
            raise SensoriumError("kind", f"unknown kind {kind!r}.", did_you_mean(kind, KINDS))
        return Rows(
            folder / "scenes.jsonl",
            partial(scene_from_json, folder=folder),
            None if kind is None else lambda row: row.get("kind", "plain") == kind,
        )

    def _of_pictures(self, split: str) -> Path:
        folder = self.folder(split)
        if self.has_films(split):
            remedy = "Build some with `sensorium data build scenes`."
            raise SensoriumError(folder, "shows films and no pictures.", remedy)
        return folder

    def has_films(self, split: str) -> bool:
        """Whether a split is of films and not of pictures."""
        self.folder(split)
        return "films" in self.info["splits"][split]

    def films(self, split: str) -> Rows[Film]:
        """The truth about each film, `video` and `subtitles` absolute."""
        folder = self.folder(split)
        return Rows(folder / "films.jsonl", partial(film_from_json, folder=folder))

    def questions(self, split: str) -> Rows[FilmQuestion]:
        """Multiple choice about the films of a split."""
        return Rows(self.folder(split) / "questions.jsonl", question_from_json)

    def conversations(self, split: str, tasks: Sequence[str] | None = None) -> Rows[ConversationRow]:
        """The conversations of a split, those of the given tasks only if any are given."""
        folder = self.folder(split)
        for task in tasks or ():
            if task not in TASKS:
                raise SensoriumError("tasks", f"unknown task {task!r}.", did_you_mean(task, TASKS))
        wanted = None if tasks is None else set(tasks)
        return Rows(
            folder / "conversations.jsonl",
            partial(conversation_from_json, folder=folder),
            None if wanted is None else lambda row: row.get("task") in wanted,
        )

    def probes(self, split: str, subset: str | None = None) -> Rows[Probe]:
        """The measurements of a split, `image` absolute, those of one subset only if one is given."""
        folder = self._of_pictures(split)
        if subset is not None and subset not in SUBSETS:
            raise SensoriumError("subset", f"unknown subset {subset!r}.", did_you_mean(subset, SUBSETS))
        return Rows(
            folder / "probes.jsonl",
            partial(probe_from_json, folder=folder),
            None if subset is None else lambda row: row.get("subset") == subset,
        )
