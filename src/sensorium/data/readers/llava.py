"""The LLaVA family's JSON: LLaVA, ShareGPT, InternVL, and rows of several pictures.

One array or JSON lines of rows `{"id", "image": "a.jpg" | ["a.jpg", …], "conversations": [{"from", "value"}, …]}`
(LLaVA-1.5 and LLaVA-NeXT). ShareGPT and LLaMA-Factory write `images`, and `messages` with `role` and `content`; both
kinds of keys are taken. InternVL's meta file names several such JSON-lines files with a root for pictures and a repeat.
Rows with clips or recordings are refused, not read without them.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from sensorium.data.readers.base import Sample, SourceSettings, picture
from sensorium.data.readers.hub import local_path
from sensorium.data.readers.rows import JsonRows
from sensorium.data.readers.turns import TAG, tagged_conversation
from sensorium.errors import SensoriumError

_PICTURES = ("image", "images")
_TURNS = ("conversations", "messages", "conversation")
_UNHEARD = ("video", "videos", "audio", "audios")


class TaggedRows:
    """The samples of one file. folder: of the pictures; may_lack_tag: a row's only picture may go without its tag."""

    def __init__(self, path: Path, folder: Path, may_lack_tag: bool = False) -> None:
        self.rows, self.folder, self.may_lack_tag = JsonRows(path), folder, may_lack_tag

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Sample:
        where, row = self.rows[number]
        if unheard := next((key for key in _UNHEARD if row.get(key)), None):
            raise SensoriumError(f"{where}: {unheard}", "clips and recordings cannot be trained on yet.")
        images = [picture(name, self.folder, f"{where}: image") for name in _pictures(row, where)]
        key = next((key for key in _TURNS if key in row), None)
        if key is None:
            raise SensoriumError(where, "has neither `conversations` nor `messages`.", "Check the source's `format`.")
        system = row.get("system")
        turns = _with_tag(row[key], len(images)) if self.may_lack_tag else row[key]
        conversation = tagged_conversation(turns, images, f"{where}: {key}", system if system else None)
        return Sample(str(row.get("id", number)), where, conversation)


class LlavaSettings(SourceSettings):
    """format `llava` (and `sharegpt`, the same rows under other keys)."""

    format: Literal["llava", "sharegpt"] = "llava"

    def open(self) -> TaggedRows:
        path = local_path(self.path)
        return TaggedRows(path, self.folder(path))


class InternVL:
    """Several JSON-lines files as one source, each as often as its `repeat_time` says (below 1: only its beginning)."""

    def __init__(self, meta: Path, folder: Path) -> None:
        try:
            named = json.loads(meta.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            remedy = "It is InternVL's meta file, a JSON object."
            raise SensoriumError(meta, f"cannot be read ({error}).", remedy) from error
        if not isinstance(named, dict) or not named:
            raise SensoriumError(meta, "names no datasets.", 'Write {"name": {"root": …, "annotation": …}}.')
        self.parts: list[TaggedRows] = []
        lengths: list[int] = []
        for name, entry in named.items():
            part, length = _internvl_part(entry, folder, f"{meta}: {name}")
            self.parts.append(part)
            lengths.append(length)
        self._ends = list(accumulate(lengths))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, number: int) -> Sample:
        number = range(len(self))[number]
        part = bisect_right(self._ends, number)
        start = self._ends[part - 1] if part else 0
        return self.parts[part][(number - start) % len(self.parts[part])]


class InternVLSettings(SourceSettings):
    """format `internvl`: `path` is the meta file; its roots and annotations are relative to its folder, or `images`.

    On the hub, name the folder that holds them all in `images`, and the meta file in `path`.
    """

    format: Literal["internvl"] = "internvl"

    def open(self) -> InternVL:
        meta = local_path(self.path)
        return InternVL(meta, self.folder(meta))


def _pictures(row: Mapping[str, Any], where: str) -> Sequence[Any]:
    """One name, a list of names, or none: writers use all three, and null, and an empty name for none."""
    value: Any = next((row[key] for key in _PICTURES if row.get(key) not in (None, "")), [])
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise SensoriumError(f"{where}: image", f"expected a file name or a list of them, found {value!r}.")
    return value


def _internvl_part(entry: Any, folder: Path, where: str) -> tuple[TaggedRows, int]:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("annotation"), str):
        raise SensoriumError(where, "has no `annotation`, the path of its JSON lines.")
    annotation, root = _inside(entry["annotation"], folder, where), _inside(entry.get("root") or ".", folder, where)
    part = TaggedRows(annotation, root, may_lack_tag=True)
    if not len(part):
        raise SensoriumError(annotation, "has no rows.", "Leave it out of the meta file.")
    repeat = entry.get("repeat_time", 1)
    if isinstance(repeat, bool) or not isinstance(repeat, int | float) or repeat <= 0:
        raise SensoriumError(f"{where}: repeat_time", f"{repeat!r} is not a number above 0.")
    return part, max(1, round(len(part) * repeat))


def _inside(name: Any, folder: Path, where: str) -> Path:
    """A path of a meta file: below its folder, because such files come from elsewhere."""
    if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
        raise SensoriumError(where, f"{name!r} points out of {folder}.", "Name what lies below it.")
    return folder / name


def _with_tag(turns: Any, n_images: int) -> Any:
    """InternVL's rule: where one picture has no tag at all, it stands before the first question."""
    values = [turn.get("value") for turn in turns if isinstance(turn, Mapping)] if isinstance(turns, list) else []
    has_tag = any(isinstance(value, str) and TAG in value for value in values)
    if n_images != 1 or has_tag or not values or not isinstance(values[0], str):
        return turns
    return [{**turns[0], "value": f"{TAG}\n{values[0]}"}, *turns[1:]]
