"""What the commands say and where: results on standard output, everything else on standard error.

A program can read the output of any command while a person sees what is going on.
"""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import Any, Self

from sensorium.errors import SensoriumError

PLAIN_EVERY_S = 10.0  # between two lines about the same thing where there is no terminal to redraw
# A model's words go to a terminal as words: bytes that would move its cursor or change its settings are taken out.
_CONTROL = {code: "\ufffd" for code in (*range(32), 127, *range(128, 160)) if chr(code) not in "\n\t"}


def emit(text: str = "", end: str = "\n") -> None:
    """Write a result to standard output, at once."""
    sys.stdout.write(text + end)
    sys.stdout.flush()


def emit_words(text: str) -> None:
    """Write a piece of a reply, control characters replaced when a terminal would obey them."""
    emit(text.translate(_CONTROL) if sys.stdout.isatty() else text, end="")


def emit_json(value: Any) -> None:
    """Write one JSON object on one line."""
    emit(json.dumps(value, ensure_ascii=False))


def note(text: str) -> None:
    """Tell the person something that is not the result."""
    print(text, file=sys.stderr, flush=True)


def error_line(error: SensoriumError) -> str:
    """`error: where: what remedy`, always one line, whatever a file's name holds."""
    return "error: " + " ".join(str(error).split())


def size_of(n_bytes: int) -> str:
    """As people write it: 1.23 GB, 45 MB."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


class Preparation:
    """Shows fetching, converting and building: call it with (what, done, in all or 0 when unknown).

    A bar on a terminal, a line now and then elsewhere. The bar lives only while something countable is under way, so
    that it never fights with another display for the screen. A context manager.
    """

    def __init__(self) -> None:
        self._what = ""
        self._said_at = 0.0
        self._bar: Any = None
        self._is_terminal = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        if not total:
            if what != self._what:
                self._stop()
                note(f"{what} …")
        elif self._is_terminal:
            self._draw(what, done, total)
        else:
            self._say(what, done, total)
        self._what = what

    def _draw(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self._stop()
        if self._bar is None:
            if done >= total:
                return
            self._bar = _bar()
            self._bar.start()
            self._bar.add_task(what, total=total)
        self._bar.update(self._bar.task_ids[0], completed=done, total=total)
        if done >= total:
            self._stop()

    def _say(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        is_new = what != self._what
        if is_new or done >= total or now - self._said_at >= PLAIN_EVERY_S:
            self._said_at = now
            note(f"{what} {done / total:.0%}")

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
