"""One tab's conversation: what was said, and how each reply went. Kept on the server; a browser only sees it.

Pictures stay files in the page's folder, so that a thousand open tabs cost disk and not memory.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from sensorium.conversation import Conversation, Image, Message, Text
from sensorium.correction.records import Report
from sensorium.errors import SensoriumError


@dataclass
class Talk:
    """messages: said and answered, in turns. answering: the task of the reply under way, for whoever stops it.

    reports: of corrected replies, by the number of their message.
    """

    messages: tuple[Message, ...] = ()
    reports: dict[int, Report] = field(default_factory=dict)
    answering: asyncio.Task[None] | None = field(default=None, repr=False)

    def note(self, report: Report | None) -> None:
        """Keep what was found out about the last message; of those that are gone nothing is kept."""
        last = len(self.messages) - 1
        self.reports = {number: kept for number, kept in self.reports.items() if number < last}
        if report is not None:
            self.reports[last] = report

    def stop(self) -> None:
        """End the reply under way; what has come of it stays."""
        if self.answering is not None:
            self.answering.cancel()


class Talks:
    """The talks of all tabs, by the code that a tab makes up for itself; beyond `most` the longest unused goes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._talks: OrderedDict[str, Talk] = OrderedDict()

    def of(self, tab: str) -> Talk:
        """The tab's talk, an empty one at first."""
        talk = self._talks.setdefault(tab, Talk())
        self._talks.move_to_end(tab)
        while len(self._talks) > self.most:
            self._talks.popitem(last=False)[1].stop()
        return talk

    def end(self, tab: str) -> None:
        """Stop the tab's talk and forget it."""
        if (talk := self._talks.pop(tab, None)) is not None:
            talk.stop()


def with_bytes(messages: tuple[Message, ...]) -> Conversation:
    """The same conversation with its pictures in it, for a file that means something elsewhere.

    Raises SensoriumError when nothing was said or a picture is no longer there.
    """
    return Conversation(tuple(
        Message(message.role, tuple(_with_bytes(part) if isinstance(part, Image) else part for part in message.parts))
        for message in messages
    ))  # fmt: skip


def _with_bytes(picture: Image) -> Image:
    assert isinstance(picture.source, str)
    try:
        return Image(Path(picture.source).read_bytes())
    except OSError as error:
        raise SensoriumError("picture", "is no longer kept.", "Begin a new conversation.") from error


def as_json(messages: tuple[Message, ...]) -> str:
    """Content parts, pictures as data URLs; `sensorium chat --conversation FILE` goes on with it."""
    return json.dumps(with_bytes(messages).to_json(), ensure_ascii=False, indent=2) + "\n"


def as_markdown(messages: tuple[Message, ...], you: str, model: str, picture: str) -> str:
    """Headings for who speaks, pictures by number, their data at the end where it disturbs nobody."""
    lines: list[str] = []
    data: list[str] = []
    for message, row in zip(messages, with_bytes(messages).to_json(), strict=True):
        lines.append(f"## {you if message.role == 'user' else model}")
        for part, written in zip(message.parts, row["content"], strict=True):
            if isinstance(part, Text):
                lines.append(part.text)
            else:
                data.append(f"[{picture}-{len(data) + 1}]: {written['image_url']['url']}")
                lines.append(f"![{picture} {len(data)}][{picture}-{len(data)}]")
    return "\n\n".join([*lines, "\n".join(data)]).rstrip() + "\n"
