"""What a way to answer gains and loses against plain answers, question by question.

Harm is counted beside help: of what was right, how much is not any more; of what was wrong, how much was mended. A
method that says no to everything mends all false yeses. Of a description, what is counted are the things that it names.
Every share has an interval that knows which questions are about one picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks import BENCHMARKS, Answer, Judged
from sensorium.evaluation.benchmarks.scenes_truth import vocabulary
from sensorium.evaluation.intervals import Clusters
from sensorium.evaluation.naming import Names
from sensorium.evaluation.statistics.clustered import clustered_mean
from sensorium.evaluation.statistics.paired import Difference, difference

PAIRED = ("mme", "scenes-mme")  # two questions a picture, scored of 200
DESCRIBED = ("scenes-caption",)
YES_NO = ("mme", "scenes-mme", "pope", "scenes-pope")
_DENIED = re.compile(r"\bthere (?:is|are) no\b[^.!?]*", re.IGNORECASE)


@dataclass(frozen=True)
class Share:
    """0-1 with its 95 % interval; None where there is nothing to take a share of."""

    value: float | None
    low: float
    high: float
    of: int

    @classmethod
    def over(cls, found: Iterable[tuple[str, bool]]) -> Share:
        """found: (cluster, whether it counts) of each thing that might."""
        clusters, n = Clusters(), 0
        for cluster, counts in found:
            clusters.add(cluster, float(counts), 1.0)
            n += 1
        return cls(clusters.mean if n else None, *clusters.mean_interval(), n)

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "low": self.low, "high": self.high, "of": self.of}


@dataclass(frozen=True)
class Gain:
    """One task.

    score: of 200 for pairs of questions, else percent (right answers; of descriptions, F1 of the names told); interval:
    its 95 %. change: of the score against plain answers. fixed: of wrong answers, or names
    that are not there, those put right or left out; harmed: of right ones those made wrong or lost. coverage: replies
    in which an answer, or any name, is read; recall: of the truths that are yes, or things that are there, those told.
    false: of the names told, those that are not there (CHAIR's i, but for names in a denial, which CHAIR takes for told
    all the same); words: of a reply.
    """

    task: str
    score: float
    interval: tuple[float, float] | None
    change: Difference
    fixed: Share
    harmed: Share
    coverage: Share
    recall: Share
    false: Share
    words: float

    @property
    def falls(self) -> bool:
        """Whether the score is lower than that of plain answers by more than chance explains."""
        interval = self.change.mean.interval
        return interval is not None and interval[1] < 0

    def to_json(self) -> dict[str, Any]:
        change = {"value": self.change.mean.value, "interval": self.change.mean.interval, "p": self.change.p}
        shares = {name: getattr(self, name).to_json() for name in ("fixed", "harmed", "coverage", "recall", "false")}
        return {"task": self.task, "score": self.score, "interval": self.interval, "change": change,
                "falls": self.falls, **shares, "words": self.words}  # fmt: skip


def gains(benchmark: str, plain: Sequence[Answer], answers: Sequence[Answer]) -> list[Gain]:
    """Task by task. plain: what is compared against; the same answers give the table of these alone.

    Raises SensoriumError for a benchmark whose answers are neither yes and no nor descriptions, and for answers to
    other questions.
    """
    if benchmark not in (*YES_NO, *DESCRIBED):
        raise SensoriumError(benchmark, "is not compared by methods.", f"Choose {', '.join((*YES_NO, *DESCRIBED))}.")
    before = {answer.id: answer for answer in plain}
    common = [answer for answer in answers if answer.id in before]
    if len(common) != len(before) or len(common) != len(answers):
        raise SensoriumError(benchmark, f"has {len(answers)} answers, of which {len(common)} are to the {len(before)} "
                             "questions that were answered plainly.", "Run the command again to ask what is missing.")
    found = []
    for task in dict.fromkeys(answer.task for answer in answers):
        ours = [answer for answer in answers if answer.task == task]
        found.append(_gain(benchmark, task, [before[answer.id] for answer in ours], ours))
    return found


def _gain(benchmark: str, task: str, plain: Sequence[Answer], ours: Sequence[Answer]) -> Gain:
    judge = BENCHMARKS[benchmark].judge
    variant = BENCHMARKS[benchmark].known_variant(None, BENCHMARKS[benchmark].prompts[0])
    was, now = judge(plain, variant), judge(ours, variant)
    units, scores = _scores(benchmark, ours, now)
    _, scores_before = _scores(benchmark, plain, was)
    mean = clustered_mean(scores, units)
    change = difference(scores_before, scores, units, are_binary=False)
    shares = _of_names(plain, ours) if benchmark in DESCRIBED else _of_answers(plain, was, ours, now)
    words = sum(len(answer.reply.split()) for answer in ours) / len(ours)
    return Gain(task, mean.value, mean.interval, change, **shares, words=words)


def _scores(benchmark: str, answers: Sequence[Answer], judged: Sequence[Judged]) -> tuple[list[str], list[float]]:
    """(clusters, scores): of a picture's pair of questions together where both must be right, else of each question."""
    if benchmark not in PAIRED:
        return [answer.cluster for answer in answers], [100 * one.worth for one in judged]
    pairs: dict[str, list[float]] = {}
    for answer, one in zip(answers, judged, strict=True):
        pairs.setdefault(answer.cluster, []).append(one.worth)
    return list(pairs), [100 * sum(pair) / len(pair) + 100 * all(worth == 1 for worth in pair)
                         for pair in pairs.values()]  # fmt: skip


def _of_answers(
    plain: Sequence[Answer], was: Sequence[Judged], ours: Sequence[Answer], now: Sequence[Judged]
) -> Mapping[str, Share]:
    rows = list(zip(ours, was, now, strict=True))
    return {
        "fixed": Share.over((a.cluster, after.worth == 1) for a, before, after in rows if before.worth == 0),
        "harmed": Share.over((a.cluster, after.worth == 0) for a, before, after in rows if before.worth == 1),
        "coverage": Share.over((a.cluster, bool(after.said)) for a, _, after in rows),
        "recall": Share.over((a.cluster, after.worth == 1) for a, _, after in rows if a.truth["answer"] == "yes"),
        "false": Share.over(()),
    }


def _of_names(plain: Sequence[Answer], ours: Sequence[Answer]) -> Mapping[str, Share]:
    others = {name for answer in ours for name in answer.truth["names"] if name not in vocabulary()}
    names = Names((*vocabulary().names, *sorted(others)), vocabulary())
    told = [(a, set(a.truth["names"]), set(names.find(_DENIED.sub("", b.reply))),
             names.mentions(_DENIED.sub("", a.reply))) for b, a in zip(plain, ours, strict=True)]  # fmt: skip
    return {
        "fixed": Share.over((a.cluster, n not in now) for a, true, was, now in told for n in sorted(was - true)),
        "harmed": Share.over((a.cluster, n not in now) for a, true, was, now in told for n in sorted(was & true)),
        "coverage": Share.over((a.cluster, bool(now)) for a, _, _, now in told),
        "recall": Share.over((a.cluster, n in now) for a, true, _, now in told for n in sorted(true)),
        "false": Share.over((a.cluster, n not in true) for a, true, _, now in told for n in now),
    }
