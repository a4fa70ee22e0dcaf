"""Descriptions of our own scenes, scored as CHAIR and as AMBER score: which things are named that are not there?

Both need to know which words mean which thing. CHAIR's table and AMBER's lists are of COCO's and AMBER's pictures;
here it is our vocabulary, with its synonyms, plurals and the names that may be said of one another (a duck is a bird):
these AMBER takes for right and CHAIR does not. AMBER's list of what a model may imagine is, of each picture, the names
that most often stand beside those in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from random import Random

from sensorium.evaluation.benchmarks.base import Answer, Benchmark, Judged, Question
from sensorium.evaluation.benchmarks.layouts import Data
from sensorium.evaluation.benchmarks.scenes_truth import Absent, by_split, shows, vocabulary
from sensorium.evaluation.naming import Names
from sensorium.evaluation.scorers import amber, chair
from sensorium.evaluation.scorers.outcome import Outcome

IMAGINED = 3  # names of a picture's list of what may be imagined
_PROMPTS = {
    "sensorium": "Describe the picture.",
    "amber": "Describe this image.",
    "chair": "Please describe this image in detail.",
}


def read(data: Data, prompt: str) -> Iterator[Question]:
    for split in data.scene_splits:
        absent = Absent(data.scenes.scenes(split, "plain"))
        for probe in data.scenes.probes(split, "caption"):
            names, imagined = list(probe.objects), list[str]()
            for i in range(IMAGINED):
                beside = names[i % len(names)] if names else ""
                likely = absent.pick("adversarial", beside, names, imagined, Random(f"{probe.id} {i}"))
                imagined += [likely] if likely else []
            picture = f"{split}/{probe.scene}"
            yield Question(f"{split}/{probe.id}", picture, split, _PROMPTS[prompt],
                           {"names": names, "imagined": imagined, "split": split}, shows(probe.image),
                           f"{split}/probes.jsonl {probe.id}")  # fmt: skip


def score(answers: Sequence[Answer], variant: str) -> Outcome:
    return by_split("scenes-caption", answers, variant, _score)


def _score(answers: Sequence[Answer], variant: str) -> Outcome:
    """CHAIR's numbers under their names, AMBER's under `amber`, all in percent."""
    names = _names(answers)
    said = [chair.ChairReply(frozenset(one.truth["names"]), one.reply) for one in answers]
    outcome = chair.score(said, names, variant)
    known = {**{entry.name: entry.like for entry in vocabulary().entries},
             **{name: () for one in answers for name in one.truth["names"] if name not in vocabulary()}}  # fmt: skip
    described = amber.score([
        amber.AmberReply(amber.GENERATIVE, tuple(one.truth["names"]), one.reply, tuple(one.truth["imagined"]),
                         tuple(names.mentions(one.reply)))
        for one in answers
    ], amber.Associations(known))  # fmt: skip
    return Outcome(
        "scenes-caption", variant, {**outcome.values, "amber": described.values["generative"]},
        {**outcome.intervals, "amber": described.intervals["generative"]}, outcome.notes,
    )  # fmt: skip


def judge(answers: Sequence[Answer], variant: str) -> list[Judged]:
    """The harmonic mean of which names are right and which are there."""
    names = _names(answers)
    judged = []
    for one in answers:
        named, true = set(names.find(one.reply)), set(one.truth["names"])
        worth = 2 * len(named & true) / (len(named) + len(true)) if named or true else 1.0
        judged.append(Judged(worth, one.reply, False))
    return judged


def _names(answers: Sequence[Answer]) -> Names:
    """Our vocabulary, and what else the pictures are said to show."""
    return _of(frozenset(name for one in answers for name in one.truth["names"] if name not in vocabulary()))


@cache
def _of(others: frozenset[str]) -> Names:
    return Names((*vocabulary().names, *sorted(others)), vocabulary())


SCENES_CAPTION = Benchmark(
    "scenes-caption", "scenes described (CHAIR, AMBER)", tuple(_PROMPTS), chair.VARIANTS, 128, read, score, judge
)
