"""Any engine as a verifier: it is asked each claim as a question, by the odds of Yes against No.

What it would say without looking is taken away: the same question about a grey picture of the same size. An engine
that cannot be reached leaves its claims unknown; it is not tried again for the same picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sensorium.conversation import Conversation, Image, user
from sensorium.correction.memo import Meter
from sensorium.correction.picture import Picture
from sensorium.correction.records import Claim, Evidence
from sensorium.correction.verifiers.one_by_one import one_by_one
from sensorium.engine import Engine

_CANDIDATES = ("Yes", "No")


class Asked:
    """Yes or no by an engine, blind bias taken away."""

    name = "asked"
    names: frozenset[str] = frozenset()

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.version = "-".join((engine.card.name, *engine.card.ways, "1"))
        self._blind: dict[tuple[str, tuple[int, int]], float] = {}

    def can(self, claim: Claim) -> bool:
        return claim.kind != "answer"

    def verify(self, picture: Picture, claims: Sequence[Claim], meter: Meter) -> list[Evidence]:
        def ask(claim: Claim, question: str) -> Evidence:
            odds = self._odds(picture.image, question, meter) - self._bias(picture, question, meter)
            return self._said(claim, 1 / (1 + math.exp(-max(-30.0, min(30.0, odds)))), f"asked: {question}")

        return one_by_one(claims, meter, ask, lambda claim, reason: self._said(claim, None, reason))

    def _odds(self, image: Image, question: str, meter: Meter) -> float:
        """log P(Yes) - log P(No)."""
        meter.count(self.name)
        yes, no = self.engine.score(Conversation((user(image, question),)), _CANDIDATES)
        return yes - no

    def _bias(self, picture: Picture, question: str, meter: Meter) -> float:
        key = (question, picture.size)
        if key not in self._blind:
            self._blind[key] = self._odds(picture.blank(), question, meter)
        return self._blind[key]

    def _said(self, claim: Claim, score: float | None, reason: str) -> Evidence:
        return Evidence(
            claim=claim.id, verifier=self.name, version=self.version, score=None if score is None else round(score, 4),
            aspect="" if score is None else claim.kind, reason=reason,
        )  # fmt: skip
