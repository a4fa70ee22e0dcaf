"""Replies about scenes -> scores, with intervals and with what chance would reach.

existence, count, position, color are scored as MME does: accuracy over questions and accuracy+ over pictures (both
answers right), in percent, their sum the score of 200. Captions: which of the picture's names were named. Grounding:
the share of first boxes with an intersection over union of at least one half. Short answers (which picture, how many in
both, what a card says): the share that is right.

What chance means: a fair coin for yes and no reaches 50 + 25 = 75 (and always saying yes 50 + 0 = 50); for captions,
the best of all replies that name the same few things for every picture; for grounding, always the mean box; for short
answers, always the most frequent one of their kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.data.records import ANSWER_SUBSETS, BOX_SUBSETS, PAIR_SUBSETS, SEVERAL_SUBSETS, SUBSETS
from sensorium.evaluation.metrics import Estimate, Floats, cluster_bootstrap, ratio, wilson, yes_or_no
from sensorium.evaluation.naming import Names
from sensorium.evaluation.replies import ScenesReply
from sensorium.evaluation.short_answers import best_constant, is_answer, read_answer
from sensorium.grounding import Box, parse_grounded

ENOUGH_OVERLAP = 0.5
CHANCE_OF_QUESTIONS = 75.0
CHANCE_MEANS = {
    "questions": "a fair coin: accuracy 50 + accuracy+ 25",
    "caption": "the best reply that names the same few things for every picture",
    "grounding": "always answering the mean box of the split",
}
ANSWERS_CHANCE_MEANS = {"short answers": "always giving the most frequent answer of their kind"}
SEVERAL = "several"  # all questions about several pictures together


@dataclass(frozen=True)
class QuestionsScore:
    """MME's numbers of one subset. accuracy, accuracy_plus: percent, Wilson; score: their sum, bootstrap over pictures.

    unparsed: replies that say neither yes nor no; yes_share: of the parsed ones (a half when nothing is preferred).
    """

    pictures: int
    accuracy: Estimate
    accuracy_plus: Estimate
    score: Estimate
    unparsed: int
    yes_share: float

    @property
    def headline(self) -> Estimate:
        return self.score


@dataclass(frozen=True)
class CaptionScore:
    """Names found in captions against those that are there, added up over pictures (micro); 0–1.

    precision, hallucinated (1 - precision, as CHAIR's share of objects, arXiv:1809.02156): None when nothing is named.
    """

    pictures: int
    precision: float | None
    recall: float
    f1: Estimate
    hallucinated: float | None

    @property
    def headline(self) -> Estimate:
        return self.f1


@dataclass(frozen=True)
class GroundingScore:
    """share: of first boxes that overlap enough, 0–1, Wilson; unparsed: replies without a box, which count as wrong."""

    pictures: int
    share: Estimate
    mean_iou: float
    unparsed: int

    @property
    def headline(self) -> Estimate:
        return self.share


@dataclass(frozen=True)
class AnswersScore:
    """share: of short answers that are right, 0–1, bootstrap over pictures; unparsed: replies that give none."""

    pictures: int
    questions: int
    share: Estimate
    unparsed: int

    @property
    def headline(self) -> Estimate:
        return self.share


Score = QuestionsScore | CaptionScore | GroundingScore | AnswersScore


@dataclass(frozen=True)
class ScenesScores:
    """All scores of one split; subsets without probes are absent. chance: subset -> what needs no picture at all."""

    split: str
    blind: bool
    scores: dict[str, Score]
    chance: dict[str, float]
    replies: tuple[ScenesReply, ...] = field(default=(), repr=False, compare=False)

    def __getitem__(self, subset: str) -> Score:
        return self.scores[subset]

    def to_json(self) -> dict[str, Any]:
        return {subset: _score_to_json(score) for subset, score in self.scores.items()}


def score_scenes(replies: Sequence[ScenesReply], names: Names, split: str, blind: bool, seed: int = 0) -> ScenesScores:
    """Scores of the replies of one split, whatever their order. seed: of the bootstraps."""
    scores: dict[str, Score] = {}
    chance: dict[str, float] = {}
    for subset in SUBSETS:
        rows = _of(replies, subset)
        if not rows:
            continue
        if subset in PAIR_SUBSETS:
            scores[subset], chance[subset] = score_questions(rows, seed), CHANCE_OF_QUESTIONS
        elif subset == "caption":
            scores[subset], chance[subset] = score_captions(rows, names, seed), caption_chance(rows)
        elif subset in BOX_SUBSETS:
            scores[subset], chance[subset] = score_grounding(rows), grounding_chance(rows)
        else:
            scores[subset], chance[subset] = score_answers(rows, seed), best_constant([row.truth for row in rows])
    if rows := [row for row in replies if row.subset in SEVERAL_SUBSETS]:
        scores[SEVERAL] = score_answers(rows, seed)
        chance[SEVERAL] = sum(chance[row.subset] for row in rows) / len(rows)
    return ScenesScores(split, blind, scores, chance, tuple(replies))


def is_right(reply: ScenesReply, names: Names) -> bool:
    """Whether one reply is right: the answer; for a caption, exactly the names that are there; for a box, enough."""
    if reply.subset == "caption":
        return set(names.find(reply.reply)) == set(reply.truth)
    if reply.subset in BOX_SUBSETS:
        return overlap(reply) >= ENOUGH_OVERLAP
    if reply.subset in ANSWER_SUBSETS:
        return is_answer(reply.reply, reply.truth, reply.subset)
    return yes_or_no(reply.reply) == reply.truth.lower()


def score_questions(replies: Sequence[ScenesReply], seed: int = 0) -> QuestionsScore:
    """Of one subset; a picture's replies share their id up to the slash."""
    labels = [yes_or_no(reply.reply) for reply in replies]
    pictures: dict[str, list[bool]] = {}
    for reply, label in zip(replies, labels, strict=True):
        pictures.setdefault(reply.id.rpartition("/")[0], []).append(label == reply.truth.lower())
    rows = [(sum(right) / len(right), float(all(right))) for right in pictures.values()]
    n_right, n_both = sum(map(sum, pictures.values())), sum(map(all, pictures.values()))
    parsed = len(labels) - labels.count("other")
    return QuestionsScore(
        pictures=len(pictures),
        accuracy=wilson(n_right, len(replies)).scaled(100),
        accuracy_plus=wilson(n_both, len(pictures)).scaled(100),
        score=cluster_bootstrap(rows, lambda means: 100 * means.sum(-1), seed),
        unparsed=len(labels) - parsed,
        yes_share=labels.count("yes") / parsed if parsed else 0.0,
    )


def score_captions(replies: Sequence[ScenesReply], names: Names, seed: int = 0) -> CaptionScore:
    rows = []
    for reply in replies:
        named = set(names.find(reply.reply))
        rows.append((len(named & set(reply.truth)), len(named), len(set(reply.truth))))
    right, n_named, n_true = np.sum(rows, axis=0)
    precision = float(right / n_named) if n_named else None
    return CaptionScore(
        pictures=len(replies),
        precision=precision,
        recall=float(ratio(right, n_true)),
        f1=cluster_bootstrap(rows, _f1, seed),
        hallucinated=None if precision is None else 1 - precision,
    )


def _f1(means: Floats) -> Floats:
    """[..., (right, named, true)] -> 2 right / (named + true), the harmonic mean of precision and recall."""
    return ratio(2 * means[..., 0], means[..., 1] + means[..., 2])


def caption_chance(replies: Sequence[ScenesReply]) -> float:
    """The highest F1 of a constant reply: for each k, that of the k most frequent names."""
    counts = sorted(Counter(name for reply in replies for name in set(reply.truth)).values(), reverse=True)
    named = len(replies) * np.arange(1.0, len(counts) + 1)
    return float(max(ratio(2.0 * np.cumsum(counts), named + sum(counts)), default=0.0))


def score_grounding(replies: Sequence[ScenesReply]) -> GroundingScore:
    overlaps = [overlap(reply) for reply in replies]
    return GroundingScore(
        pictures=len(replies),
        share=wilson(sum(iou >= ENOUGH_OVERLAP for iou in overlaps), len(overlaps)),
        mean_iou=sum(overlaps) / len(overlaps),
        unparsed=sum(not parse_grounded(reply.reply) for reply in replies),
    )


def score_answers(replies: Sequence[ScenesReply], seed: int = 0) -> AnswersScore:
    """Of short answers; questions about one picture are resampled together."""
    pictures: dict[str, list[bool]] = {}
    for reply in replies:
        pictures.setdefault(reply.scene, []).append(is_answer(reply.reply, reply.truth, reply.subset))
    rows = [(float(sum(right)), float(len(right))) for right in pictures.values()]
    return AnswersScore(
        pictures=len(pictures),
        questions=len(replies),
        share=cluster_bootstrap(rows, lambda means: ratio(means[..., 0], means[..., 1]), seed),
        unparsed=sum(not read_answer(reply.reply, reply.subset) for reply in replies),
    )


def overlap(reply: ScenesReply) -> float:
    """Intersection over union of the reply's first box with the true one; 0 without a box."""
    found = parse_grounded(reply.reply)
    return found[0].boxes[0].iou(Box(*reply.truth)) if found else 0.0


def grounding_chance(replies: Sequence[ScenesReply]) -> float:
    """The share that the mean of all true boxes reaches."""
    boxes = [Box(*reply.truth) for reply in replies]
    mean = Box(*(round(sum(values) / len(boxes)) for values in zip(*(box.corners for box in boxes), strict=True)))
    return sum(mean.iou(box) >= ENOUGH_OVERLAP for box in boxes) / len(boxes)


def _of(replies: Sequence[ScenesReply], subset: str) -> list[ScenesReply]:
    return [reply for reply in replies if reply.subset == subset]


def _score_to_json(score: Score) -> dict[str, Any]:
    return {
        key: value.to_json() if isinstance(value, Estimate) else round(value, 4) if isinstance(value, float) else value
        for key, value in score.__dict__.items()
    }
