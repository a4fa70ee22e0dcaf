"""Numbers as the page sets them: families of scores over one or two runs, and the comparison of two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sensorium.evaluation.compare import Comparison, Row
from sensorium.evaluation.paired_scores import COLUMNS as SCORES
from sensorium.evaluation.paired_scores import ScoreDifference
from sensorium.evaluation.report_page.radar import Radar, radar
from sensorium.evaluation.report_page.view import Bucket, Runs
from sensorium.evaluation.results import shown

COMPARED = ("task", "A", "B", "B − A", "95 %", "p", "only A : only B", "detectable", "B is")


@dataclass(frozen=True)
class FamilyTable:
    """A family of scores over all runs. rows: (name, for each series its value, interval and details, its marks)."""

    title: str
    top: float
    series: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, ...], ...], tuple[Mark | None, ...]], ...]
    radar: Radar | None


@dataclass(frozen=True)
class Mark:
    """A value on a line from 0 to 100."""

    value: float
    low: float | None
    high: float | None


def family_tables(runs: Runs) -> list[FamilyTable]:
    found = []
    for place, family in enumerate(runs.first.families):
        if runs.second is None:
            series = [("seeing" if family.below else runs.first.model, family.buckets)]
            series += [("blind", family.below)] if family.below else []
        else:
            other = next((one for one in runs.second.families[place:] if one.title == family.title), None)
            series = [("A", family.buckets), ("B", other.buckets if other else ())]
        rows = []
        for bucket in family.buckets:
            same = [next((one for one in buckets if one.name == bucket.name), None) for _, buckets in series]
            cells = tuple(_cells(one, family.top) for one in same)
            rows.append((bucket.name, (*cells, bucket.details), tuple(_mark(one, family.top) for one in same)))
        names = tuple(name for name, _ in series)
        drawn = radar(family.top, series)
        found.append(FamilyTable(family.title, family.top, names, family.columns, tuple(rows), drawn))
    return found


def _cells(bucket: Bucket | None, top: float) -> tuple[str, str]:
    """The value and its interval; shares with three digits."""
    if bucket is None:
        return "–", "–"
    show = "{:.3f}".format if top <= 1 else shown
    interval = "–" if bucket.low is None or bucket.high is None else f"{show(bucket.low)}–{show(bucket.high)}"
    return show(bucket.value), interval


def _mark(bucket: Bucket | None, top: float) -> Mark | None:
    if bucket is None:
        return None
    # An interval from errors may reach beyond what a score can be.
    bounds = (bucket.value, bucket.low, bucket.high)
    value, low, high = (None if one is None else min(100.0, max(0.0, 100 * one / top)) for one in bounds)
    return None if value is None else Mark(value, low, high)


def comparison_table(found: Comparison) -> Mapping[str, Any]:
    overall = found.overall
    return {
        "rows": [*map(_row, found.tasks), _row(overall)], "scores": [*map(_score_row, found.scores)],
        "notes": found.notes, "verdict": overall.verdict,
        "questions": overall.questions, "clusters": overall.difference.mean.clusters,
    }  # fmt: skip


def _row(row: Row) -> Mapping[str, str]:
    return dict(zip(COMPARED, row.cells, strict=True))


def _score_row(score: ScoreDifference) -> Mapping[str, str]:
    return dict(zip(SCORES, score.cells, strict=True))
