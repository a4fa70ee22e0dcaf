"""What was asked and what came back: the raw material of every score, kept so that all of it can be scored again.

One JSON line a reply, after one header line that says of which model, data and split they are. A file that was cut off
by a kill goes on where it stopped; a file of another model is refused rather than mixed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.errors import SensoriumError
from sensorium.files import write_whole

FORMAT = "sensorium-replies-1"


@dataclass(frozen=True)
class ScenesReply:
    """A question about a picture, its truth, the reply.

    id: the probe's, with `/0` or `/1` where it asks twice. truth: "Yes" or "No"; for captions the list of names; for
    grounding the four corners of the box in thousandths.
    """

    id: str
    scene: str
    subset: str
    question: str
    truth: Any
    reply: str

    def to_json(self) -> dict[str, Any]:
        return dict(self.__dict__)


class ReplyFile:
    """Replies on disk, by id. header: what they are replies of; any mismatch with an existing file is an error."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.header = {"format": FORMAT, **header}
        self.known: dict[str, ScenesReply] = {}
        try:
            self._open()
        except OSError as error:
            raise SensoriumError(path, f"cannot be read or written ({error.strerror}).") from error

    def _open(self) -> None:
        text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.exists() else ""
        whole, _, torn = text.rpartition("\n")
        if not whole:
            write_whole(self.path, json.dumps(self.header) + "\n")
            return
        header, rows = read_replies(self.path, whole)
        if header != self.header:
            raise SensoriumError(self.path, "holds replies of another model or other data.",
                                 "Choose another --out, or remove the file.")
        if torn:
            write_whole(self.path, whole + "\n")
        self.known = {row.id: row for row in rows}

    def add(self, replies: Iterable[tuple[ScenesReply, bool]]) -> None:
        """Append replies and whether each was right. Raises SensoriumError when the disk refuses."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                for reply, right in replies:
                    self.known[reply.id] = reply
                    file.write(json.dumps({**reply.to_json(), "right": right}, ensure_ascii=False) + "\n")
        except OSError as error:
            raise SensoriumError(self.path, f"cannot be written ({error.strerror}).") from error


def read_replies(path: Path, text: str | None = None) -> tuple[dict[str, Any], list[ScenesReply]]:
    """The header and the replies of a file, to score them again. text: its content, when it was read already.

    Raises SensoriumError naming the row that cannot be read.
    """
    header, rows = _read(path, text)
    try:
        return header, [ScenesReply(**{k: v for k, v in row.items() if k != "right"}) for row in rows]
    except (TypeError, AttributeError) as error:
        raise SensoriumError(path, f"has a row with other fields ({error}).", "Remove the file.") from error


def read_judged(path: Path) -> tuple[dict[str, Any], list[tuple[ScenesReply, bool]]]:
    """`read_replies`, each with whether it was right."""
    header, replies = read_replies(path)
    _, rows = _read(path, None)
    return header, [(reply, bool(row.get("right"))) for reply, row in zip(replies, rows, strict=True)]


def _read(path: Path, text: str | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        # Not splitlines: a reply may hold one of the rarer line ends, which JSON leaves as they are.
        lines = (path.read_text(encoding="utf-8") if text is None else text).rstrip("\n").split("\n")
    except OSError as error:
        raise SensoriumError(path, f"cannot be read ({error.strerror}).") from error
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise SensoriumError(f"{path} row {number}", f"is not JSON ({error}).", "Remove the file.") from error
        rows.append(row)
    if not rows or not isinstance(rows[0], dict) or rows[0].get("format") != FORMAT:
        raise SensoriumError(path, f"is not a file of the format {FORMAT}.")
    return rows[0], rows[1:]
