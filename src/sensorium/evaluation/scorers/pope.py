"""POPE (arXiv:2305.10355): is there an X in the picture? Accuracy, precision, recall, F1 of yes, and the share of yes.

Official files: questions as rows {question_id, image, text, label}, answers as rows {question, answer} in the same
order; JSON lines, or one array as in the A-OKVQA and GQA sets.

variants: `official` (shares), `vlmevalkit` (yes or no as words, percent; what says neither counts as no for F1 and as
wrong for accuracy), `lmms-eval` (the whole reply must be yes or no; its share of yes is taken from the truth).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sensorium.errors import SensoriumError
from sensorium.evaluation.intervals import Clusters
from sensorium.evaluation.metrics import Floats, ratio
from sensorium.evaluation.scorers.outcome import Outcome, known_variant
from sensorium.evaluation.scorers.rows import Rows, read_rows, same_length
from sensorium.evaluation.scorers.yes_no import POPE_RULES

VARIANTS = ("official", "vlmevalkit", "lmms-eval")


@dataclass(frozen=True)
class PopeReply:
    """truth: "yes" or "no"; picture: whose questions belong together."""

    picture: str
    truth: str
    reply: str


def read(questions: Path, answers: Path) -> list[PopeReply]:
    """Raises SensoriumError naming file and line, also where an answer is to another question."""
    asked, answered = read_rows(questions), read_rows(answers)
    same_length(asked, answered)
    asked.by("question_id")
    found = []
    for i in range(len(asked)):
        truth = asked.text(i, "label")
        if truth not in ("yes", "no"):
            raise asked.fault(i, f"`label` is {truth!r}, neither yes nor no.")
        _check_same_question(asked, answered, i)
        found.append(PopeReply(str(asked[i].get("image", i)), truth, answered.text(i, "answer")))
    if not found:
        raise SensoriumError(questions, "holds no questions.")
    return found


def _check_same_question(asked: Rows, answered: Rows, i: int) -> None:
    """The files are matched by order alone, and sets of 2,910 and of 3,000 are about: an offset must not pass."""
    known, given = asked[i], answered[i]
    if "question_id" in given and given["question_id"] != known.get("question_id"):
        what = f"answers question {given['question_id']!r}, but the questions have {known.get('question_id')!r} there."
        raise answered.fault(i, what, "Are these files of one set, in one order?")
    if isinstance(given.get("question"), str) and asked.text(i, "text") not in given["question"]:
        what = f"answers {given['question']!r}, but {asked.where(i)} asks {known['text']!r}."
        raise answered.fault(i, what, "Are these files of one set, in one order?")


def score(replies: Sequence[PopeReply], variant: str = "official") -> Outcome:
    """Positive is yes. Intervals by picture, since several questions are about one."""
    rule = POPE_RULES[known_variant(variant, VARIANTS)]
    labels = [rule(reply.reply) for reply in replies]
    clusters = Clusters()  # right, said and truly yes, said yes, missed, truly yes, one
    for reply, label in zip(replies, labels, strict=True):
        true, said = reply.truth == "yes", label == "yes"
        missed = true and (label == "no" if variant == "lmms-eval" else not said)
        of_yes = true if variant == "lmms-eval" else said
        clusters.add(reply.picture, label == reply.truth, true and said, said, missed, of_yes, 1)
    scale = 100 if variant == "vlmevalkit" else 1
    names = ("accuracy", "precision", "recall", "f1", "yes_ratio")
    means = clusters.rows.sum(0)
    values = {name: scale * float(_numbers(means)[i]) for i, name in enumerate(names)}
    intervals = {name: clusters.interval(partial(_number, i, scale)) for i, name in enumerate(names)}
    accuracy = Clusters()
    for reply, label in zip(replies, labels, strict=True):
        accuracy.add(reply.picture, label == reply.truth, 1)
    intervals["accuracy"] = accuracy.mean_interval(scale)
    notes = tuple(
        f"{name} is 0 / 0, where the official tool stops; 0 is given" for name, under in
        (("precision", labels.count("yes")), ("recall", sum(reply.truth == "yes" for reply in replies))) if not under
    )  # fmt: skip
    counts = {"questions": len(replies), "other": labels.count("other")}
    return Outcome("pope", variant, {**values, **counts}, intervals, notes)


def _number(i: int, scale: float, sums: Floats) -> Floats:
    return scale * _numbers(sums)[..., i]


def _numbers(sums: Floats) -> Floats:
    """[..., (right, right yes, said yes, missed yes, of yes, questions)] -> [..., the five numbers]."""
    right, right_yes, said_yes, missed, of_yes, questions = np.moveaxis(np.asarray(sums), -1, 0)
    precision = ratio(right_yes, said_yes)
    recall = ratio(right_yes, right_yes + missed)
    f1 = ratio(2 * precision * recall, precision + recall)
    return np.stack([ratio(right, questions), precision, recall, f1, ratio(of_yes, questions)], axis=-1)
