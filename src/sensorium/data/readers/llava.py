"""The LLaVA family's JSON: LLaVA, ShareGPT, InternVL, and rows of several pictures.

One array or JSON lines of rows `{"id", "image": "a.jpg" | ["a.jpg", …], "conversations": [{"from", "value"}, …]}`
(LLaVA-1.5 and LLaVA-NeXT). ShareGPT and LLaMA-Factory write `images`, and `messages` with `role` and `content`; both
kinds of keys are taken. InternVL's meta file names several such JSON-lines files with a root for pictures and a repeat.
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
from sensorium.data.readers.turns import tagged_conversation
from sensorium.errors import SensoriumError

_PICTURES = ("image", "images")
_TURNS = ("conversations", "messages", "conversation")


class TaggedRows:
    """The samples of one file. folder: of the pictures."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.rows, self.folder = JsonRows(path), folder

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Sample:
        where, row = self.rows[number]
        images = [picture(name, self.folder, f"{where}: image") for name in _pictures(row, where)]
        key = next((key for key in _TURNS if key in row), None)
        if key is None:
            raise SensoriumError(where, "has neither `conversations` nor `messages`.", "Check the source's `format`.")
        system = row.get("system")
        conversation = tagged_conversation(row[key], images, f"{where}: {key}", system if system else None)
        return Sample(str(row.get("id", number)), where, conversation)


class LlavaSettings(SourceSettings):
    """format `llava` (and `sharegpt`, the same rows under other keys)."""

    format: Literal["llava", "sharegpt"] = "llava"

    def open(self) -> TaggedRows:
        path = local_path(self.path)
        return TaggedRows(path, local_path(self.images) if self.images else path.parent)


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
    """format `internvl`: `path` is the meta file; its roots and annotations are relative to its folder, or `images`."""

    format: Literal["internvl"] = "internvl"

    def open(self) -> InternVL:
        meta = local_path(self.path)
        return InternVL(meta, local_path(self.images) if self.images else meta.parent)


def _pictures(row: Mapping[str, Any], where: str) -> Sequence[Any]:
    """One name, a list of names, or none: writers use all three, and null."""
    value: Any = next((row[key] for key in _PICTURES if row.get(key) is not None), [])
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise SensoriumError(f"{where}: image", f"expected a file name or a list of them, found {value!r}.")
    return value


def _internvl_part(entry: Any, folder: Path, where: str) -> tuple[TaggedRows, int]:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("annotation"), str):
        raise SensoriumError(where, "has no `annotation`, the path of its JSON lines.")
    part = TaggedRows(folder / entry["annotation"], folder / str(entry.get("root", "")))
    repeat = entry.get("repeat_time", 1)
    if isinstance(repeat, bool) or not isinstance(repeat, int | float) or repeat <= 0:
        raise SensoriumError(f"{where}: repeat_time", f"{repeat!r} is not a number above 0.")
    return part, max(1, round(len(part) * repeat))
