"""POPE: is there an X in the picture? Three sets (random, popular, adversarial), scored together and each by itself.

Official layout: JSON lines {question_id, image, text, label}, a file a set, the set's name in the file's; pictures of
COCO in a folder of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from sensorium.evaluation.benchmarks.base import SHORT_ANSWER, Answer, Benchmark, Judged, Question, judge_yes_no
from sensorium.evaluation.benchmarks.cells import one_of, require_columns, words
from sensorium.evaluation.benchmarks.layouts import Data
from sensorium.evaluation.scorers import pope
from sensorium.evaluation.scorers.outcome import Outcome
from sensorium.evaluation.scorers.rows import read_rows
from sensorium.evaluation.scorers.yes_no import POPE_RULES

SETS = ("random", "popular", "adversarial")


def read(data: Data, prompt: str) -> Iterator[Question]:
    rows = _official(data) if data.layout == "official" else _table(data)
    for sets, name, cluster, question, label, media, where in rows:
        truth = one_of(label.strip().lower(), ("yes", "no"), where, "answer")
        text = question if prompt == "official" else question.strip() + (SHORT_ANSWER if prompt == "lmms-eval" else "")
        task = sets[0] if len(sets) == 1 else "+".join(sets)
        yield Question(f"{task}/{name}", cluster, task, text, {"answer": truth, "sets": sets}, media, where)


_Row = tuple[list[str], str, str, str, str, Any, str]  # sets, name, picture, question, answer, media, where


def _table(data: Data) -> Iterator[_Row]:
    table = data.table()
    require_columns(table, "question", "answer", "category")
    for number in range(len(table)):
        row, where = table.row(number), table.where(number)
        sets = [part.strip() for part in words(row, where, "category").split(",")]
        cluster = str(row.get("image_source") or table.picture_id(number))
        name = words(row, where, "question_id", "index", "id")
        yield (sets, name, cluster, words(row, where, "question"), words(row, where, "answer"),
               partial(table.images, number), where)  # fmt: skip


def _official(data: Data) -> Iterator[_Row]:
    for path in data.files:
        rows = read_rows(path)
        rows.by("question_id")
        task = next((name for name in SETS if name in path.stem), path.stem)
        for i in range(len(rows)):
            picture = rows.text(i, "image")
            yield ([task], str(rows.name(i, "question_id")), picture, rows.text(i, "text"), rows.text(i, "label"),
                   partial(data.pictures, picture), rows.where(i))  # fmt: skip


def score(answers: Sequence[Answer], variant: str) -> Outcome:
    """Over all rows, a row once for each of its sets; `sets`: each by itself; `mean_f1`: the mean over the sets."""
    by: dict[str, list[pope.PopeReply]] = {}
    for answer in answers:
        for name in answer.truth["sets"]:
            by.setdefault(name, []).append(pope.PopeReply(answer.cluster, answer.truth["answer"], answer.reply))
    whole = pope.score([reply for replies in by.values() for reply in replies], variant)
    if len(by) == 1:
        return whole
    each = {name: pope.score(replies, variant) for name, replies in by.items()}
    mean = sum(one["f1"] for one in each.values()) / len(each)
    values = {**whole.values, "mean_f1": mean, "sets": {name: dict(one.values) for name, one in each.items()}}
    intervals = {**whole.intervals, "sets": {name: dict(one.intervals) for name, one in each.items()}}
    return Outcome("pope", variant, values, intervals, whole.notes)


def judge(answers: Sequence[Answer], variant: str) -> list[Judged]:
    return judge_yes_no(answers, POPE_RULES[variant])


POPE = Benchmark("pope", "POPE", ("official", "vlmevalkit", "lmms-eval"), pope.VARIANTS, 16, read, score, judge)
