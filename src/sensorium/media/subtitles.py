"""Subtitles: what is said and when, from SRT, WebVTT or ASS files in whatever encoding and order they come.

Which lines belong to sampled frames is Video-MME's rule (arXiv:2405.21075): those on the screen at the frames' times,
so k frames bring at most k lines.
"""

from __future__ import annotations

import codecs
import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.errors import SensoriumError
from sensorium.media.encodings import old_encoding
from sensorium.media.sources import open_source

MAX_BYTES = 4 * 2**20  # the words of a four-hour film take a tenth; the parser, a second for each 300 kB
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """Words on the screen from start_s until just before end_s; line ends within them are blanks."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Subtitles:
    """lines: in the order of their times; remark: what had to be guessed about the file, "" where nothing had."""

    lines: tuple[Line, ...]
    remark: str = ""


def read_subtitles(source: str | Path | bytes) -> tuple[Line, ...]:
    """The lines of `open_subtitles`."""
    return open_subtitles(source).lines


def open_subtitles(source: str | Path | bytes) -> Subtitles:
    """The lines in the order of their times, without markup, drawings, comments and empty ones.

    source: a path, a `data:` URL or bytes. Raises SensoriumError when it cannot be read or holds no line.
    """
    where, stream = open_source(source, "subtitle", MAX_BYTES)
    with stream:
        text, guessed = decode_text(stream.read())
    pysubs2 = _pysubs2(where)
    try:
        events = pysubs2.SSAFile.from_string(text).events
    except (pysubs2.Pysubs2Error, ValueError, LookupError, ArithmeticError, TypeError, AttributeError) as error:
        what = "is not SRT, WebVTT or ASS that can be read."
        raise SensoriumError(where, what, "Convert it to SRT in UTF-8.") from error
    lines = [
        Line(event.start / 1000, event.end / 1000, " ".join(event.plaintext.split()))
        for event in events
        if not event.is_comment and not event.is_drawing and event.end > event.start >= 0
    ]
    lines = sorted((line for line in lines if line.text), key=lambda line: (line.start_s, line.end_s))
    if not lines:
        raise SensoriumError(where, "holds no subtitles.", "Give an SRT, WebVTT or ASS file.")
    return Subtitles(tuple(lines), f"its subtitles tell no encoding and were read as {guessed}" if guessed else "")


def decode_text(data: bytes) -> tuple[str, str]:
    """Bytes of a text file -> (text, the encoding that was guessed, "" where there was no need to guess).

    A byte order mark says it, or the zeros of UTF-16, or that all is sound UTF-8; else see `encodings`.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data.decode(name, errors="replace"), ""
    if b"\0" in data[:1000]:  # every other byte of ASCII written in UTF-16
        return data.decode("utf-16-be" if data[0] == 0 else "utf-16-le", errors="replace"), ""
    try:
        return data.decode("utf-8"), ""
    except UnicodeDecodeError:
        name, called = old_encoding(data)
        return data.decode(name, errors="replace"), called


def lines_at(lines: Sequence[Line], times: Iterable[float]) -> list[Line]:
    """The line on the screen at each time, the first where several are; each line once, in order.

    lines: as `read_subtitles` gives them.
    """
    found = (line_at(lines, time_s) for time_s in times)
    return list(dict.fromkeys(line for line in found if line is not None))


def line_at(lines: Sequence[Line], time_s: float) -> Line | None:
    """The first line that is on the screen at a time."""
    return next((line for line in lines if line.start_s <= time_s < line.end_s), None)


def _pysubs2(where: str) -> Any:
    try:
        return importlib.import_module("pysubs2")
    except ImportError as error:
        remedy = "Install `sensorium[video]`."
        raise SensoriumError(where, "needs pysubs2 to be read, which is not installed.", remedy) from error
