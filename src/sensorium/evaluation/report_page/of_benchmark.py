"""The view of a run of `sensorium evaluate BENCHMARK`: scored by the benchmark's rules, each reply judged by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sensorium.evaluation.benchmarks import Answer, Judged
from sensorium.evaluation.benchmarks.choice import find_benchmark
from sensorium.evaluation.report_page.families import families_of
from sensorium.evaluation.report_page.view import (
    Answered,
    Bucket,
    Corners,
    Family,
    RunView,
    Sample,
    ScoreTable,
    in_words,
    verdict_of,
)
from sensorium.evaluation.results import Results, score_run, shown
from sensorium.evaluation.run_folder import read_run
from sensorium.evaluation.scorers import refcoco
from sensorium.grounding import parse_grounded

INTERVALS = "Intervals are of 95 %, from whole pictures or videos."
Boxes = tuple[list[Corners], list[Corners]]  # the true ones, those of the reply


def _refcoco_boxes(answer: Answer, variant: str) -> Boxes:
    x1, y1, x2, y2 = answer.truth["box"]
    width, height = answer.truth["width"], answer.truth["height"]
    said = refcoco.parse(refcoco.BoxReply((x1, y1, x2, y2), width, height, answer.reply, answer.cluster), variant)
    sides = (1, 1) if variant == "lmms-eval" else (width, height)  # that parser's boxes are of the unit square
    return [_shares((x1, y1, x2, y2), width, height)], [_shares(said, *sides)] if said else []


def _shares(corners: Corners, width: float, height: float) -> Corners:
    x1, y1, x2, y2 = corners
    return x1 / width, y1 / height, x2 / width, y2 / height


# Benchmarks with boxes in a form of their own; in the replies of all others, boxes in our form are found.
BOXES: dict[str, Callable[[Answer, str], Boxes]] = {"refcoco": _refcoco_boxes}


def benchmark_view(folder: Path, variant: str | None = None) -> RunView:
    """Raises SensoriumError for a folder that is no finished run, or a variant that the benchmark does not have."""
    results = score_run(folder, variant)
    header, answers = read_run(folder)
    benchmark = find_benchmark(results.benchmark)
    left, families = families_of(results)
    samples: dict[str, Sample] = {}
    judged: list[tuple[Answer, Judged]] = []
    for repeat in range(header["repeats"]):
        of_repeat = [answer for answer in answers if answer.repeat == repeat]
        judged += zip(of_repeat, benchmark.judge(of_repeat, results.variant), strict=True)
    for answer, one in judged:
        true, said = _boxes(answer, results)
        answered = _answered(answer, one, said)
        known = samples.get(answer.id)
        samples[answer.id] = Sample(
            answer.id, answer.task, answer.cluster, answer.question, _truth(answer),
            (*(known.answered if known else ()), answered), tuple(true), answer.media,
        )  # fmt: skip
    tasks = _tasks(results, samples.values())
    scores = tuple((one.name, shown(one.value), f"{shown(one.low)}–{shown(one.high)}") for one in left)
    rows = ScoreTable(("score", "value", "95 %"), scores, frozenset({1, 2}), INTERVALS)
    return RunView(
        folder=folder,
        model=str(results.model.get("name")),
        title=benchmark.title,
        protocol=f"asked as {results.prompt}, scored as {results.variant}",
        variant=results.variant,
        tables=(rows,) if scores else (),
        families=tuple([tasks, *families] if len(tasks.buckets) > 1 else families),
        samples=samples,
        unasked=results.unasked,
        remarks=tuple(results.remarks()),
        manifest=tuple(_manifest(results, header)),
        probed=results.probes,
    )


def _boxes(answer: Answer, results: Results) -> Boxes:
    if results.benchmark in BOXES:
        return BOXES[results.benchmark](answer, results.variant)
    return [], [box.to_unit() for item in parse_grounded(answer.reply) for box in item.boxes]


def _answered(answer: Answer, one: Judged, boxes: Sequence[Corners]) -> Answered:
    verdict = verdict_of(one.worth, one.said, one.is_binary)
    return Answered(answer.reply, one.said, one.worth, verdict, tuple(boxes), answer.finish == "length")


def _truth(answer: Answer) -> tuple[tuple[str, str], ...]:
    """What the data says, but for what the question says already."""
    told = {key: in_words(value) for key, value in answer.truth.items() if value not in (None, "", [], {})}
    return tuple(
        (key.replace("_", " "), words) for key, words in told.items() if key == "answer" or words not in answer.question
    )


def _tasks(results: Results, samples: Iterable[Sample]) -> Family:
    unread = dict.fromkeys((task.task for task in results.tasks), 0)
    for sample in samples:
        unread[sample.task] += sample.verdict == "unparsed"
    buckets = tuple(
        Bucket(task.task, task.value, task.low, task.high,
               (str(task.questions), str(task.clusters), str(unread[task.task])))
        for task in results.tasks
    )  # fmt: skip
    top = max(1.0, *(task.value for task in results.tasks)) if results.tasks else 1.0
    return Family("mean by task", buckets, top, ("questions", "pictures or videos", "unparsed"))


def _manifest(results: Results, header: Mapping[str, Any]) -> list[tuple[str, str]]:
    sampling = {key.replace("_", " "): value for key, value in results.sampling.items() if value != []}
    return [
        ("model", str(results.model.get("name"))), ("weights and arithmetic", str(results.model.get("identity"))),
        *((f"model: {key}", in_words(value)) for key, value in (results.model.get("provenance") or {}).items()),
        *((f"data: {key}", in_words(value)) for key, value in results.data.items() if value is not None),
        ("asked by the protocol of", results.prompt), ("scored by the rules of", results.variant),
        ("sampling", in_words(sampling)),
        ("replies to each question", str(header["repeats"])),
        ("limit", "none" if results.limit is None else f"{results.limit} pictures of each task"),
        ("questions", f"{results.answered} answered of {results.planned}"),
    ]  # fmt: skip
