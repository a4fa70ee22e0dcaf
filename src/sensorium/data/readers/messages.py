"""OpenAI's chat messages as JSON lines (or an array): `{"messages": [{"role", "content"}, …]}`.

Content is a string or a list of parts; pictures are `image_url` or `image` parts with a path below `images` or a
`data:` URL. Parts `{"type": "image"}` that name nothing take the pictures of the row's `images` in order, as Hugging
Face's trainers write them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from sensorium.conversation import Conversation, Image, Medium, Message, Part
from sensorium.data.readers.base import Sample, SourceSettings, picture
from sensorium.data.readers.hub import local_path
from sensorium.data.readers.rows import JsonRows
from sensorium.data.readers.turns import check_turns
from sensorium.errors import SensoriumError

_KINDS = ("image", "image_url")


class MessageRows:
    """The samples of one file. folder: of the pictures."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.rows, self.folder = JsonRows(path), folder

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Sample:
        where, row = self.rows[number]
        place = f"{where}: messages"
        if "messages" not in row:
            raise SensoriumError(place, "is missing.", "Check the source's `format`.")
        said = with_pictures(_plain(row["messages"], place), row.get("images"), place)
        conversation = Conversation.from_json(said, where)
        found = Conversation(tuple(self._opened(message, place) for message in conversation))
        check_turns(found, place)
        return Sample(str(row.get("id", number)), where, found)

    def _opened(self, message: Message, where: str) -> Message:
        return replace(message, parts=tuple(self._part(part, where) for part in message.parts))

    def _part(self, part: Part, where: str) -> Part:
        if not isinstance(part, Medium) or isinstance(part.source, bytes) or part.source.startswith("data:"):
            return part
        if not isinstance(part, Image):
            raise SensoriumError(where, f"holds a {type(part).__name__.lower()}; pictures only can be trained on yet.")
        if "://" in part.source:
            raise SensoriumError(where, f"{part.source!r} is a web address; these are not opened.",
                                 "Download the pictures, name their files.")
        return replace(part, source=picture(part.source, self.folder, where).source)


def _plain(messages: Any, where: str) -> Any:
    """Messages without what tables add: keys that hold null, and the parts' `index`."""
    if not isinstance(messages, list):
        return messages
    plain = []
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping):
            return messages
        if message.get("weight") == 0:
            raise SensoriumError(f"{where}[{i}]", "has weight 0; replies that are not learnt cannot be marked yet.")
        kept = {key: value for key, value in message.items() if value is not None and key not in ("weight", "name")}
        if isinstance(content := kept.get("content"), list):
            kept["content"] = [
                {key: value for key, value in part.items() if value is not None and key != "index"}
                if isinstance(part, Mapping) else part
                for part in content
            ]  # fmt: skip
        plain.append(kept)
    return plain


def with_pictures(messages: Any, images: Any, where: str) -> Any:
    """Messages in which every picture part that names nothing has its picture of `images`, in order."""
    waiting = list(images) if isinstance(images, list) else []
    if not isinstance(messages, list) or not waiting:
        return messages

    def filled(part: Any) -> Any:
        is_bare = isinstance(part, Mapping) and part.get("type") in _KINDS and not any(part.get(k) for k in _SOURCES)
        if not is_bare:
            return part
        if not waiting:
            raise SensoriumError(where, f"shows more pictures than the {len(images)} of `images`.")
        return {"type": "image", "image": waiting.pop(0)}

    done = []
    for message in messages:
        content = message.get("content") if isinstance(message, Mapping) else None
        done.append({**message, "content": [filled(p) for p in content]} if isinstance(content, list) else message)
    if waiting:
        raise SensoriumError(where, f"shows {len(images) - len(waiting)} of the {len(images)} pictures of `images`.")
    return done


_SOURCES = ("image", "url", "path", "base64", "image_url")


class MessagesSettings(SourceSettings):
    """format `messages`."""

    format: Literal["messages"] = "messages"

    def open(self) -> MessageRows:
        path = local_path(self.path)
        return MessageRows(path, self.folder(path))
