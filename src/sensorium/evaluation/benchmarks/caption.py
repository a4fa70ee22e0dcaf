"""COCO captions: one sentence about a picture, compared with five of people's.

Official layout: `captions_val2014.json` {images: [{id, file_name}], annotations: [{image_id, caption}]}.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks.base import Answer, Benchmark, Judged, Question
from sensorium.evaluation.benchmarks.cells import require_columns, strings, words
from sensorium.evaluation.benchmarks.layouts import Data
from sensorium.evaluation.scorers import caption
from sensorium.evaluation.scorers.outcome import Outcome
from sensorium.evaluation.scorers.rows import read_rows
from sensorium.evaluation.scorers.treebank import words_of

_PROMPTS = {
    "lmms-eval": "Provide a one-sentence caption for the provided image.",
    "vlmevalkit": (
        "Please describe this image in general. Directly provide the description, "
        'do not include prefix like "This image depicts". '
    ),
    "sensorium": "Describe the picture.",
}


def read(data: Data, prompt: str) -> Iterator[Question]:
    return _official(data, _PROMPTS[prompt]) if data.layout == "official" else _table(data, _PROMPTS[prompt])


def _table(data: Data, text: str) -> Iterator[Question]:
    table = data.table()
    require_columns(table, "answer")
    for i in range(len(table)):
        row, where = table.row(i), table.where(i)
        yield Question(
            words(row, where, "id", "index", "question_id"), table.picture_id(i), "all", text,
            {"references": strings(row, where, "answer")}, partial(table.images, i), where,
        )  # fmt: skip


def _official(data: Data, text: str) -> Iterator[Question]:
    path = data.one_file("captions", "captions*.json", "*.json")
    pictures, told = read_rows(path, "images"), read_rows(path, "annotations")
    pictures.by("id")
    references: dict[int | str, list[str]] = {}
    for i in range(len(told)):
        references.setdefault(told.name(i, "image_id"), []).append(told.text(i, "caption"))
    for i in range(len(pictures)):
        key, name, where = pictures.name(i, "id"), pictures.text(i, "file_name"), pictures.where(i)
        if key not in references:
            raise SensoriumError(where, f"picture {key} has no caption in `annotations`.")
        yield Question(
            str(key), name, "all", text, {"references": references[key]}, partial(data.pictures, name), where
        )


def _replies(answers: Sequence[Answer]) -> list[caption.CaptionReply]:
    return [caption.CaptionReply(tuple(one.truth["references"]), one.reply) for one in answers]


def score(answers: Sequence[Answer], variant: str) -> Outcome:
    return caption.score(_replies(answers), variant)


def judge(answers: Sequence[Answer], variant: str) -> list[Judged]:
    """CIDEr-D of each, with weights counted over all of them; its mean is the headline."""
    is_raw = variant == "vlmevalkit"
    split = str.split if is_raw else words_of
    replies = _replies(answers)
    ciders = caption.cider(
        [split(one.caption) for one in replies], [[split(text) for text in one.references] for one in replies]
    )
    scale = 100 if is_raw else 1
    return [Judged(scale * value, one.caption, False) for value, one in zip(ciders, replies, strict=True)]


CAPTION = Benchmark("caption", "COCO captions", tuple(_PROMPTS), caption.VARIANTS, 64, read, score, judge)
