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
    both = Clusters()  # right yes, said yes, missed yes
    shares = {name: Clusters() for name in ("accuracy", "precision", "recall", "yes_ratio")}
    for reply, label in zip(replies, labels, strict=True):
        true, said = reply.truth == "yes", label == "yes"
        missed = true and (label == "no" if variant == "lmms-eval" else not said)
        both.add(reply.picture, true and said, said, missed)
        shares["accuracy"].add(reply.picture, label == reply.truth, 1)
        shares["yes_ratio"].add(reply.picture, true if variant == "lmms-eval" else said, 1)
        if said:
            shares["precision"].add(reply.picture, true, 1)
        if (true and said) or missed:
            shares["recall"].add(reply.picture, said, 1)
    scale = 100 if variant == "vlmevalkit" else 1
    values = {name: scale * one.mean for name, one in shares.items()}
    precision, recall = shares["precision"].mean, shares["recall"].mean
    values["f1"] = scale * (2 * (precision * recall) / (precision + recall)) if precision + recall else 0.0
    intervals = {name: one.mean_interval(scale) for name, one in shares.items()}
    intervals["f1"] = both.interval(partial(_f1, scale))
    notes = tuple(
        f"{name} is 0 / 0, where the official tool stops; 0 is given" for name, under in
        (("precision", labels.count("yes")), ("recall", sum(reply.truth == "yes" for reply in replies))) if not under
    )  # fmt: skip
    values = {name: values[name] for name in ("accuracy", "precision", "recall", "f1", "yes_ratio")}
    counts = {"questions": len(replies), "other": labels.count("other")}
    return Outcome("pope", variant, {**values, **counts}, intervals, notes)


def _f1(scale: float, means: Floats) -> Floats:
    """[..., (right yes, said yes, missed yes)] -> F1, which is twice the right over all said and all that are there."""
    right, said, missed = means[..., 0], means[..., 1], means[..., 2]
    return scale * ratio(2 * right, said + right + missed)
