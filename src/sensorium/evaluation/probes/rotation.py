"""Option rotation: is a model right because it knows, or because the answer stands where it likes to point?

Every question of multiple choice is asked once for each rotation of its options. A model that knows says the same text
each time; one that guesses a letter is right once. How much better it does in the order in which the benchmark was
published is one sign that it has seen it (option order sensitivity, MM-Detect, arXiv:2411.03823).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from pydantic import Field

from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks.base import Answer, Judged, Question
from sensorium.evaluation.headlines import Part
from sensorium.evaluation.metrics import wilson
from sensorium.evaluation.probes.base import Probe
from sensorium.evaluation.scorers.mcq import ROTATION
from sensorium.evaluation.statistics import clustered_mean


class Rotation(Part):
    """Of the questions that were asked in all rotations of their options."""

    questions: int
    circular: float = Field(description="Share of questions that are right in every rotation.")
    circular_low: float
    circular_high: float
    chance: float = Field(description="What guessing reaches: the mean of (1/k) to the power of k over k options.")
    mean: float = Field(description="Share of all rotations that are right.")
    published: float = Field(description="Share right in the published order.")
    order_gain: float = Field(description="Published order less the mean of the other ones; a sign of contamination.")
    order_low: float | None
    order_high: float | None
    flips: float = Field(description="Share of questions of which not all rotations got the same option's text.")
    prior: dict[str, float] = Field(description="Letter -> share of the replies that could be read.")
    truth: dict[str, float] = Field(description="Letter -> share of the right answers over all rotations.")


def rotations(questions: Sequence[Question]) -> list[Question]:
    """All rotations but the published one; none where the data holds rotations already."""
    chosen = [question for question in questions if isinstance(question.truth.get("options"), Mapping)]
    if not chosen:
        raise SensoriumError("--probe rotate", "this benchmark has no options to rotate.", "It is for mcq.")
    if any(question.truth["index"] >= ROTATION for question in chosen):
        return []
    return [_rotated(question, turn) for question in chosen for turn in range(1, len(question.truth["options"]))]


def _rotated(question: Question, turn: int) -> Question:
    """Option i becomes what option i + turn was."""
    options: Mapping[str, str] = question.truth["options"]
    letters, texts = list(options), list(options.values())
    moved = dict(zip(letters, texts[turn:] + texts[:turn], strict=True))
    answer = letters[(letters.index(question.truth["answer"]) - turn) % len(letters)]
    listed = _lines(options)
    if question.text.count(listed) != 1:
        raise SensoriumError(question.where, "its options do not stand in its text line by line.")
    truth = {**question.truth, "options": moved, "answer": answer, "index": question.truth["index"] + turn * ROTATION}
    return replace(question, id=f"{question.id}~{turn}", text=question.text.replace(listed, _lines(moved)), truth=truth)


def _lines(options: Mapping[str, str]) -> str:
    return "\n".join(f"{letter}. {text}" for letter, text in options.items())


def rotation_of(answers: Sequence[Answer], judged: Sequence[Judged]) -> Rotation | None:
    """answers: of the run and of the probe together. None where no question was asked in all rotations."""
    groups: dict[int, list[tuple[Answer, Judged]]] = {}
    for answer, one in zip(answers, judged, strict=True):
        groups.setdefault(answer.truth["index"] % ROTATION, []).append((answer, one))
    whole = [group for group in groups.values() if len(group) == len(group[0][0].truth["options"]) > 1]
    if not whole:
        return None
    right = [all(one.worth == 1 for _, one in group) for group in whole]
    texts = [{answer.truth["options"].get(one.said, one.said) for answer, one in group} for group in whole]
    published, others = [], []
    for group in whole:
        by_turn = {answer.truth["index"] // ROTATION: one.worth for answer, one in group}
        published.append(by_turn.pop(0, 0.0))
        others.append(float(np.mean(list(by_turn.values()))))
    gain = clustered_mean(np.subtract(published, others), [group[0][0].cluster for group in whole])
    low, high = gain.interval or (None, None)
    circular = wilson(sum(right), len(whole))
    read = Counter(one.said for group in whole for _, one in group if one.said)
    true = Counter(answer.truth["answer"] for group in whole for answer, _ in group)
    return Rotation(
        questions=len(whole), circular=circular.value, circular_low=circular.low, circular_high=circular.high,
        chance=float(np.mean([(1 / len(group)) ** len(group) for group in whole])),
        mean=float(np.mean([one.worth for group in whole for _, one in group])),
        published=float(np.mean(published)), order_gain=gain.value, order_low=low, order_high=high,
        flips=sum(len(said) > 1 for said in texts) / len(whole), prior=_shares(read), truth=_shares(true),
    )  # fmt: skip


def _shares(counts: Counter[str]) -> dict[str, float]:
    total = sum(counts.values())
    return {letter: counts[letter] / total for letter in sorted(counts)}


ROTATE = Probe("rotate", "with its options in every rotation", rotations)
