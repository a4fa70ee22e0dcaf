"""Benchmarks made of scenes, written in the official files of their namesakes, for programs other than this one.

What is written is read again by the ordinary benchmark of that name: `sensorium evaluate mme --data DIR` asks what
`sensorium evaluate scenes-mme` asks.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sensorium.errors import SensoriumError, did_you_mean
from sensorium.evaluation.benchmarks.base import Benchmark, Question
from sensorium.evaluation.benchmarks.layouts import Data
from sensorium.evaluation.benchmarks.parquet import write_parquet
from sensorium.evaluation.benchmarks.scenes_caption import SCENES_CAPTION
from sensorium.evaluation.benchmarks.scenes_mme import SCENES_MME
from sensorium.evaluation.benchmarks.scenes_pope import SCENES_POPE
from sensorium.evaluation.benchmarks.scenes_refcoco import SCENES_REFCOCO
from sensorium.evaluation.benchmarks.videomme import VIDEOMME
from sensorium.parts.cache import whole_or_nothing


def write_official(name: str, data: Data, out: Path, format: str | None = None) -> int:
    """How many questions were written. format: of the file of questions, where there are two; None is the usual one.

    The folder is there whole, or not at all. Raises SensoriumError for a benchmark not of scenes, a format that it does
    not have, or a folder that is there.
    """
    if name not in _WRITERS:
        raise SensoriumError(f"benchmark {name!r}", "is not made of scenes.", did_you_mean(name, _WRITERS))
    if out.exists():
        raise SensoriumError(out, "is there already.", "Choose another --out.")
    benchmark, formats = _WRITERS[name]
    if format is not None and format not in formats:
        raise SensoriumError(f"--format {format!r}", f"is none of {name}.", did_you_mean(format, formats))
    if data.layout != "scenes":
        raise SensoriumError(data.path, "is no dataset of ours.", "Build one with `sensorium data build`.")
    questions = list(benchmark.read(data, benchmark.prompts[0]))
    with whole_or_nothing(out, "Make room, or choose another --out.") as scratch:
        formats[format or next(iter(formats))](questions, scratch)
    return len(questions)


def _mme(questions: Sequence[Question], folder: Path) -> None:
    """A folder a subtask; beside each picture a text of the same name with two lines of question, tab, answer."""
    for first, second in zip(questions[::2], questions[1::2], strict=True):
        stem = first.cluster.replace("/", "-")
        _copy(first, folder / first.task, stem)
        lines = (f"{one.truth['question']}\t{one.truth['answer'].title()}\n" for one in (first, second))
        (folder / first.task / f"{stem}.txt").write_text("".join(lines), encoding="utf-8")


def _pope(questions: Sequence[Question], folder: Path) -> None:
    """`scenes_pope_SET.json`, lines of {question_id, image, text, label}."""
    sets: dict[str, list[dict[str, Any]]] = {}
    for question in questions:
        rows = sets.setdefault(question.task, [])
        image = _copy(question, folder / "images", question.cluster.replace("/", "-"))
        rows.append({"question_id": len(rows) + 1, "image": image, "text": question.text,
                     "label": question.truth["answer"]})  # fmt: skip
    for name, rows in sets.items():
        _lines(folder / f"scenes_pope_{name}.json", rows)


def _refcoco(questions: Sequence[Question], folder: Path) -> None:
    """`SPLIT.jsonl`, lines of {image, sent, bbox, width, height} as Qwen-VL has them."""
    splits: dict[str, list[dict[str, Any]]] = {}
    for question in questions:
        truth = question.truth
        image = _copy(question, folder / "images", question.cluster.replace("/", "-"))
        splits.setdefault(question.task, []).append({
            "image": image, "sent": truth["phrase"], "bbox": truth["box"], "width": truth["width"],
            "height": truth["height"],
        })  # fmt: skip
    for name, rows in splits.items():
        _lines(folder / f"{name}.jsonl", rows)


def _caption(questions: Sequence[Question], folder: Path) -> None:
    """AMBER's `annotations.json` and `query_generative.json`."""
    annotations, queries = [], []
    for number, question in enumerate(questions, start=1):
        image = _copy(question, folder / "images", question.cluster.replace("/", "-"))
        queries.append({"id": number, "image": image, "query": question.text})
        annotations.append({"id": number, "type": "generative", "truth": question.truth["names"],
                            "hallu": question.truth["imagined"]})  # fmt: skip
    (folder / "query_generative.json").write_text(json.dumps(queries, indent=1), encoding="utf-8")
    (folder / "annotations.json").write_text(json.dumps(annotations, indent=1), encoding="utf-8")


def _videomme(questions: Sequence[Question], folder: Path) -> None:
    """The columns of its parquet on the hub, `data` and `subtitle` beside them. Films of ours have no address."""
    rows = []
    for question in questions:
        video = _copy_video(question, folder)
        about = {"video_id": video, **_about_video(question), "url": "", "videoID": video}
        rows.append({**about, **_asked_of_video(question)})
    (folder / "videomme").mkdir()
    write_parquet(folder / "videomme" / "test-00000-of-00001.parquet", rows)


def _videomme_results(questions: Sequence[Question], folder: Path) -> None:
    """`videomme.json`, the array of videos of its template of results, `data` and `subtitle` beside it."""
    videos: dict[str, dict[str, Any]] = {}
    for question in questions:
        video = _copy_video(question, folder)
        one = videos.setdefault(video, {"video_id": video, **_about_video(question), "questions": []})
        one["questions"].append({**_asked_of_video(question), "response": ""})
    (folder / "videomme.json").write_text(json.dumps(list(videos.values()), indent=1), encoding="utf-8")


def _about_video(question: Question) -> dict[str, Any]:
    return {key: question.truth[key] for key in ("duration", "domain", "sub_category")}


def _asked_of_video(question: Question) -> dict[str, Any]:
    asked = {key: question.truth[key] for key in ("task_type", "question", "options", "answer")}
    return {"question_id": question.id.replace("/", "-"), **asked}


def _copy_video(question: Question, folder: Path) -> str:
    """The name by which the video, and its subtitles where it has any, are put into the folder."""
    name = question.cluster.replace("/", "-")
    _copy(question, folder / "data", name)
    subtitles = Path(str(question.media()[0].source)).with_suffix(".srt")
    if subtitles.is_file():
        (folder / "subtitle").mkdir(exist_ok=True)
        shutil.copyfile(subtitles, folder / "subtitle" / f"{name}.srt")
    return name


def _copy(question: Question, folder: Path, stem: str) -> str:
    """The name of the picture or video, which is put into the folder once."""
    source = Path(str(question.media()[0].source))
    target = folder / f"{stem}{source.suffix}"
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return target.name


def _lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


Writer = Callable[[Sequence[Question], Path], None]
# Of each its formats, the first of which is the usual one.
_WRITERS: dict[str, tuple[Benchmark, Mapping[str, Writer]]] = {
    "scenes-mme": (SCENES_MME, {"txt": _mme}),
    "scenes-pope": (SCENES_POPE, {"jsonl": _pope}),
    "scenes-caption": (SCENES_CAPTION, {"json": _caption}),
    "scenes-refcoco": (SCENES_REFCOCO, {"jsonl": _refcoco}),
    "videomme": (VIDEOMME, {"parquet": _videomme, "json": _videomme_results}),
}
