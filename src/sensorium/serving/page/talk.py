"""One tab's conversation: what was said, and how each reply went. Kept on the server; a browser only sees it.

Pictures stay files in the page's folder, so that a thousand open tabs cost disk and not memory.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path

from sensorium.conversation import Conversation, Image, Message, Part, Text, Video
from sensorium.correction.records import Report
from sensorium.errors import SensoriumError
from sensorium.serving.page.strips import Strip


@dataclass
class Talk:
    """messages: said and answered, in turns. answering: the task of the reply under way, for whoever stops it.

    reports: of corrected replies, by the number of their message. strips: what was seen of the videos.
    """

    messages: tuple[Message, ...] = ()
    reports: dict[int, Report] = field(default_factory=dict)
    strips: dict[Video, Strip] = field(default_factory=dict)
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
    """The same conversation with its pictures and videos in it, for a file that means something elsewhere.

    Raises SensoriumError when nothing was said or one of them is no longer there.
    """
    return Conversation(tuple(Message(message.role, tuple(map(_with_bytes, message.parts))) for message in messages))


def _with_bytes(part: Part) -> Part:
    try:
        if isinstance(part, Video):
            subtitles = None if part.subtitles is None else _read(part.subtitles)
            return replace(part, source=_read(part.source), subtitles=subtitles)
        return Image(_read(part.source)) if isinstance(part, Image) else part
    except OSError as error:
        noun = "video" if isinstance(part, Video) else "picture"
        raise SensoriumError(noun, "is no longer kept.", "Begin a new conversation.") from error


def _read(source: str | bytes) -> bytes:
    assert isinstance(source, str)
    return Path(source).read_bytes()


def as_json(messages: tuple[Message, ...]) -> str:
    """Content parts, pictures and videos as data URLs; `sensorium chat --conversation FILE` goes on with it."""
    return json.dumps(with_bytes(messages).to_json(), ensure_ascii=False, indent=2) + "\n"


def as_markdown(messages: tuple[Message, ...], you: str, model: str, picture: str, video: str) -> str:
    """Headings for who speaks, pictures and videos by number, their data at the end where it disturbs nobody."""
    lines: list[str] = []
    data: list[str] = []
    for message, row in zip(messages, with_bytes(messages).to_json(), strict=True):
        lines.append(f"## {you if message.role == 'user' else model}")
        for part, written in zip(message.parts, row["content"], strict=True):
            if isinstance(part, Text):
                lines.append(part.text)
            else:
                noun, kind, mark = (video, "video_url", "") if isinstance(part, Video) else (picture, "image_url", "!")
                data.append(f"[{noun}-{len(data) + 1}]: {written[kind]['url']}")
                lines.append(f"{mark}[{noun} {len(data)}][{noun}-{len(data)}]")
    return "\n\n".join([*lines, "\n".join(data)]).rstrip() + "\n"
