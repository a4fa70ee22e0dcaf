"""DocVQA, InfographicVQA and what else is scored by ANLS: answers read from documents.

Official layout: {data: [{questionId, question, image, answers}]}, pictures by the name in `image`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from sensorium.evaluation.benchmarks.base import SHORT_ANSWER, Answer, Benchmark, Judged, Question
from sensorium.evaluation.benchmarks.cells import require_columns, strings, words
from sensorium.evaluation.benchmarks.layouts import Data
from sensorium.evaluation.scorers import anls
from sensorium.evaluation.scorers.outcome import Outcome
from sensorium.evaluation.scorers.rows import read_rows


def read(data: Data, prompt: str) -> Iterator[Question]:
    request = "" if prompt == "official" else SHORT_ANSWER
    return _official(data, request) if data.layout == "official" else _table(data, request)


def _table(data: Data, request: str) -> Iterator[Question]:
    table = data.table()
    require_columns(table, "question")
    for number in range(len(table)):
        row, where = table.row(number), table.where(number)
        yield Question(
            words(row, where, "questionId", "index"), table.picture_id(number), "all",
            words(row, where, "question") + request, {"answers": strings(row, where, "answers", "answer")},
            partial(table.images, number), where,
        )  # fmt: skip


def _official(data: Data, request: str) -> Iterator[Question]:
    rows = read_rows(data.one_file("questions", "*.json"), "data")
    rows.by("questionId")
    for i in range(len(rows)):
        name = rows.text(i, "image", "image_local_name")
        yield Question(
            str(rows.name(i, "questionId")), name, "all", rows.text(i, "question") + request,
            {"answers": strings(rows[i], rows.where(i), "answers")},
            partial(data.pictures, name), rows.where(i),
        )  # fmt: skip


def score(answers: Sequence[Answer], variant: str) -> Outcome:
    return anls.score(
        [anls.DocumentReply(tuple(one.truth["answers"]), one.reply, one.cluster) for one in answers], variant
    )


def judge(answers: Sequence[Answer], variant: str) -> list[Judged]:
    return [
        Judged(anls.similarity(one.reply, one.truth["answers"], variant), " ".join(one.reply.lower().split()), False)
        for one in answers
    ]


_PROMPTS = ("vlmevalkit", "lmms-eval", "official")
DOCVQA = Benchmark("docvqa", "DocVQA", _PROMPTS, anls.VARIANTS, 32, read, score, judge)
INFOVQA = Benchmark("infovqa", "InfographicVQA", _PROMPTS, anls.VARIANTS, 32, read, score, judge)
