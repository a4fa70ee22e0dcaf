"""MathVista: mathematics in pictures, asked with the hints that its `query` holds.

Official layout: an object pid -> problem with `query` and `image` (`images/1.jpg`). The official pipeline reads replies
with a language model; here the rules that need none do, and what they cannot read is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks.base import Answer, Benchmark, Judged, Question
from sensorium.evaluation.benchmarks.cells import require_columns, words
from sensorium.evaluation.benchmarks.layouts import Data
from sensorium.evaluation.benchmarks.tables import strings_of
from sensorium.evaluation.scorers import mathvista
from sensorium.evaluation.scorers.outcome import Outcome
from sensorium.evaluation.scorers.rows import read_json

_KEPT = ("question_type", "answer_type", "answer", "choices", "precision")


def read(data: Data, prompt: str) -> Iterator[Question]:
    return _official(data) if data.layout == "official" else _table(data)


def _table(data: Data) -> Iterator[Question]:
    table = data.table()
    require_columns(table, "question", "answer", "question_type", "answer_type")
    for number in range(len(table)):
        row, where = table.row(number), table.where(number)
        choices = row.get("choices")
        if isinstance(choices, str):
            row = {**row, "choices": strings_of(choices) if choices not in ("", "nan") else []}
        if isinstance(row.get("precision"), str):
            row = {**row, "precision": float(row["precision"]) if row["precision"] not in ("", "nan") else None}
        yield _question(words(row, where, "pid", "index"), row, table.picture_id(number), where,
                        partial(table.images, number))  # fmt: skip


def _official(data: Data) -> Iterator[Question]:
    path = data.one_file("problems", "testmini.json", "*.json")
    problems = read_json(path)
    if not isinstance(problems, dict) or not problems:
        raise SensoriumError(path, "is no object of problems by pid.")
    for pid, row in problems.items():
        where = f"{path}: problem {pid}"
        if not isinstance(row, dict):
            raise SensoriumError(where, f"is no object but {type(row).__name__}.")
        name = words(row, where, "image")
        yield _question(pid, row, name, where, partial(data.pictures, name))


def _question(pid: str, row: Mapping[str, Any], cluster: str, where: str, media: Any) -> Question:
    for key in ("question_type", "answer_type", "answer"):
        if not isinstance(row.get(key), str) or not row[key]:
            raise SensoriumError(where, f"has no string `{key}`.", "Choose a set whose answers are known (testmini).")
    metadata = row.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    groups = {key: row.get(key, metadata.get(key)) for key in mathvista.GROUPS}
    truth = {**{key: row.get(key) for key in _KEPT}, "groups": groups}
    text = words(row, where, "query", "question")
    return Question(pid, cluster, row["question_type"], text, truth, media, where)


def _reply(one: Answer) -> mathvista.MathReply:
    truth = one.truth
    return mathvista.MathReply(
        truth["question_type"], truth["answer_type"], truth["answer"], one.reply, tuple(truth["choices"] or ()),
        truth["precision"], None, truth["groups"],
    )  # fmt: skip


def score(answers: Sequence[Answer], variant: str) -> Outcome:
    return mathvista.score([_reply(one) for one in answers], variant)


def judge(answers: Sequence[Answer], variant: str) -> list[Judged]:
    replies = [_reply(one) for one in answers]
    return [Judged(float(mathvista.is_right(reply, variant)), mathvista.extracted(reply)) for reply in replies]


MATHVISTA = Benchmark("mathvista", "MathVista", ("official",), mathvista.VARIANTS, 256, read, score, judge)
