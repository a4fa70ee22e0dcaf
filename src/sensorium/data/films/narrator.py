"""What is said in a long film: a line now and then, some of which tell what no picture shows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict

from sensorium.data.draw import pick
from sensorium.data.films.records import Line

NARRATOR = Path(__file__).with_name("narrator.yaml")
_EVERY_S = (9.0, 16.0)
_LINE_S = (3.5, 5.5)
_FACTS = 3  # told in each film, where it is long enough


class Fact(BaseModel):
    """line: with `{value}`; question: what it answers; values: what may stand there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    line: str
    question: str
    values: tuple[str, ...]


class Narration(BaseModel):
    """The lines of the narrator's file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    between: tuple[str, ...]
    facts: dict[str, Fact]


@cache
def narration() -> Narration:
    return Narration.model_validate(yaml.safe_load(NARRATOR.read_text(encoding="utf-8")))


def narrate(duration_s: float, rng: np.random.Generator) -> tuple[Line, ...]:
    """Lines that do not overlap, the facts among them at any place."""
    told = narration()
    spans = []
    time_s = float(rng.uniform(1, 5))
    while time_s + _LINE_S[1] < duration_s:
        spans.append((round(time_s, 1), round(time_s + float(rng.uniform(*_LINE_S)), 1)))
        time_s += float(rng.uniform(*_EVERY_S))
    count = min(_FACTS, len(spans))
    keys = [list(told.facts)[i] for i in rng.choice(len(told.facts), count, replace=False)]
    places = dict(zip(rng.choice(len(spans), count, replace=False).tolist(), keys, strict=True))
    lines = []
    for number, span in enumerate(spans):
        if key := places.get(number):
            value = pick(told.facts[key].values, rng)
            lines.append(Line(span, told.facts[key].line.format(value=value), (key, value)))
        else:
            lines.append(Line(span, pick(told.between, rng)))
    return tuple(lines)


def as_srt(lines: Sequence[Line]) -> str:
    """The lines as a SubRip file."""
    blocks = (
        f"{number}\n{_clock(line.span[0])} --> {_clock(line.span[1])}\n{line.text}\n"
        for number, line in enumerate(lines, start=1)
    )
    return "\n".join(blocks)


def _clock(time_s: float) -> str:
    seconds, thousandths = divmod(round(time_s * 1000), 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02},{thousandths:03}"
