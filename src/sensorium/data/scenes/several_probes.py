"""Probes about two or three scenes at once: what a model is asked to see whether it can hold one picture to another.

Each kind of question is a subset of its own, with a short answer: yes or no, which picture, a number, or an order. The
pictures are paired, and the questions worded, as in training; only yes and no are always asked for as bare words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from sensorium.data.records import Probe, Scene
from sensorium.data.scenes.balance import Balance
from sensorium.data.scenes.several import ORDINALS, YES_NO, Question, SeveralWriter

# Kind of question -> the subset that measures it.
_SUBSETS = {
    "both": "several_both",
    "color": "several_same",
    "which": "several_which",
    "odd": "several_odd",
    "sum": "several_sum",
    "larger": "several_larger",
    "more": "several_more",
    "order": "several_order",
}
MOST = 120  # probes of a kind in a split: eight kinds of them take as long to ask as all about single pictures
_AHEAD = 1  # one place in the row, or one order, may be the answer so much more often than another
_PARTNERS = 6  # tried for each first picture; not every pair offers every question


@dataclass(frozen=True)
class SeveralProber:
    """Writes the probes about several scenes of one split, with the writer of its conversations."""

    writer: SeveralWriter

    def write(self) -> Iterator[Probe]:
        """For each scene as the first picture, one probe of each kind that partners offer, until there are enough."""
        balance, said = Balance(), Counter[Hashable]()
        for first in range(len(self.writer.scenes)):
            rng, asked = np.random.default_rng((self.writer.seed, 8, first)), dict[str, Probe]()
            if odd := self.writer.odd(first, rng):
                self._keep(asked, first, *odd, balance, said)
            for _ in range(_PARTNERS):
                if order := self.writer.order(first, rng):
                    self._keep(asked, first, *order, balance, said)
                if pair := self.writer.pair(first, rng):
                    questions = self.writer.ask(pair[0], pair[1], rng, balance)
                    self._keep(asked, first, pair, questions, balance, said)
            for probe in asked.values():
                said.update([probe.subset, (probe.subset, probe.questions[0][1])])
            yield from (asked[subset] for subset in _SUBSETS.values() if subset in asked)

    def _keep(
        self, asked: dict[str, Probe], first: int, shown: Sequence[Scene], questions: Sequence[Question],
        balance: Balance, said: Counter[Hashable],
    ) -> None:
        """Those of a kind that this first picture has no probe of yet, nor the split enough of that answer.

        said: how many probes there are of each subset, and of each subset and answer.
        """
        for question in questions:
            subset = _SUBSETS.get(question.kind)
            if subset is None or subset in asked or said[subset] >= MOST:
                continue
            answers: Sequence[str] = ORDINALS[: len(shown)] if question.truth in ORDINALS else ()
            if question.kind == "order":
                answers = [" ".join(order) for order in permutations(ORDINALS)]
            if any(said[subset, question.truth] > said[subset, other] + _AHEAD for other in answers):
                continue
            if question.kind == "sum" and said[subset, question.truth] >= MOST // 3:  # most sums are of one and one
                continue
            text = question.question
            if question.claim:
                balance.take(question.claim, question.kind)
                text = text.removesuffix(YES_NO) + YES_NO
            scene = self.writer.scenes[first]
            asked[subset] = Probe(
                f"{scene.id}-{subset}", scene.id, shown[0].image, subset,
                questions=((text, question.truth),), others=tuple(other.image for other in shown[1:]),
            )  # fmt: skip
