"""RefCOCO, RefCOCO+, RefCOCOg: where in the picture is what the phrase describes?

Official layouts: `refs(unc).p` with COCO's `instances.json` and pictures by `file_name`; or the JSON lines of Qwen-VL
and InternVL, {image, sent, bbox: [x1, y1, x2, y2] in pixels, width, height}. Each phrase is a question.

prompts: `sensorium` asks as our own models are trained and is scored by `official`, whose boxes are the same; the
others ask for boxes as the variant of the same name reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sensorium.conversation import Image
from sensorium.data.readers.referring import plain_pickle
from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks.base import Answer, Benchmark, Judged, Question
from sensorium.evaluation.benchmarks.cells import number, require_columns, strings, words
from sensorium.evaluation.benchmarks.layouts import Data
from sensorium.evaluation.scorers import refcoco
from sensorium.evaluation.scorers.outcome import Outcome
from sensorium.evaluation.scorers.rows import read_json, read_rows
from sensorium.media import image_size

_PROMPTS = {
    "sensorium": "Where is the {}? Answer with a box.",
    "internvl": "Please provide the bounding box coordinate of the region this sentence describes: <ref>{}</ref>",
    "lmms-eval": (
        "Bounding box coordinates are specified in the format "
        "(top-left x, top-left y, bottom-right x, bottom-right y). "
        "All values are floating point numbers bounded between 0 and 1. "
        "Please provide the bounding box coordinate of the region this sentence describes: {}"
    ),
    "official": "<ref>{}</ref><box>",
}
Corners = tuple[float, float, float, float]


def read(data: Data, prompt: str) -> Iterator[Question]:
    if data.layout == "tsv":
        return _tsv(data, prompt)
    if data.layout == "parquet":
        return _parquet(data, prompt)
    return _pickle(data, prompt) if any(path.suffix == ".p" for path in data.files) else _lines(data, prompt)


def _tsv(data: Data, prompt: str) -> Iterator[Question]:
    table = data.table()
    require_columns(table, "question", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "width", "height")
    for i in range(len(table)):
        row, where = table.row(i), table.where(i)
        x1, y1, x2, y2, width, height = (
            number(row, where, name) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "width", "height")
        )
        phrase = str(row.get("answer") or row["question"])
        yield _question(words(row, where, "index"), table.picture_id(i), str(row.get("split") or "all"), phrase,
                        (x1, y1, x2, y2), (width, height), prompt, where, partial(table.images, i))  # fmt: skip


def _parquet(data: Data, prompt: str) -> Iterator[Question]:
    """One question a phrase; the box is x, y, width, height there, and the size is the picture's own."""
    table = data.table()
    require_columns(table, "answer", "bbox")
    for i in range(len(table)):
        row, where = table.row(i), table.where(i)
        corners, size = _corners(row, where), image_size(table.images(i)[0])
        for turn, phrase in enumerate(strings(row, where, "answer")):
            yield _question(f"{words(row, where, 'question_id')}#{turn}", table.picture_id(i), "all", phrase, corners,
                            size, prompt, where, partial(table.images, i))  # fmt: skip


def _lines(data: Data, prompt: str) -> Iterator[Question]:
    for path in data.files:
        rows = read_rows(path)
        for i in range(len(rows)):
            x1, y1, x2, y2 = rows.numbers(i, "bbox", 4)
            size = rows.number(i, "width"), rows.number(i, "height")
            # A path that begins elsewhere on the disk of whoever made the file: what counts is its end.
            name = Path(rows.text(i, "image")).name
            yield _question(f"{path.stem}/{i}", name, path.stem, rows.text(i, "sent"), (x1, y1, x2, y2), size, prompt,
                            rows.where(i), partial(_coco_picture, data, name))  # fmt: skip


def _pickle(data: Data, prompt: str) -> Iterator[Question]:
    path = next(path for path in data.files if path.suffix == ".p")
    instances_path = path.with_name("instances.json")
    references, instances = plain_pickle(path), read_json(instances_path)
    boxes = {row["id"]: row for row in instances.get("annotations", [])}
    pictures = {row["id"]: row for row in instances.get("images", [])}
    for i, reference in enumerate(references):
        where = f"{path} reference {i}"
        if not isinstance(reference, dict) or reference.get("split") == "train":
            continue
        picture, box = pictures.get(reference.get("image_id")), boxes.get(reference.get("ann_id"))
        if picture is None or box is None:
            what = f"is about what is not in {instances_path.name}."
            raise SensoriumError(where, what, "Are these files of one set?")
        size = number(picture, where, "width"), number(picture, where, "height")
        name = words(picture, where, "file_name")
        for sentence in reference.get("sentences", []):
            yield _question(words(sentence, where, "sent_id"), name, words(reference, where, "split"),
                            words(sentence, where, "sent", "raw"), _corners(box, where), size, prompt, where,
                            partial(_coco_picture, data, name))  # fmt: skip


def _coco_picture(data: Data, name: str) -> tuple[Image, ...]:
    """By the name in the data; RefCOCO's pictures lie in COCO's folder train2014 as a rule."""
    try:
        return data.pictures(name)
    except SensoriumError:
        return data.pictures(f"train2014/{name}")


def _corners(row: Mapping[str, Any], where: str) -> Corners:
    box = row.get("bbox")
    if not isinstance(box, Sequence) or len(box) != 4 or not all(isinstance(one, int | float) for one in box):
        raise SensoriumError(where, f"`bbox` is {box!r} where x, y, width, height should be.")
    x, y, width, height = box
    return x, y, x + width, y + height


def asked(phrase: str, prompt: str) -> str:
    """The request for a phrase's box as a protocol puts it."""
    return _PROMPTS[prompt].format(phrase)


def _question(
    name: str, picture: str, task: str, phrase: str, box: Corners, size: tuple[float, float], prompt: str, where: str,
    media: Any,
) -> Question:  # fmt: skip
    truth = {"phrase": phrase, "box": list(box), "width": size[0], "height": size[1]}
    return Question(name, picture, task, asked(phrase, prompt), truth, media, where)


def _reply(one: Answer) -> refcoco.BoxReply:
    x1, y1, x2, y2 = one.truth["box"]
    return refcoco.BoxReply((x1, y1, x2, y2), one.truth["width"], one.truth["height"], one.reply, one.cluster)


def score(answers: Sequence[Answer], variant: str) -> Outcome:
    return refcoco.score([_reply(one) for one in answers], variant)


def judge(answers: Sequence[Answer], variant: str) -> list[Judged]:
    replies = [_reply(one) for one in answers]
    return [
        Judged(float(refcoco.overlap(reply, variant) >= refcoco.ENOUGH), str(refcoco.parse(reply, variant) or ""))
        for reply in replies
    ]


REFCOCO = Benchmark(
    "refcoco", "RefCOCO", tuple(_PROMPTS), refcoco.VARIANTS, 64, read, score, judge,
    scored_by={"internvl": "internvl", "lmms-eval": "lmms-eval"},
)  # fmt: skip
