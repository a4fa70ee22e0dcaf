"""The numbers of a scorer that have an interval, as rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sensorium.evaluation.scorers.outcome import Outcome


class Part(BaseModel):
    """A piece of `results.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Score(Part):
    """An official number with its 95 % interval, both in the unit in which the official tool prints it."""

    name: str = Field(description="As in `values`, its levels joined by points: `perception`, `subtasks.count.score`.")
    value: float
    low: float
    high: float


def headlines(outcome: Outcome) -> Iterator[Score]:
    """Every number of an outcome that has an interval."""
    yield from _headlines((), outcome.values, outcome.intervals)


def _headlines(path: tuple[str, ...], values: Mapping[str, Any], intervals: Mapping[str, Any]) -> Iterator[Score]:
    for name, interval in intervals.items():
        value = values[name]
        if isinstance(interval, Mapping):
            yield from _headlines((*path, name), value, interval)
        elif value is not None:
            yield Score(name=".".join((*path, name)), value=value, low=interval[0], high=interval[1])
