"""Video-MME (arXiv:2405.21075): multiple choice about videos, by duration, domain, sub-category and task type.

The official file is one array of videos {video_id, duration, domain, sub_category, questions: [{question_id, task_type,
question, options, answer, response}]}; its template ends lists with commas, which JSON does not allow and this reader
does. The content may not be redistributed, so none of it is here.

variants: `official` (percent of the **answered**: replies without a capital A to D count nowhere; printed with one
decimal by its tool), `vlmevalkit` (0-1 to three decimals, of all; unread replies are matched with the options' text),
`lmms-eval` (percent of all, with its own rule for letters).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.errors import SensoriumError, did_you_mean
from sensorium.evaluation.intervals import Clusters, Interval
from sensorium.evaluation.scorers.choices import lmms_eval_letter, videomme_letter, videomme_letter_of_vlmevalkit
from sensorium.evaluation.scorers.outcome import Outcome, known_variant
from sensorium.evaluation.scorers.rows import Rows, read_trailing_rows

VARIANTS = ("official", "vlmevalkit", "lmms-eval")
VIDEOS_OF_A_DURATION = 300
KNOWN = {
    "duration": ("short", "medium", "long"),
    "domain": (
        "Knowledge", "Film & Television", "Sports Competition", "Artistic Performance", "Life Record", "Multilingual",
    ),
    "sub_category": (
        "Humanity & History", "Literature & Art", "Biology & Medicine", "Finance & Commerce", "Astronomy", "Geography",
        "Law", "Life Tip", "Technology", "Animation", "Movie & TV Show", "Documentary", "News Report", "Esports",
        "Basketball", "Football", "Athletics", "Other Sports", "Stage Play", "Magic Show", "Variety Show", "Acrobatics",
        "Handicraft", "Food", "Fashion", "Daily Life", "Travel", "Pet & Animal", "Exercise", "Multilingual",
    ),
    "task_type": (
        "Temporal Perception", "Spatial Perception", "Attribute Perception", "Action Recognition", "Object Recognition",
        "OCR Problems", "Counting Problem", "Temporal Reasoning", "Spatial Reasoning", "Action Reasoning",
        "Object Reasoning", "Information Synopsis",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class VideoReply:
    """answer: the right letter. options: as the file has them, "A. …"."""

    video: str
    duration: str
    domain: str
    sub_category: str
    task_type: str
    answer: str
    reply: str
    options: tuple[str, ...] = ()


def read(path: Path) -> list[VideoReply]:
    """Raises SensoriumError naming the line in which the video begins."""
    rows = read_trailing_rows(path)
    rows.by("video_id")
    found: list[VideoReply] = []
    seen: set[str | int] = set()
    for i in range(len(rows)):
        about = {key: _known(rows, i, rows[i], key) for key in ("duration", "domain", "sub_category")}
        questions = rows[i].get("questions")
        if not isinstance(questions, list) or not all(isinstance(question, dict) for question in questions):
            raise rows.fault(i, "`questions` is not a list of objects.")
        for question in questions:
            name = question.get("question_id")
            if not isinstance(name, str | int):
                raise rows.fault(i, f"a question's `question_id` is {name!r}, no name.")
            if name in seen:
                raise rows.fault(i, f"question {name!r} was there before.", "Keep one of them.")
            seen.add(name)
            answer, reply = question.get("answer"), question.get("response")
            if answer not in ("A", "B", "C", "D"):
                raise rows.fault(i, f"question {name!r}: `answer` is {answer!r}, none of A, B, C, D.")
            if not isinstance(reply, str):
                what = f"question {name!r} has no `response`." if reply is None else f"question {name!r}: {reply!r}?"
                raise rows.fault(i, what, 'Where a model said nothing, write "".')
            options = question.get("options") or []
            if not isinstance(options, list):
                raise rows.fault(i, f"question {name!r}: `options` is no list.")
            task = _known(rows, i, question, "task_type")
            video = str(rows[i]["video_id"])
            found.append(VideoReply(video, **about, task_type=task, answer=answer, reply=reply,
                                    options=tuple(map(str, options))))  # fmt: skip
    if not found:
        raise SensoriumError(path, "holds no questions.")
    return found


def _known(rows: Rows, i: int, row: Any, key: str) -> str:
    value = row.get(key)
    if value not in KNOWN[key]:
        raise rows.fault(i, f"`{key}` is {value!r}.", did_you_mean(str(value), KNOWN[key]))
    return str(value)


def score(replies: Sequence[VideoReply], variant: str = "official") -> Outcome:
    """`overall` and `by`: of the answered (official) or of all; `total`, `answered`, and `counts` of each bucket.

    A bucket without an answered question scores 0, as in the official tool. Intervals by video.
    """
    known_variant(variant, VARIANTS)
    letters = [_letter(reply, variant) for reply in replies]
    everything = _bucket(zip(replies, letters, strict=True), variant)
    by: dict[str, dict[str, float]] = {}
    counts: dict[str, dict[str, dict[str, int]]] = {}
    intervals: dict[str, Any] = {"overall": everything.interval, "by": {}}
    for key, names in KNOWN.items():
        pairs: dict[str, list[tuple[VideoReply, str]]] = {}
        for reply, letter in zip(replies, letters, strict=True):
            pairs.setdefault(getattr(reply, key), []).append((reply, letter))
        buckets = {name: _bucket(pairs[name], variant) for name in names if name in pairs}
        by[key] = {name: bucket.score for name, bucket in buckets.items()}
        counts[key] = {name: bucket.counts for name, bucket in buckets.items()}
        intervals["by"][key] = {name: bucket.interval for name, bucket in buckets.items()}
    values = {"overall": everything.score, **everything.counts, "by": by, "counts": counts}
    return Outcome("videomme", variant, values, intervals, tuple(_notes(replies)))


@dataclass(frozen=True)
class _Bucket:
    score: float
    counts: dict[str, int]
    interval: Interval


def _bucket(pairs: Iterable[tuple[VideoReply, str]], variant: str) -> _Bucket:
    clusters = Clusters()
    correct = answered = total = 0
    for reply, letter in pairs:
        right = letter == reply.answer
        correct, answered, total = correct + right, answered + bool(letter), total + 1
        if letter or variant != "official":
            clusters.add(reply.video, right, 1)
    of = answered if variant == "official" else total
    counts = {"answered": answered, "correct": correct, "total": total}
    if variant == "vlmevalkit":
        return _Bucket(round(correct / of, 3), counts, clusters.mean_interval())
    return _Bucket(100 * correct / of if of else 0, counts, clusters.mean_interval(100))


def _letter(reply: VideoReply, variant: str) -> str:
    if variant == "official":
        return videomme_letter(reply.reply)
    if variant == "lmms-eval":
        return lmms_eval_letter(reply.reply)
    return videomme_letter_of_vlmevalkit(reply.reply, _option_texts(reply.options))


def _option_texts(options: Sequence[str]) -> dict[str, str]:
    """letter -> what follows "A." in its line, ends trimmed of points and blanks."""
    found = {}
    for letter, option in zip("ABCDEFGH", options, strict=False):
        if match := re.search(rf"{letter}\.(.*)", option, re.S):
            found[letter] = match[1].strip(". \n")
    return found


def _notes(replies: Sequence[VideoReply]) -> Iterable[str]:
    videos: dict[str, set[str]] = {}
    for reply in replies:
        videos.setdefault(reply.duration, set()).add(reply.video)
    for duration in KNOWN["duration"]:
        if (n := len(videos.get(duration, ()))) != VIDEOS_OF_A_DURATION:
            yield f"{duration}: {n} videos, {VIDEOS_OF_A_DURATION} in the whole benchmark"
