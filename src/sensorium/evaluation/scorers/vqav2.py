"""VQA accuracy (VQAv2, arXiv:1612.00837): agreement with ten people, each left out in turn.

An answer is worth min(1, matches among the other nine / 3), averaged over the ten left out. Before comparing, answers
are made alike (`vqa_text`), unless all ten people wrote the same: then letter for letter, case included.

Official files: questions {questions: [{question_id, image_id, question}]}, annotations {annotations: [{question_id,
question_type, answer_type, answers: [{answer}, …]}]}, results [{question_id, answer}]. Percent, two decimals.

variants: `official`; `vlmevalkit` and `lmms-eval`, which always make answers alike, each with a small repair of the
rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sensorium.errors import SensoriumError
from sensorium.evaluation.intervals import Clusters, Interval
from sensorium.evaluation.scorers.outcome import Outcome, known_variant
from sensorium.evaluation.scorers.rows import Rows, read_rows, same_ids
from sensorium.evaluation.scorers.vqa_text import normalised, one_line

VARIANTS = ("official", "vlmevalkit", "lmms-eval")


@dataclass(frozen=True)
class VqaReply:
    """answers: what people said, ten of them as a rule; picture: whose questions belong together."""

    picture: int | str
    question_type: str
    answer_type: str
    answers: tuple[str, ...]
    reply: str


def read(questions: Path, annotations: Path, results: Path) -> list[VqaReply]:
    """Raises SensoriumError naming file and line; the three files must be about the same questions."""
    asked, told = read_rows(questions, "questions"), read_rows(annotations, "annotations")
    answered = read_rows(results)
    place = dict(same_ids(told, asked, "question_id"))
    found = []
    for i, j in same_ids(told, answered, "question_id"):
        found.append(VqaReply(
            asked.name(place[i], "image_id"), told.text(i, "question_type"), told.text(i, "answer_type"),
            _answers(told, i), answered.text(j, "answer"),
        ))  # fmt: skip
    if not found:
        raise SensoriumError(annotations, "holds no annotations.")
    return found


def _answers(told: Rows, i: int) -> tuple[str, ...]:
    answers = told[i].get("answers")
    listed = answers if isinstance(answers, list) else ()
    given = [one.get("answer") if isinstance(one, dict) else one for one in listed]
    found = tuple(one for one in given if isinstance(one, str))
    if not found or len(found) < len(given):
        raise told.fault(i, "`answers` is not a list of {answer}.")
    return found


def accuracy(reply: str, answers: Sequence[str], variant: str = "official") -> float:
    """Of one reply, 0-1: with ten people 0, .3, .6, .9 or 1 for 0, 1, 2, 3, four and more who said the same.

    People are left out by position. The official tool leaves out every entry *equal* to the one held out, which is
    the same as long as its entries are numbered.
    """
    reply, answers = one_line(reply), [one_line(answer) for answer in answers]
    if variant != "official" or len(set(answers)) > 1:
        reply, answers = normalised(reply, variant), [normalised(answer, variant) for answer in answers]
    same = answers.count(reply)
    worth = [min(1.0, (same - (answer == reply)) / 3) for answer in answers]
    return sum(worth) / len(worth)


def score(replies: Sequence[VqaReply], variant: str = "official") -> Outcome:
    """`overall`, `per_answer_type`, `per_question_type` in percent; intervals by picture."""
    known_variant(variant, VARIANTS)
    worth = [accuracy(reply.reply, reply.answers, variant) for reply in replies]
    overall = _mean(zip(replies, worth, strict=True))
    values: dict[str, object] = {"overall": overall[0]}
    intervals: dict[str, object] = {"overall": overall[1]}
    for name, key in (("per_answer_type", "answer_type"), ("per_question_type", "question_type")):
        groups: dict[str, list[tuple[VqaReply, float]]] = {}
        for pair in zip(replies, worth, strict=True):
            groups.setdefault(getattr(pair[0], key), []).append(pair)
        means = {group: _mean(pairs) for group, pairs in groups.items()}
        values[name] = {group: mean for group, (mean, _) in means.items()}
        intervals[name] = {group: interval for group, (_, interval) in means.items()}
    return Outcome("vqav2", variant, {**values, "questions": len(replies)}, intervals)


def _mean(pairs: Iterable[tuple[VqaReply, float]]) -> tuple[float, Interval]:
    clusters = Clusters()
    total, n = 0.0, 0
    for reply, worth in pairs:
        clusters.add(reply.picture, worth, 1)
        total, n = total + worth, n + 1
    return round(100 * total / n, 2), clusters.mean_interval(100)
