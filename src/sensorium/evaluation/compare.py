"""Two runs over the same questions: which is better, by how much, and could it be chance?

Works on the folders that `sensorium evaluate` leaves, of benchmarks and of our own scenes. Questions are matched by
their ids; where the two sets are not the same, that is an error and never a smaller comparison.

Two tables come of it: means of questions, of each task and of all, and the official scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.errors import SensoriumError
from sensorium.evaluation.compared_runs import SCENES, Run, kind_of, load_run
from sensorium.evaluation.paired_scores import ScoreDifference, score_differences
from sensorium.evaluation.statistics.paired import Difference, difference, holm, verdict

NAMED = 3  # questions that an error gives as examples


@dataclass(frozen=True)
class Row:
    """task: None for all questions together. p: adjusted by Holm over the tasks; of all together as it is."""

    task: str | None
    questions: int
    difference: Difference
    p: float

    @property
    def verdict(self) -> str:
        return verdict(self.difference.mean.value, self.p)

    @property
    def cells(self) -> tuple[str, ...]:
        """As tables show it: task, A, B, B less A, its interval, p, McNemar's counts, what was detectable, verdict."""
        found = self.difference
        interval, pairs = found.mean.interval, found.mcnemar
        return (
            self.task or "all", f"{found.first:.3f}", f"{found.second:.3f}", f"{found.mean.value:+.3f}",
            f"{interval[0]:+.3f} to {interval[1]:+.3f}" if interval else "–", f"{self.p:.3g}",
            f"{pairs.only_first} : {pairs.only_second}" if pairs else "–",
            "–" if found.smallest is None else f"{found.smallest:.3f}", self.verdict,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        found, interval = self.difference, self.difference.mean.interval
        return {
            "task": self.task, "questions": self.questions, "clusters": found.mean.clusters,
            "first": found.first, "second": found.second, "difference": found.mean.value,
            "standard_error": found.mean.error, "interval": list(interval) if interval else None,
            "p_permutation": found.p, "p_adjusted": self.p,
            "mcnemar": None if found.mcnemar is None else dict(found.mcnemar.__dict__),
            "smallest_detectable": found.smallest, "verdict": self.verdict,
        }  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """second against first. scores: the official ones, of the first replies; notes: what differs between the runs
    beside the model."""

    first: Run
    second: Run
    variant: str
    overall: Row
    tasks: tuple[Row, ...]
    scores: tuple[ScoreDifference, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "format": "sensorium-comparison-1", "benchmark": self.first.benchmark, "variant": self.variant,
            "first": {"folder": str(self.first.folder), "model": self.first.name},
            "second": {"folder": str(self.second.folder), "model": self.second.name},
            "overall": self.overall.to_json(), "tasks": [row.to_json() for row in self.tasks],
            "scores": [one.to_json() for one in self.scores],
            "notes": list(self.notes),
        }  # fmt: skip


def compare(first: Path, second: Path, variant: str | None = None) -> Comparison:
    """Raises SensoriumError for folders that are no runs, of two benchmarks, or not of the same questions."""
    _check_kind(first, second, variant)
    one, chosen = load_run(first, variant)
    other, _ = load_run(second, chosen)
    _check_same(one, other)
    names = list(one.items)
    tasks: dict[str, list[str]] = {}
    for name in names:
        tasks.setdefault(one.items[name].task, []).append(name)
    overall = _difference(one, other, names)
    by = {task: _difference(one, other, chosen_names) for task, chosen_names in tasks.items()} if len(tasks) > 1 else {}
    adjusted = holm({task: found.p for task, found in by.items()})
    rows = tuple(Row(task, len(tasks[task]), found, adjusted[task]) for task, found in by.items())
    notes = [f"{key}: {one.how[key]} and {other.how.get(key)}" for key in one.how if one.how[key] != other.how.get(key)]
    whole = Row(None, len(names), overall, overall.p)
    scores = tuple(score_differences(one.outcome(names), other.outcome(names)))
    return Comparison(one, other, chosen, whole, rows, scores, tuple(notes))


def _difference(one: Run, other: Run, names: Sequence[str]) -> Difference:
    pairs = [(one.items[name], other.items[name]) for name in names]
    return difference(
        [a.worth for a, _ in pairs], [b.worth for _, b in pairs], [a.cluster for a, _ in pairs],
        all(a.is_binary and b.is_binary for a, b in pairs),
    )  # fmt: skip


def _check_kind(first: Path, second: Path, variant: str | None) -> None:
    one, other = kind_of(first), kind_of(second)
    if one != other:
        what = f"is a run of {other}, {first} one of {one}."
        raise SensoriumError(second, what, "Compare two runs of one benchmark.")
    if one == SCENES and variant is not None:
        raise SensoriumError(f"--variant {variant!r}", "is of other benchmarks than `scenes`.", "Leave it out.")


def _check_same(one: Run, other: Run) -> None:
    for here, there in ((one, other), (other, one)):
        if missing := [name for name in here.items if name not in there.items]:
            shown = ", ".join(missing[:NAMED]) + (", …" if len(missing) > NAMED else "")
            what = f"has no answer to {len(missing)} of the {len(here.items)} questions of {here.folder}: {shown}."
            raise SensoriumError(there.folder, what, "Compare runs with the same --data and --limit.")
    if other_truth := [name for name in one.items if one.items[name].truth != other.items[name].truth]:
        named = ", ".join(other_truth[:NAMED])
        what = f"has another truth than {one.folder} for {len(other_truth)} questions: {named}."
        raise SensoriumError(other.folder, what, "They are runs over different data.")
