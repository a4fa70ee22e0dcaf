"""VQAv2, OK-VQA and TextVQA: short answers, compared with those of ten people.

Official layouts: `*questions*.json` and `*annotations*.json` with pictures `COCO_val2014_000000000042.jpg`; for
TextVQA one file {data: [{question_id, image_id, question, answers}]} with pictures `IMAGE_ID.jpg`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from sensorium.evaluation.benchmarks.base import SHORT_ANSWER, Answer, Benchmark, Judged, Question
from sensorium.evaluation.benchmarks.cells import require_columns, strings, words
from sensorium.evaluation.benchmarks.layouts import Data
from sensorium.evaluation.scorers import vqav2
from sensorium.evaluation.scorers.outcome import Outcome
from sensorium.evaluation.scorers.rows import Rows, read_json, read_rows, same_ids
from sensorium.evaluation.scorers.vqa_text import normalised

PROMPTS = ("vlmevalkit", "lmms-eval", "official")  # the official question alone asks for no short answer


def read(data: Data, prompt: str) -> Iterator[Question]:
    return _official(data, prompt) if data.layout == "official" else _table(data, prompt)


def read_textvqa(data: Data, prompt: str) -> Iterator[Question]:
    """lmms-eval writes TextVQA's questions with one capital letter, the first."""
    for question in _textvqa(data) if data.layout == "official" else _table(data, "official"):
        text = question.text.capitalize() if prompt == "lmms-eval" else question.text
        yield Question(question.id, question.cluster, question.task, text + _request(prompt), question.truth,
                       question.media, question.where)  # fmt: skip


def _table(data: Data, prompt: str) -> Iterator[Question]:
    table = data.table()
    require_columns(table, "question")
    for number in range(len(table)):
        row, where = table.row(number), table.where(number)
        cluster = str(row["image_id"]) if row.get("image_id") is not None else table.picture_id(number)
        yield Question(
            words(row, where, "question_id", "index"), cluster, _kind(row, "answer_type"),
            words(row, where, "question") + _request(prompt), _truth(row, strings(row, where, "answers", "answer")),
            partial(table.images, number), where,
        )  # fmt: skip


def _official(data: Data, prompt: str) -> Iterator[Question]:
    asked_path = data.one_file("questions", "*[qQ]uestions*.json")
    asked = read_rows(asked_path, "questions")
    told = read_rows(data.one_file("annotations", "*annotations*.json"), "annotations")
    subtype = read_json(asked_path).get("data_subtype", "val2014")
    place = {i: j for j, i in same_ids(told, asked, "question_id")}
    for i in range(len(asked)):
        truth, where = told[place[i]], asked.where(i)
        image = asked.name(i, "image_id")
        name = f"COCO_{subtype}_{int(image):012}.jpg"
        yield Question(
            str(asked.name(i, "question_id")), str(image), _kind(truth, "answer_type"),
            asked.text(i, "question") + _request(prompt), _truth(truth, strings(truth, where, "answers")),
            partial(data.pictures, name), where,
        )  # fmt: skip


def _textvqa(data: Data) -> Iterator[Question]:
    rows: Rows = read_rows(data.one_file("questions", "TextVQA*.json", "*.json"), "data")
    rows.by("question_id")
    for i in range(len(rows)):
        where, name = rows.where(i), f"{rows.text(i, 'image_id')}.jpg"
        yield Question(
            str(rows.name(i, "question_id")), rows.text(i, "image_id"), "all", rows.text(i, "question"),
            _truth(rows[i], strings(rows[i], where, "answers")), partial(data.pictures, name), where,
        )  # fmt: skip


def _kind(row: Any, name: str) -> str:
    return str(row.get(name) or "all")


def _truth(row: Any, answers: Sequence[str]) -> dict[str, Any]:
    return {"answers": list(answers), **{key: _kind(row, key) for key in ("question_type", "answer_type")}}


def _request(prompt: str) -> str:
    return "" if prompt == "official" else SHORT_ANSWER


def score(answers: Sequence[Answer], variant: str) -> Outcome:
    return vqav2.score([
        vqav2.VqaReply(one.cluster, one.truth["question_type"], one.truth["answer_type"], tuple(one.truth["answers"]),
                       one.reply)
        for one in answers
    ], variant)  # fmt: skip


def judge(answers: Sequence[Answer], variant: str) -> list[Judged]:
    return [
        Judged(vqav2.accuracy(one.reply, one.truth["answers"], variant), normalised(one.reply, variant), False)
        for one in answers
    ]


VQAV2 = Benchmark("vqav2", "VQAv2", PROMPTS, vqav2.VARIANTS, 16, read, score, judge)
OKVQA = Benchmark("okvqa", "OK-VQA", PROMPTS, vqav2.VARIANTS, 16, read, score, judge)
TEXTVQA = Benchmark("textvqa", "TextVQA", PROMPTS, vqav2.VARIANTS, 16, read_textvqa, score, judge)
