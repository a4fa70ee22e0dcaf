"""Two runs over the same questions: which is better, by how much, and could it be chance?

Works on the folders that `sensorium evaluate` leaves, of benchmarks and of our own scenes. Questions are matched by
their ids; where the two sets are not the same, that is an error and never a smaller comparison.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks import BENCHMARKS
from sensorium.evaluation.replies import read_judged
from sensorium.evaluation.run_folder import REPLIES, read_run
from sensorium.evaluation.statistics.paired import Difference, difference, holm, verdict

NAMED = 3  # questions that an error gives as examples


@dataclass(frozen=True)
class Item:
    """One question as a run answered it: worth 0-1, the mean of its repeats."""

    task: str
    cluster: str
    truth: Any
    worth: float
    is_binary: bool


@dataclass(frozen=True)
class Run:
    """name: of the model; how: what else must be alike for a fair comparison, by what it is called."""

    folder: Path
    name: str
    benchmark: str
    how: Mapping[str, Any]
    items: Mapping[str, Item]


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
    """second against first. notes: what differs between the runs beside the model."""

    first: Run
    second: Run
    variant: str
    overall: Row
    tasks: tuple[Row, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "format": "sensorium-comparison-1", "benchmark": self.first.benchmark, "variant": self.variant,
            "first": {"folder": str(self.first.folder), "model": self.first.name},
            "second": {"folder": str(self.second.folder), "model": self.second.name},
            "overall": self.overall.to_json(), "tasks": [row.to_json() for row in self.tasks],
            "notes": list(self.notes),
        }  # fmt: skip


def compare(first: Path, second: Path, variant: str | None = None) -> Comparison:
    """Raises SensoriumError for folders that are no runs, of two benchmarks, or not of the same questions."""
    one, chosen = _load(first, variant)
    other, _ = _load(second, chosen)
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
    return Comparison(one, other, chosen, Row(None, len(names), overall, overall.p), rows, tuple(notes))


def _difference(one: Run, other: Run, names: Sequence[str]) -> Difference:
    pairs = [(one.items[name], other.items[name]) for name in names]
    return difference(
        [a.worth for a, _ in pairs], [b.worth for _, b in pairs], [a.cluster for a, _ in pairs],
        all(a.is_binary and b.is_binary for a, b in pairs),
    )  # fmt: skip


def _check_same(one: Run, other: Run) -> None:
    if one.benchmark != other.benchmark:
        raise SensoriumError(other.folder, f"is a run of {other.benchmark}, {one.folder} one of {one.benchmark}.")
    for here, there in ((one, other), (other, one)):
        if missing := [name for name in here.items if name not in there.items]:
            shown = ", ".join(missing[:NAMED]) + (", …" if len(missing) > NAMED else "")
            what = f"has no answer to {len(missing)} of the {len(here.items)} questions of {here.folder}: {shown}."
            raise SensoriumError(there.folder, what, "Compare runs with the same --data and --limit.")
    if other_truth := [name for name in one.items if one.items[name].truth != other.items[name].truth]:
        named = ", ".join(other_truth[:NAMED])
        what = f"has another truth than {one.folder} for {len(other_truth)} questions: {named}."
        raise SensoriumError(other.folder, what, "They are runs over different data.")


def _load(folder: Path, variant: str | None) -> tuple[Run, str]:
    """The run, and the variant by which it is judged."""
    if not (folder / REPLIES).is_file() and (scenes := sorted(folder.glob("replies-*.jsonl"))):
        return _scenes(folder, scenes), "scenes"
    header, answers = read_run(folder)
    benchmark = BENCHMARKS[header["benchmark"]]
    chosen = benchmark.known_variant(variant, header["prompt"])
    worth: dict[str, list[float]] = {}
    binary: dict[str, bool] = {}
    for repeat in range(header["repeats"]):
        of_repeat = [answer for answer in answers if answer.repeat == repeat]
        for answer, judged in zip(of_repeat, benchmark.judge(of_repeat, chosen), strict=True):
            worth.setdefault(answer.id, []).append(judged.worth)
            binary[answer.id] = judged.is_binary and header["repeats"] == 1
    about = {answer.id: answer for answer in answers}
    items = {
        name: Item(about[name].task, about[name].cluster, about[name].truth, sum(values) / len(values), binary[name])
        for name, values in worth.items()
    }
    how = {"prompt": header["prompt"], "sampling": header["sampling"], "replies to each": header["repeats"]}
    return Run(folder, str(header["model"]["name"]), benchmark.name, how, items), chosen


def _scenes(folder: Path, files: Sequence[Path]) -> Run:
    """A run of `sensorium evaluate scenes`: all splits, seeing. Tasks are split and subset."""
    items = {}
    for path in files:
        header, rows = read_judged(path)
        if header.get("blind"):
            continue
        for reply, is_right in rows:
            task = f"{header.get('split')} {reply.subset}"
            cluster = f"{header.get('split')}/{reply.scene}"
            items[f"{header.get('split')}/{reply.id}"] = Item(task, cluster, reply.truth, float(is_right), True)
    if not items:
        raise SensoriumError(folder, "holds no replies of a model that saw the pictures.")
    return Run(folder, _model_of_scenes(folder), "scenes", {}, items)


def _model_of_scenes(folder: Path) -> str:
    try:
        return str(json.loads((folder / "results.json").read_text(encoding="utf-8"))["model"]["name"])
    except (OSError, ValueError, LookupError, TypeError):
        return folder.name  # the replies are what counts; a name is only for the eye
