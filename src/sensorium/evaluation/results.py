"""`results.json`, and the table of it: what a run scored, by whose rules, how sure, and what was left out.

The schema is published as `docs/results.schema.json`, made from the classes here.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from rich.table import Table

from sensorium.evaluation.benchmarks import Answer, Benchmark
from sensorium.evaluation.benchmarks.choice import find_benchmark
from sensorium.evaluation.headlines import Part, Score, headlines
from sensorium.evaluation.probes.findings import Findings, findings
from sensorium.evaluation.run_folder import read_run
from sensorium.evaluation.statistics import Mean, clustered_mean, stability
from sensorium.files import write_whole

RESULTS = "results.json"


class TaskMean(Part):
    """The mean worth of the questions of one task, by which runs are compared; interval from clustered errors."""

    task: str
    value: float
    low: float | None = Field(description="null where all questions are about one picture.")
    high: float | None
    questions: int
    clusters: int = Field(description="Pictures or videos.")


class Repeated(Part):
    """Of several replies to each question; see `sensorium.evaluation.statistics.stability`."""

    k: int
    expected: float
    expected_low: float | None
    expected_high: float | None
    consensus: float
    variance: float
    consistency: float
    unanimous: float


class Results(Part):
    """One run scored by one variant."""

    format: Literal["sensorium-results-1"] = "sensorium-results-1"
    benchmark: str
    variant: str = Field(description="Whose rules the replies were scored by.")
    prompt: str = Field(description="Whose protocol the questions were asked by.")
    model: dict[str, Any] = Field(description="name, identity (digest of the weights, precision), provenance.")
    data: dict[str, Any] = Field(description="name, layout, sha256 of the question files, split.")
    sampling: dict[str, Any]
    limit: int | None = Field(description="Pictures of each task that were asked about; null for all.")
    planned: int = Field(description="Questions that were to be asked.")
    answered: int
    unasked: dict[str, str] = Field(description="Question -> why it has no reply. It is not scored at all.")
    unread: int = Field(description="Replies that the variant's rules read nothing in.")
    cut_off: int = Field(description="Replies that were ended by the limit of tokens.")
    scores: list[Score]
    tasks: list[TaskMean]
    stability: Repeated | None = Field(description="Where each question was asked several times; scores: of the first.")
    values: dict[str, Any] = Field(description="All numbers of the scorer under their official names.")
    probes: Findings = Field(description="What the score hides; see `sensorium.evaluation.probes`.")
    notes: list[str]

    def write(self, folder: Path) -> None:
        write_whole(folder / RESULTS, self.model_dump_json(indent=2) + "\n")

    def table(self) -> Table:
        """For the terminal."""
        title = f"{self.model.get('name')} on {find_benchmark(self.benchmark).title}"
        caption = f"asked as {self.prompt}, scored as {self.variant}"
        table = Table("score", "value", "95 %", title=title, caption=caption)
        for score in self.scores:
            table.add_row(score.name, shown(score.value), f"{shown(score.low)}–{shown(score.high)}")
        return table

    def remarks(self) -> list[str]:
        """What must be said beside the numbers."""
        said = list(self.notes)
        if self.unasked:
            first = next(iter(self.unasked.items()))
            said.append(f"{len(self.unasked)} of {self.planned} questions were not asked and are not scored; "
                        f"the first: {first[0]} ({first[1]})")  # fmt: skip
        if self.unread:
            without = self.probes.audit.without
            effect = "" if without is None else (f"; the mean is {shown(self.probes.audit.mean)}, "
                                                 f"without them {shown(without)}")  # fmt: skip
            said.append(f"in {self.unread} of {self.answered} replies the rules of {self.variant} read no answer"
                        f"{effect}")  # fmt: skip
        if self.cut_off:
            said.append(f"{self.cut_off} replies were cut off by the limit of {self.sampling['max_new_tokens']} tokens")
        if self.stability is not None:
            one = self.stability
            said.append(f"{one.k} replies to each question: expected {shown(one.expected)}, consensus "
                        f"{shown(one.consensus)}, variance within a question {shown(one.variance)}, two replies agree "
                        f"with a chance of {shown(one.consistency)}; the table is of the first replies")  # fmt: skip
        return said


def shown(value: float) -> str:
    """Four digits that matter."""
    return f"{value:.1f}" if abs(value) >= 1000 else f"{value:.2f}" if abs(value) >= 10 else f"{value:.4f}"


def score_run(folder: Path, variant: str | None = None) -> Results:
    """Score a finished run from its replies alone. variant: None for the benchmark's own.

    Raises SensoriumError for a folder that is no run, damaged or not finished.
    """
    with _no_search_for_cycles():
        return _score_run(folder, variant)


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Of a million replies none is in a cycle, and looking for one again and again takes as long as scoring them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _score_run(folder: Path, variant: str | None) -> Results:
    header, answers = read_run(folder)
    benchmark = find_benchmark(header["benchmark"])
    chosen = benchmark.known_variant(variant, header["prompt"])
    first = [answer for answer in answers if answer.repeat == 0]
    judged = benchmark.judge(first, chosen)
    worth = [one.worth for one in judged]
    outcome = benchmark.score(first, chosen)
    return Results(
        benchmark=benchmark.name,
        variant=chosen,
        prompt=header["prompt"],
        model={**header["model"], "identity": header["engine"]},
        data={**header["data_about"], "sha256": header["data"], "split": header["split"]},
        sampling=header["sampling"],
        limit=header["limit"],
        planned=header["planned"],
        answered=len(first),
        unasked=header["unasked"],
        unread=sum(not one.said for one in judged),
        cut_off=sum(answer.finish == "length" for answer in first),
        scores=list(headlines(outcome)),
        tasks=list(_tasks(first, worth)),
        stability=_repeated(benchmark, answers, chosen) if header["repeats"] > 1 else None,
        values=dict(outcome.values),
        probes=findings(folder, benchmark, chosen, first, judged),
        notes=list(outcome.notes),
    )


def _tasks(answers: Sequence[Answer], worth: Sequence[float]) -> Iterator[TaskMean]:
    for task in dict.fromkeys(answer.task for answer in answers):
        chosen = [i for i, answer in enumerate(answers) if answer.task == task]
        mean = clustered_mean([worth[i] for i in chosen], [answers[i].cluster for i in chosen])
        low, high = mean.interval or (None, None)
        yield TaskMean(task=task, value=mean.value, low=low, high=high, questions=mean.n, clusters=mean.clusters)


def _repeated(benchmark: Benchmark, answers: Sequence[Answer], variant: str) -> Repeated | None:
    """Of the questions with as many replies as the most."""
    by: dict[str, list[tuple[float, str]]] = {}
    clusters = {answer.id: answer.cluster for answer in answers}
    for repeat in sorted({answer.repeat for answer in answers}):
        chosen = [answer for answer in answers if answer.repeat == repeat]
        for answer, one in zip(chosen, benchmark.judge(chosen, variant), strict=True):
            by.setdefault(answer.id, []).append((one.worth, one.said))
    k = max(map(len, by.values()))
    full = {name: replies for name, replies in by.items() if len(replies) == k}
    if k < 2:
        return None
    found = stability(
        [[worth for worth, _ in replies] for replies in full.values()],
        [[said for _, said in replies] for replies in full.values()],
        [clusters[name] for name in full],
    )
    low, high = _interval(found.expected)
    return Repeated(
        k=k, expected=found.expected.value, expected_low=low, expected_high=high, consensus=found.consensus.value,
        variance=found.variance, consistency=found.consistency, unanimous=found.unanimous,
    )  # fmt: skip


def _interval(mean: Mean) -> tuple[float | None, float | None]:
    return mean.interval or (None, None)
