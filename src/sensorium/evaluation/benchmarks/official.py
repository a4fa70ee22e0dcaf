"""Benchmarks made of scenes, written in the official files of their namesakes, for programs other than this one.

What is written is read again by the ordinary benchmark of that name: `sensorium evaluate mme --data DIR` asks what
`sensorium evaluate scenes-mme` asks.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from sensorium.errors import SensoriumError, did_you_mean
from sensorium.evaluation.benchmarks.base import Benchmark, Question
from sensorium.evaluation.benchmarks.layouts import Data
from sensorium.evaluation.benchmarks.scenes_caption import SCENES_CAPTION
from sensorium.evaluation.benchmarks.scenes_mme import SCENES_MME
from sensorium.evaluation.benchmarks.scenes_pope import SCENES_POPE
from sensorium.evaluation.benchmarks.scenes_refcoco import SCENES_REFCOCO
from sensorium.evaluation.benchmarks.videomme import VIDEOMME
from sensorium.parts.cache import whole_or_nothing


def write_official(name: str, data: Data, out: Path) -> int:
    """How many questions were written. Raises SensoriumError for a benchmark not of scenes, or a folder that is there.

    The folder is there whole, or not at all.
    """
    if name not in _WRITERS:
        raise SensoriumError(f"benchmark {name!r}", "is not made of scenes.", did_you_mean(name, _WRITERS))
    if out.exists():
        raise SensoriumError(out, "is there already.", "Choose another --out.")
    benchmark, write = _WRITERS[name]
    if data.layout != "scenes":
        raise SensoriumError(data.path, "is no dataset of ours.", "Build one with `sensorium data build`.")
    questions = list(benchmark.read(data, benchmark.prompts[0]))
    with whole_or_nothing(out, "Make room, or choose another --out.") as scratch:
        write(questions, scratch)
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
    """`videomme.json`, the array of videos of its template, with `videos` and `subtitle` beside it."""
    videos: dict[str, dict[str, Any]] = {}
    for question in questions:
        truth = question.truth
        stem = question.cluster.replace("/", "-")
        _copy(question, folder / "videos", stem)
        about = {key: truth[key] for key in ("duration", "domain", "sub_category")}
        one = videos.setdefault(stem, {"video_id": stem, **about, "questions": []})
        one["questions"].append({
            "question_id": question.id.replace("/", "-"), "task_type": truth["task_type"],
            "question": truth["question"], "options": truth["options"], "answer": truth["answer"], "response": "",
        })  # fmt: skip
        subtitles = Path(str(question.media()[0].source)).with_suffix(".srt")
        if subtitles.is_file():
            (folder / "subtitle").mkdir(exist_ok=True)
            shutil.copyfile(subtitles, folder / "subtitle" / f"{stem}.srt")
    (folder / "videomme.json").write_text(json.dumps(list(videos.values()), indent=1), encoding="utf-8")


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


_WRITERS: dict[str, tuple[Benchmark, Callable[[Sequence[Question], Path], None]]] = {
    "scenes-mme": (SCENES_MME, _mme),
    "scenes-pope": (SCENES_POPE, _pope),
    "scenes-caption": (SCENES_CAPTION, _caption),
    "scenes-refcoco": (SCENES_REFCOCO, _refcoco),
    "videomme": (VIDEOMME, _videomme),
}
