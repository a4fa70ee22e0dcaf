"""What the page shows of one run, whichever kind of run it is: tables, samples, what was left out, what it is a run of.

`of_benchmark` and `of_scenes` make one; everything behind them sees only these types.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sensorium.evaluation.compare import Comparison
from sensorium.evaluation.probes.findings import Findings

Verdict = Literal["right", "wrong", "partly", "unparsed"]
Corners = tuple[float, float, float, float]  # x1, y1, x2, y2 as shares of width and height


@dataclass(frozen=True)
class Answered:
    """One reply. said: how it was read, "" where nothing was; worth: what it adds to the mean, 0-1 as a rule."""

    reply: str
    said: str
    worth: float
    verdict: Verdict
    boxes: tuple[Corners, ...] = ()
    is_cut_off: bool = False


@dataclass(frozen=True)
class Sample:
    """A question with its replies, several where it was asked several times. truth: (what it is, the words).

    media: digests of what was shown, () where the run did not note them.
    """

    id: str
    task: str
    cluster: str
    question: str
    truth: tuple[tuple[str, str], ...]
    answered: tuple[Answered, ...]
    boxes: tuple[Corners, ...] = ()
    media: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Of the first reply, which is the one that the scores are of."""
        return self.answered[0].verdict


@dataclass(frozen=True)
class ScoreTable:
    """Rows of text. numbers: the columns that are set flush right; note: what the table means."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()
    note: str = ""


@dataclass(frozen=True)
class Bucket:
    """A part of the benchmark and its score, 0 to the family's top; low, high: None where nobody can say."""

    name: str
    value: float
    low: float | None
    high: float | None
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """Buckets of one kind: tasks, durations, domains. top: the highest score there is, 1, 100 or 200; of: what it is a
    score of; columns: names of the buckets' details; below: the same buckets of a run that saw no picture."""

    title: str
    buckets: tuple[Bucket, ...]
    top: float = 1.0
    columns: tuple[str, ...] = ()
    below: tuple[Bucket, ...] = ()


@dataclass(frozen=True)
class RunView:
    """variant: by whose rules it is judged. unasked: question -> why it has no reply, and is not scored. probed: what
    its probes found, where a run can have any."""

    folder: Path
    model: str
    title: str
    protocol: str
    variant: str | None
    tables: tuple[ScoreTable, ...]
    families: tuple[Family, ...]
    samples: Mapping[str, Sample]
    unasked: Mapping[str, str]
    remarks: tuple[str, ...]
    manifest: tuple[tuple[str, str], ...]
    probed: Findings | None = None


@dataclass(frozen=True)
class Runs:
    """What is reported: a run, or two and their comparison."""

    first: RunView
    second: RunView | None = None
    comparison: Comparison | None = None

    @property
    def views(self) -> tuple[RunView, ...]:
        return (self.first,) if self.second is None else (self.first, self.second)


def verdict_of(worth: float, said: str, is_binary: bool) -> Verdict:
    """unparsed wherever the rules read nothing; between right and wrong only where the rules know such a thing."""
    if not said:
        return "unparsed"
    if worth == 1:
        return "right"
    return "wrong" if is_binary or worth == 0 else "partly"


def in_words(value: Any) -> str:
    """As a person writes it: `a, b (3 times)` for the ten answers of VQA."""
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        counts = {one: list(value).count(one) for one in dict.fromkeys(value)}
        return ", ".join(one if n == 1 else f"{one} ({n} times)" for one, n in counts.items())
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {in_words(one)}" for key, one in value.items())
    if isinstance(value, str | int | float):
        return str(value)
    return json.dumps(value, ensure_ascii=False)
