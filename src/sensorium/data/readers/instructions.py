"""Rows of several pictures in MIMIC-IT's form: instructions that lean on others shown before them.

`data` maps an id to `{"instruction", "answer", "image_ids", "rel_ins_ids"}`; the pictures are base64 by id in a second
file, or files called by their ids. The related instructions come first, each with
its pictures, its question and its answer, as the in-context examples they are; the row itself comes last.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sensorium.conversation import Conversation, Image, Message, Text
from sensorium.data.readers import fields
from sensorium.data.readers.base import Sample, SourceSettings, picture
from sensorium.data.readers.hub import local_path
from sensorium.data.readers.rows import JsonEntries
from sensorium.data.readers.turns import check_turns
from sensorium.errors import SensoriumError


class Instructions:
    """rows: of `data`; pictures: id -> base64, or None where pictures are files `<id>.jpg` in `folder`."""

    def __init__(self, path: Path, folder: Path, pictures: Mapping[str, Any] | None, examples: int) -> None:
        self.path, self.folder, self.pictures, self.examples = path, folder, pictures, examples
        self.rows = JsonEntries(path, "data")
        self.ids = list(self.rows)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> Sample:
        own = self.ids[number]
        where = f"{self.path} row {own}"
        related = fields.mapping(self.rows[own], where).get("rel_ins_ids") or []
        if not isinstance(related, list):
            raise SensoriumError(f"{where}: rel_ins_ids", "expected a list of ids.")
        messages: list[Message] = []
        for key in [*related[: self.examples], own]:
            if not isinstance(key, str) or key not in self.rows:
                raise SensoriumError(f"{where}: rel_ins_ids", f"{key!r} is not in the file.")
            row, place = self.rows[key], f"{self.path} row {key}"
            names = fields.items(row, "image_ids", place)
            shown = tuple(self._image(name, f"{place}: image_ids") for name in names)
            messages.append(Message("user", (*shown, Text(fields.words(row, "instruction", place)))))
            messages.append(Message("assistant", (Text(fields.words(row, "answer", place)),)))
        conversation = Conversation(tuple(messages))
        check_turns(conversation, where)
        return Sample(own, where, conversation)

    def _image(self, name: Any, where: str) -> Image:
        if self.pictures is None:
            return picture(f"{name}.jpg", self.folder, where)
        encoded = self.pictures.get(name) if isinstance(name, str) else None
        if not isinstance(encoded, str):
            raise SensoriumError(where, f"{name!r} is not in the file of pictures.")
        return Image(encoded if encoded.startswith("data:") else f"data:image/jpeg;base64,{encoded}")


class InstructionsSettings(SourceSettings):
    """format `mimic-it`. encoded: the JSON file of base64 pictures; examples: how many related rows come first."""

    places = (*SourceSettings.places, "encoded")
    format: Literal["mimic-it"] = "mimic-it"
    encoded: str | None = None
    examples: int = 4

    def open(self) -> Instructions:
        path = local_path(self.path)
        pictures = JsonEntries(local_path(self.encoded)) if self.encoded else None
        return Instructions(path, self.folder(path), pictures, self.examples)
