"""ChartQA: questions about charts, by people and made by machine, half of the score each.

Official layout: `test_human.json` and `test_augmented.json` of {imgname, query, label}, pictures in `png/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from sensorium.conversation import Image
from sensorium.evaluation.benchmarks.base import SHORT_ANSWER, Answer, Benchmark, Judged, Question
from sensorium.evaluation.benchmarks.cells import require_columns, strings, words
from sensorium.evaluation.benchmarks.layouts import Data
from sensorium.evaluation.scorers import chartqa
from sensorium.evaluation.scorers.outcome import Outcome
from sensorium.evaluation.scorers.rows import read_rows

_REQUESTS = {"official": "", "vlmevalkit": SHORT_ANSWER, "lmms-eval": "\nAnswer the question with a single word."}


def read(data: Data, prompt: str) -> Iterator[Question]:
    return _official(data, _REQUESTS[prompt]) if data.layout == "official" else _table(data, _REQUESTS[prompt])


def _table(data: Data, request: str) -> Iterator[Question]:
    table = data.table()
    require_columns(table, "question", "answer")
    for number in range(len(table)):
        row, where = table.row(number), table.where(number)
        split = _split(str(row.get("type") or row.get("split") or "all"))
        name = str(row.get("index", number))
        yield Question(
            f"{split}/{name}", table.picture_id(number), split, words(row, where, "question") + request,
            {"answers": strings(row, where, "answer")}, partial(table.images, number), where,
        )  # fmt: skip


def _official(data: Data, request: str) -> Iterator[Question]:
    for path in [path for path in data.files if path.suffix == ".json" and "query" in path.read_text("utf-8")[:4000]]:
        rows = read_rows(path)
        split = _split(path.stem)
        for i in range(len(rows)):
            name = rows.text(i, "imgname")
            yield Question(
                f"{split}/{i}", name, split, rows.text(i, "query") + request,
                {"answers": rows.texts(i, "label")},
                partial(_chart, data, name), rows.where(i),
            )  # fmt: skip


def _chart(data: Data, name: str) -> tuple[Image, ...]:
    return data.pictures(name if data.media is not None else f"png/{name}")


def _split(name: str) -> str:
    return "human" if "human" in name else "augmented" if "augmented" in name else name


def score(answers: Sequence[Answer], variant: str) -> Outcome:
    splits: dict[str, list[chartqa.ChartReply]] = {}
    for one in answers:
        reply = chartqa.ChartReply(tuple(one.truth["answers"]), one.reply, one.cluster)
        splits.setdefault(one.task, []).append(reply)
    return chartqa.score(splits, variant)


def judge(answers: Sequence[Answer], variant: str) -> list[Judged]:
    said = [one.reply.strip() if variant == "vlmevalkit" else one.reply for one in answers]
    return [
        Judged(float(any(chartqa.is_right(reply, answer) for answer in one.truth["answers"])), reply.strip().lower())
        for one, reply in zip(answers, said, strict=True)
    ]


CHARTQA = Benchmark(
    "chartqa", "ChartQA", ("vlmevalkit", "lmms-eval", "official"), chartqa.VARIANTS, 32, read, score, judge
)
