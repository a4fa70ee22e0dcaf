"""Multiple choice from a table as MMBench and MMStar have it: columns index, question, A, B, …, answer, prediction.

Circular evaluation (MMBench, arXiv:2307.06281): each question is asked once for every rotation of its options, the
rotations' index is the question's plus a million, two millions, …, and a question is right only if all of them are.

variants: `official` (VLMEvalKit, which is MMBench's own, without a judge: what its rules cannot read is wrong, 0-1),
`lmms-eval` (its own rules and, where they fail, its rule for any letter).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from sensorium.errors import SensoriumError
from sensorium.evaluation.intervals import Clusters, Interval
from sensorium.evaluation.scorers.choices import lmms_eval_letter, mmbench_letter_of_lmms_eval, vlmevalkit_letter
from sensorium.evaluation.scorers.outcome import Outcome, known_variant
from sensorium.evaluation.scorers.rows import Rows, read_rows, read_table

VARIANTS = ("official", "lmms-eval")
ROTATION = 1_000_000
GROUPS = ("split", "category", "l2-category")


@dataclass(frozen=True)
class ChoiceReply:
    """options: letter -> text; answer: the right letter; groups: `GROUPS` -> what the question is."""

    index: int
    options: Mapping[str, str]
    answer: str
    reply: str
    groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def question(self) -> int:
        """The index of the question of which this is a rotation."""
        return self.index % ROTATION


def read(answers: Path, questions: Path | None = None) -> list[ChoiceReply]:
    """Of one table with a column `prediction`, or of predictions {index, prediction} beside a table of questions.

    Raises SensoriumError naming file and line.
    """
    given = read_table(answers) if answers.suffix == ".tsv" else read_rows(answers)
    asked = given if questions is None else read_table(questions)
    known, replied = _by_index(asked), _by_index(given)
    for index, i in replied.items():
        if index not in known:
            raise given.fault(i, f"index {index} is not in {asked.path.name}.", "Are these files of one set?")
    missing = [index for index in known if index not in replied]
    if missing:
        what = f"index {missing[0]} has no prediction in {given.path} ({len(missing)} without one)."
        raise asked.fault(known[missing[0]], what, 'Add them; where a model said nothing, write "".')
    if not known:
        raise SensoriumError(asked.path, "holds no questions.")
    return [_reply(asked, i, index, given.text(replied[index], "prediction")) for index, i in known.items()]


def _by_index(rows: Rows) -> dict[int, int]:
    found: dict[int, int] = {}
    for name, i in rows.by("index").items():
        try:
            index = int(name)
        except ValueError:
            raise rows.fault(i, f"`index` is {name!r}, no integer.") from None
        if index in found:
            raise rows.fault(i, f"index {index} was there before, in {rows.where(found[index])}.", "Keep one of them.")
        found[index] = i
    return found


def _reply(asked: Rows, i: int, index: int, prediction: str) -> ChoiceReply:
    row = asked[i]
    options = {letter: str(row[letter]) for letter in ascii_uppercase if row.get(letter) not in (None, "")}
    if len(options) < 2:
        raise asked.fault(i, "has fewer than two options.", "Options stand in columns A, B, …")
    answer = asked.text(i, "answer")
    if answer not in options:
        raise asked.fault(i, f"the answer {answer!r} is none of {', '.join(options)}.")
    return ChoiceReply(index, options, answer, prediction, {key: str(row[key]) for key in GROUPS if row.get(key)})


def letter_of(reply: ChoiceReply, variant: str = "official") -> str:
    """The option that a reply means, "" where the rules cannot read it."""
    if variant == "lmms-eval":
        return mmbench_letter_of_lmms_eval(reply.reply, reply.options) or lmms_eval_letter(
            reply.reply, sorted(reply.options)
        )
    return vlmevalkit_letter(reply.reply, reply.options)


def score(replies: Sequence[ChoiceReply], variant: str = "official", is_circular: bool | None = None) -> Outcome:
    """`overall` and `by` split and category, 0-1. is_circular: None for: where there are rotations.

    `vanilla` is the share of all rows that are right, each rotation a row; `unread` counts rows that the rules cannot
    read, which are wrong.
    """
    known_variant(variant, VARIANTS)
    if is_circular is None:
        is_circular = any(reply.index >= ROTATION for reply in replies)
    letters = [letter_of(reply, variant) for reply in replies]
    rows = [(reply, letter == reply.answer) for reply, letter in zip(replies, letters, strict=True)]
    scored = _whole(rows) if is_circular else rows
    overall, interval = _share(right for _, right in scored)
    by: dict[str, dict[str, float]] = {}
    for key in GROUPS:
        buckets: dict[str, list[bool]] = {}
        for reply, right in scored:
            if key in reply.groups:
                buckets.setdefault(reply.groups[key], []).append(right)
        if buckets:
            by[key] = {name: sum(bucket) / len(bucket) for name, bucket in sorted(buckets.items())}
    values: dict[str, Any] = {"overall": overall, "by": by, "questions": len(scored), "unread": letters.count("")}
    if is_circular:
        values |= {"vanilla": sum(right for _, right in rows) / len(rows), "rows": len(rows)}
    return Outcome("mcq", variant, values, {"overall": interval}, tuple(_notes(replies) if is_circular else ()))


def _whole(rows: Sequence[tuple[ChoiceReply, bool]]) -> list[tuple[ChoiceReply, bool]]:
    """(the question itself, whether all of its rotations are right). Raises SensoriumError without the question."""
    right: dict[int, bool] = {}
    for reply, is_one in rows:
        right[reply.question] = right.get(reply.question, True) and is_one
    found = [(reply, right[reply.question]) for reply, _ in rows if reply.index == reply.question]
    if len(found) != len(right):
        lost = min(set(right) - {reply.question for reply, _ in found})
        raise SensoriumError(f"index {lost}", "is missing, while rotations of it are there.", "Was the table cut off?")
    return found


def _share(right: Iterable[bool]) -> tuple[float, Interval]:
    clusters = Clusters()
    for is_one in right:
        clusters.add(None, is_one, 1)
    rows = clusters.rows
    return float(rows[:, 0].sum() / len(rows)), clusters.mean_interval()


def _notes(replies: Sequence[ChoiceReply]) -> Iterable[str]:
    counts: dict[int, int] = {}
    for reply in replies:
        counts[reply.question] = counts.get(reply.question, 0) + 1
    short = sum(counts[reply.index] != len(reply.options) for reply in replies if reply.index == reply.question)
    if short:
        yield f"{short} questions are not asked once for each of their options"
