"""A radar of scores, drawn as lines and points of SVG; the template turns them into marks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sensorium.evaluation.report_page.view import Bucket

WIDTH, HEIGHT, RADIUS = 456.0, 310.0, 104.0
FEWEST, MOST = 3, 16  # axes; the labels of more would cover one another
RINGS = (0.25, 0.5, 0.75, 1.0)
LINE_OF = 14  # characters of a label


@dataclass(frozen=True)
class Label:
    """lines: of text, the first at y; anchor: start, middle or end of them is at x."""

    x: float
    y: float
    anchor: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Series:
    """points: of the polygon; whiskers: (x1, y1, x2, y2) of each 95 % interval, on its axis."""

    name: str
    points: tuple[tuple[float, float], ...]
    whiskers: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class Radar:
    width: float
    height: float
    rings: tuple[tuple[tuple[float, float], ...], ...]
    axes: tuple[tuple[float, float, float, float], ...]
    labels: tuple[Label, ...]
    ticks: tuple[tuple[float, float, float], ...]  # x, y, share of the top
    series: tuple[Series, ...]


def radar(top: float, series: Sequence[tuple[str, Sequence[Bucket]]]) -> Radar | None:
    """One axis a bucket of the first series, from 0 at the centre to `top`; other series have the same buckets.

    None where a radar says nothing: fewer than three axes, or too many to be read.
    """
    names = [bucket.name for bucket in series[0][1]]
    n = len(names)
    if not FEWEST <= n <= MOST:
        return None

    def at(axis: int, share: float) -> tuple[float, float]:
        angle = 2 * math.pi * axis / n - math.pi / 2
        reach = RADIUS * min(1.0, max(0.0, share))
        return round(WIDTH / 2 + reach * math.cos(angle), 1), round(HEIGHT / 2 + reach * math.sin(angle), 1)

    def line(axis: int, low: float, high: float) -> tuple[float, float, float, float]:
        return *at(axis, low), *at(axis, high)

    drawn = []
    for title, buckets in series:
        by = {bucket.name: bucket for bucket in buckets}
        points = tuple(at(i, by[name].value / top if name in by else 0.0) for i, name in enumerate(names))
        whiskers = tuple(
            line(i, by[name].low / top, by[name].high / top)  # type: ignore[operator]
            for i, name in enumerate(names) if name in by and by[name].low is not None
        )  # fmt: skip
        drawn.append(Series(title, points, whiskers))
    middle = math.pi / n  # ticks stand between the first two axes, where no line is
    ticks = tuple(
        (round(WIDTH / 2 + RADIUS * share * math.cos(middle) * math.sin(middle), 1),
         round(HEIGHT / 2 - RADIUS * share * math.cos(middle) ** 2, 1), share * top)
        for share in RINGS
    )  # fmt: skip
    return Radar(
        WIDTH, HEIGHT, tuple(tuple(at(i, share) for i in range(n)) for share in RINGS),
        tuple(line(i, 0.0, 1.0) for i in range(n)), tuple(_label(i, n, name) for i, name in enumerate(names)), ticks,
        tuple(drawn),
    )  # fmt: skip


def _label(axis: int, n: int, name: str) -> Label:
    angle = 2 * math.pi * axis / n - math.pi / 2
    across, down = math.cos(angle), math.sin(angle)
    anchor = "middle" if abs(across) < 0.25 else "start" if across > 0 else "end"
    lines = _wrapped(name)
    y = HEIGHT / 2 + (RADIUS + 14) * down + 4 - 7 * (len(lines) - 1) * (1 - down)
    return Label(round(WIDTH / 2 + (RADIUS + 10) * across, 1), round(y, 1), anchor, lines)


def _wrapped(name: str) -> tuple[str, ...]:
    """At most two lines, the second cut where it is too long."""
    lines = [""]
    for word in name.replace("_", " ").split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > LINE_OF:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    kept = [lines[0], " ".join(lines[1:])] if len(lines) > 1 else lines
    return tuple(one if len(one) <= LINE_OF else one[: LINE_OF - 1] + "…" for one in kept)
