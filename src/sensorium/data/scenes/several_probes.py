"""Probes about two or three scenes at once: what a model is asked to see whether it can hold one picture to another.

Each kind of question is a subset of its own, with a short answer: yes or no, which picture, or a number. The pictures
are paired, and the questions worded, as in training; only yes and no are always asked for as bare words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.data.records import Probe, Scene
from sensorium.data.scenes.balance import Balance
from sensorium.data.scenes.several import YES_NO, Question, SeveralWriter

# Kind of question -> the subset that measures it.
_SUBSETS = {
    "both": "several_both",
    "color": "several_same",
    "which": "several_which",
    "odd": "several_odd",
    "sum": "several_sum",
    "larger": "several_larger",
    "more": "several_more",
}
_PARTNERS = 6  # tried for each first picture; not every pair offers every question


@dataclass(frozen=True)
class SeveralProber:
    """Writes the probes about several scenes of one split, with the writer of its conversations."""

    writer: SeveralWriter

    def write(self, count: int) -> Iterator[Probe]:
        """For that many first pictures, one after the other: one probe of each kind that partners offer."""
        balance, scenes = Balance(), self.writer.scenes
        for number in range(count):
            rng = np.random.default_rng((self.writer.seed, 8, number))
            first, asked = number % len(scenes), dict[str, Probe]()
            if odd := self.writer.odd(first, rng):
                self._keep(asked, number, *odd, balance)
            for _ in range(_PARTNERS):
                if pair := self.writer.pair(first, rng):
                    self._keep(asked, number, pair, self.writer.ask(pair[0], pair[1], rng, balance), balance)
            yield from (asked[subset] for subset in _SUBSETS.values() if subset in asked)

    def _keep(
        self, asked: dict[str, Probe], number: int, shown: Sequence[Scene], questions: Sequence[Question],
        balance: Balance,
    ) -> None:
        """Those of a kind that this first picture has no probe of yet."""
        for question in questions:
            subset = _SUBSETS.get(question.kind)
            if subset is None or subset in asked:
                continue
            text = question.question
            if question.claim:
                balance.take(question.claim, question.kind)
                text = text.removesuffix(YES_NO) + YES_NO
            scene = self.writer.scenes[number % len(self.writer.scenes)]
            asked[subset] = Probe(
                f"several-{number:06d}-{subset}", scene.id, shown[0].image, subset,
                questions=((text, question.truth),), others=tuple(other.image for other in shown[1:]),
            )  # fmt: skip
