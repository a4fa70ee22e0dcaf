"""Existence, count, position and colour in MME's form, asked about our own scenes: no licence, no download.

The questions are the probes that `sensorium evaluate scenes` asks as well, so that the same replies get the same score
of 200 from both; here with MME's prompts and rules of every harness.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sensorium.data.records import QUESTION_SUBSETS
from sensorium.evaluation.benchmarks import mme
from sensorium.evaluation.benchmarks.base import Answer, Benchmark, Question
from sensorium.evaluation.benchmarks.layouts import Data
from sensorium.evaluation.benchmarks.scenes_truth import by_split, shows
from sensorium.evaluation.scorers import mme as scorer
from sensorium.evaluation.scorers.outcome import Outcome


def read(data: Data, prompt: str) -> Iterator[Question]:
    for split in data.scene_splits:
        for probe in data.scenes.probes(split):
            if probe.subset not in QUESTION_SUBSETS:
                continue
            pair, where = f"{split}/{probe.id}", f"{data.path / split / 'probes.jsonl'} {probe.id}"
            for turn, (question, answer) in enumerate(probe.questions):
                truth = {"answer": answer.lower(), "question": question, "split": split}
                yield Question(
                    f"{pair}/{turn}", pair, probe.subset, mme.asked(question, prompt), truth, shows(probe.image), where
                )


def score(answers: Sequence[Answer], variant: str) -> Outcome:
    """As MME; `splits`: each by itself where there are several."""
    return by_split("scenes-mme", answers, variant, _score)


def _score(answers: Sequence[Answer], variant: str) -> Outcome:
    replies, lost = mme.in_pairs(answers)
    outcome = scorer.score(replies, variant)
    values = {name: value for name, value in outcome.values.items() if value is not None}  # no cognition here
    return Outcome("scenes-mme", variant, values, outcome.intervals, lost)


# Eight tokens: who has not said yes or no by then will not; and the same replies as those of `evaluate scenes`.
SCENES_MME = Benchmark(
    "scenes-mme", "scenes in MME's form", mme.MME.prompts, mme.MME.variants, 8, read, score, mme.judge
)
