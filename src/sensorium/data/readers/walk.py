"""Walk through a JSON file of any size with a piece of it in memory at a time.

Datasets of a million rows are often one JSON array, or one object of a few long arrays, of gigabytes; parsed whole they
take five to ten times as much memory. Here the brackets of the outer levels are walked by hand, and what stands between
them is parsed by Python's own parser one element at a time. Read as Latin-1 a character is a byte, and the brackets are
the same; an element that holds more than ASCII is parsed again from its bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from sensorium.errors import SensoriumError

PIECE = 1 << 20  # bytes read at a time; an element may be longer
_SPACE = re.compile(r"[ \t\r\n]*")
_AFTER_NUMBER = tuple(" \t\r\n,]}")
_DECODER = json.JSONDecoder()
_AGAIN, _FORMAT = "Get the file again.", "Check that the source's `format` is right."
Span = tuple[int, int]  # first byte, and the one after the last


class JsonFile:
    """A file whose outermost value is an array or an object, walked when asked.

    The places of an object's keys are found in one walk, the first time that one is asked for. Every walk opens the
    file anew, and raises SensoriumError at the first byte that is no JSON, or when the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, int] | None = None

    def items(self, key: str | None = None) -> Iterator[Any]:
        """The elements of the array under a key, or of the outermost one."""
        with self._opened(key) as walk:
            if walk.peek() != "[":
                raise SensoriumError(self._where(key), "is no list.", _FORMAT)
            yield from (walk.parsed(span, value) for span, value in walk.elements())

    def pairs(self, key: str | None = None) -> Iterator[tuple[str, Span, Any]]:
        """(key, where its value lies, the value) of the object under a key, or of the outermost one."""
        with self._opened(key) as walk:
            if walk.peek() != "{":
                raise SensoriumError(self._where(key), "is no object.", _FORMAT)
            for name in walk.names():
                span, value = walk.value()
                yield name, span, walk.parsed(span, value)

    def spans(self) -> Iterator[Span]:
        """Where each element of the outermost array lies. Raises SensoriumError when the file goes on after it."""
        with self._opened(None) as walk:
            yield from (span for span, _ in walk.elements())
            if walk.peek():
                what = f"goes on at byte {walk.at:,} after its array."
                raise SensoriumError(self.path, what, "Write one array, or JSON lines.")

    def __contains__(self, key: str) -> bool:
        return key in self._found()

    def _found(self) -> dict[str, int]:
        if self._places is None:
            places: dict[str, int] = {}
            with self._opened(None) as walk:
                if walk.peek() != "{":
                    raise SensoriumError(self.path, "is no object.", _FORMAT)
                for name in walk.names():
                    walk.peek()
                    places[name] = walk.at
                    walk.skip()
            self._places = places
        return self._places

    @contextmanager
    def _opened(self, key: str | None) -> Iterator[_Walk]:
        """A walk from where the value of a key begins."""
        if key is not None and key not in self._found():
            raise SensoriumError(self._where(key), "is missing.", _FORMAT)
        try:
            with self.path.open("rb") as file:
                yield _Walk(self.path, file, 0 if key is None else self._found()[key])
        except OSError as error:
            what = f"cannot be read ({error.strerror or error})."
            raise SensoriumError(self.path, what, "Check the path.") from error

    def _where(self, key: str | None) -> str:
        return str(self.path) if key is None else f"{self.path}: {key}"


class _Walk:
    """A place in a file, and the piece of its text around it."""

    def __init__(self, path: Path, file: BinaryIO, start: int) -> None:
        self.path, self._file = path, file
        mark = 3 if start == 0 and file.read(3) == b"\xef\xbb\xbf" else 0  # of UTF-8, which some editors write
        self._text, self._base, self._place = "", start + mark, 0  # byte of the text's first character, place in it
        file.seek(self._base)

    @property
    def at(self) -> int:
        """The byte that comes next."""
        return self._base + self._place

    def peek(self) -> str:
        """The next character that is no space; nothing at the end."""
        while True:
            match = _SPACE.match(self._text, self._place)
            assert match is not None
            self._place = match.end()
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._read_on():
                return ""

    def value(self) -> tuple[Span, Any]:
        """The next value and where it lies, read as Latin-1: see `parsed`."""
        self.peek()
        while True:
            problem: Exception | None = None
            try:
                value, end = _DECODER.raw_decode(self._text, self._place)
                if isinstance(value, str | list | dict) or self._text[end : end + 1] in _AFTER_NUMBER:
                    break  # else a number may go on in the next piece
            except (ValueError, RecursionError) as error:
                problem = error
            if not self._read_on():
                if problem is None:
                    break
                what = f"is not JSON after byte {self.at:,} ({problem})."
                raise SensoriumError(self.path, what, _AGAIN) from problem
        start, self._place = self.at, end
        return (start, self.at), value

    def parsed(self, span: Span, value: Any) -> Any:
        """A value that `value` has just given, its text as it is meant. Raises SensoriumError for what is no UTF-8."""
        if self._text.isascii():
            return value
        data = self._text[span[0] - self._base : span[1] - self._base].encode("latin-1")
        try:
            return value if data.isascii() else json.loads(data)
        except ValueError as error:
            raise SensoriumError(self.path, f"is not JSON after byte {span[0]:,} ({error}).", _AGAIN) from error

    def elements(self) -> Iterator[tuple[Span, Any]]:
        """Of the array that comes next."""
        yield from (self.value() for _ in self._members("[", "]"))

    def names(self) -> Iterator[str]:
        """Keys of the object that comes next; whoever asks reads or skips each value before the next key."""
        for _ in self._members("{", "}"):
            span, value = self.value()
            name = self.parsed(span, value)
            if not isinstance(name, str) or self.peek() != ":":
                raise SensoriumError(self.path, f"has no key at byte {span[0]:,}.", _AGAIN)
            self._place += 1
            yield name

    def skip(self) -> None:
        """Past the next value; of an array or object no more than an element is held."""
        kind = self.peek()
        if kind == "[":
            for _ in self.elements():
                pass
        elif kind == "{":
            for _ in self.names():
                self.value()
        else:
            self.value()

    def _members(self, opening: str, closing: str) -> Iterator[None]:
        """Once for each member of the array or object that comes next, which is read in between."""
        name = "array" if opening == "[" else "object"
        assert self.peek() == opening
        self._place += 1
        if self.peek() == closing:
            self._place += 1
            return
        while True:
            if not self.peek():
                raise SensoriumError(self.path, f"ends inside its {name}.", _AGAIN)
            yield
            found = self.peek()
            if found == closing:
                self._place += 1
                return
            if found != ",":
                what = f"has no comma between elements at byte {self.at:,}." if found else f"ends inside its {name}."
                raise SensoriumError(self.path, what, _AGAIN)
            self._place += 1

    def _read_on(self) -> bool:
        """Another piece, as long as what is waiting for it, so that a long element is tried a few times only."""
        rest = self._text[self._place :]
        more = self._file.read(max(PIECE, len(rest)))
        if more:
            self._text, self._base, self._place = rest + more.decode("latin-1"), self.at, 0
        return bool(more)
