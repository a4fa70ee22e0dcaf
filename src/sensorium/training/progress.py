"""Show a training run while it runs: loss, learning rates, speed, time spent waiting for data, time left.

On a terminal a live display that stays in place; elsewhere (a log file, a CI job) one plain line now and then. It
refreshes inside `update` and has no thread of its own, so that data workers can be forked from the process safely.

Waiting for data is shown as a share of the time because it decides what to do about a slow run: near 0 % the model is
the bottleneck, above some 10 % the data is. Used by `training.loop`; `journal` keeps the same numbers for later.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

REFRESH_S = 0.25
SMOOTHING = 0.98  # the shown loss is a mean over about the last 50 steps
WINDOW_S = 60.0  # speeds are means over about the last minute: long enough to be calm, short enough to notice a stall


@dataclass(frozen=True)
class Numbers:
    """What the display shows. Speeds and time left are nan until some time has passed."""

    step: int
    loss: float
    samples_per_s: float
    tokens_per_s: float
    waiting_share: float
    left_s: float


@dataclass(frozen=True)
class _Reading:
    """Running totals at one moment; a speed is the difference of two."""

    at_s: float
    step: int
    samples: int = 0
    tokens: int = 0
    wait_s: float = 0.0


class Meter:
    """The numbers behind the display, apart from it.

    loss: exponential mean, corrected for its start at 0 as Adam's moments are. Speeds: totals now less totals at the
    start of the window, over the time between; what is not training (validation, saving) counts in that time, so
    that the time left is the truth for the person who waits.
    """

    def __init__(self, total_steps: int, start_step: int, now_s: float) -> None:
        self.total_steps = total_steps
        self._readings = deque([_Reading(now_s, start_step)])
        self._loss_sum = self._loss_weight = 0.0

    def add(self, now_s: float, step: int, loss: float, samples: int, tokens: int, wait_s: float) -> None:
        last = self._readings[-1]
        totals = (last.samples + samples, last.tokens + tokens, last.wait_s + wait_s)
        self._readings.append(_Reading(now_s, step, *totals))
        while len(self._readings) > 2 and now_s - self._readings[1].at_s >= WINDOW_S:
            self._readings.popleft()  # the first left is the last one that lies a whole window back
        self._loss_sum = SMOOTHING * self._loss_sum + (1 - SMOOTHING) * loss
        self._loss_weight = SMOOTHING * self._loss_weight + (1 - SMOOTHING)

    def numbers(self) -> Numbers:
        first, last = self._readings[0], self._readings[-1]
        passed_s, steps = last.at_s - first.at_s, last.step - first.step
        return Numbers(
            step=last.step,
            loss=_ratio(self._loss_sum, self._loss_weight),
            samples_per_s=_ratio(last.samples - first.samples, passed_s),
            tokens_per_s=_ratio(last.tokens - first.tokens, passed_s),
            waiting_share=_ratio(last.wait_s - first.wait_s, passed_s),
            left_s=max(0, self.total_steps - last.step) * _ratio(passed_s, steps),
        )


class Progress:
    """A context manager that shows a run of `total_steps` steps.

    title: what runs, as `align`. start_step: steps already done, in a resumed run. console: where to show (standard
    error by default); live only if it is a terminal. say: gets the plain lines instead of the console, and a run
    with `say` is never live. every_s: seconds between plain lines. clock: seconds, for tests.
    """

    def __init__(
        self,
        total_steps: int,
        title: str,
        *,
        start_step: int = 0,
        console: Console | None = None,
        say: Callable[[str], None] | None = None,
        every_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total_steps, self.title = total_steps, title
        self.every_s, self.clock = every_s, clock
        self._console = console or Console(stderr=True)
        self._say = say or self._print_plainly
        self._meter = Meter(total_steps, start_step, clock())
        self._rates: float | Mapping[str, float] = {}
        self._validation: dict[str, float] = {}
        self._shown_at = -math.inf
        self._is_stale = False
        self._live: Live | None = None
        if say is None and self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False)

    @property
    def numbers(self) -> Numbers:
        return self._meter.numbers()

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._is_stale:
            self._show()
        if self._live:
            self._live.stop()

    def update(
        self, *, step: int, loss: float, samples: int, tokens: int, wait_s: float, lr: float | Mapping[str, float]
    ) -> None:
        """Tell of a step just done.

        step: steps done, this one included. loss: of this step. samples, tokens, wait_s: since the last update.
        lr: the rate, or each module's.
        """
        now_s = self.clock()
        self._meter.add(now_s, step, loss, samples, tokens, wait_s)
        self._rates, self._is_stale = lr, True
        if now_s - self._shown_at >= (REFRESH_S if self._live else self.every_s):
            self._shown_at = now_s
            self._show()

    def validated(self, values: Mapping[str, float]) -> None:
        """Show the newest validation numbers: in the live display until the next, or as one plain line."""
        self._validation = dict(values)
        if self._live:
            self._show()
        else:
            self._say(f"{self.title} step {self.numbers.step}: validation {_named(values)}")

    def note(self, text: str) -> None:
        """Say something once: above the live display, or as a plain line."""
        if self._live:
            self._print_plainly(text)
        else:
            self._say(text)

    def _show(self) -> None:
        self._is_stale = False
        if self._live:
            self._live.update(self._picture(), refresh=True)
        else:
            self._say(self._line())

    def _line(self) -> str:
        numbers = self.numbers
        done = f"{self.title} {numbers.step:,}/{self.total_steps:,}"
        return f"{done}  {self._measures(numbers)}  {format_duration(numbers.left_s)} left"

    def _measures(self, numbers: Numbers) -> str:
        rates = _named(self._rates) if isinstance(self._rates, Mapping) else f"{self._rates:.2e}"
        return (
            f"loss {numbers.loss:.4f}  lr {rates}  {numbers.samples_per_s:,.1f} samples/s  "
            f"{numbers.tokens_per_s:,.0f} tokens/s  waiting for data {numbers.waiting_share:.0%}"
        )

    def _picture(self) -> Group:
        numbers = self.numbers
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            Text(self.title, style="bold"),
            ProgressBar(total=max(1, self.total_steps), completed=numbers.step, width=40),
            Text(f"{numbers.step:,}/{self.total_steps:,}"),
            Text(f"{format_duration(numbers.left_s)} left"),
        )
        lines = [Text(self._measures(numbers))]
        if self._validation:
            lines.append(Text(f"validation {_named(self._validation)}", style="dim"))
        return Group(bar, *lines)

    def _print_plainly(self, text: str) -> None:
        # No markup, or a `[tag]` in a note would be swallowed; no wrapping, or a log's lines would be cut at 80.
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def format_duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `5 h 07 min`, `2 d 03 h`; `?` for what is not known."""
    if not math.isfinite(seconds):
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02} h"


def _named(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan
