"""How scores become chances, and how several verifiers are put together: learned on held-in scenes, not assumed.

`combination.json` ships with what `benchmarks/correct.py --fit` found: for each verifier and aspect a rising curve from
its score to the chance that the claim is true, and for each verifier a weight with which its log odds count.
"""

from __future__ import annotations

import functools
import json
import math
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sensorium.correction.records import Evidence
from sensorium.errors import SensoriumError

COMBINATION_FILE = Path(__file__).with_name("combination.json")
_EXACT = "oracle"  # says what is so; there is nothing to learn about it
_CERTAIN = 0.999
_MOST_UNLEARNED = 0.96  # a verifier that nothing was learned about is never believed further than this
NOT_SEEN = "existence:none"  # how often what is there goes unseen must be learned; until then nothing is denied by it
_UNSEEN_UNLEARNED = 0.3


class Curve(BaseModel):
    """A rising piecewise linear function: score -> chance, constant beyond its ends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scores: tuple[float, ...] = Field(min_length=1)
    chances: tuple[float, ...] = Field(min_length=1)

    def at(self, score: float) -> float:
        right = bisect_right(self.scores, score)
        if right == 0 or right == len(self.scores):
            return self.chances[0 if right == 0 else -1]
        x1, x2, y1, y2 = *self.scores[right - 1 : right + 1], *self.chances[right - 1 : right + 1]
        return y1 + (y2 - y1) * (score - x1) / (x2 - x1)


class Combination(BaseModel):
    """curves: verifier -> aspect -> Curve. weights: of log odds, else 1. about: what it was fitted on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str = ""
    curves: dict[str, dict[str, Curve]] = Field(default_factory=dict)
    weights: dict[str, float] = Field(default_factory=dict)

    def chance(self, evidence: Evidence) -> float:
        """The chance that a proposition is true by one piece of evidence that has a score.

        An aspect without a curve of its own takes that of the aspect before its last colon.
        """
        assert evidence.score is not None
        if evidence.verifier == _EXACT:
            return min(_CERTAIN, max(1 - _CERTAIN, evidence.score))
        curves, aspect = self.curves.get(evidence.verifier, {}), evidence.aspect
        while aspect:
            if aspect in curves:
                return curves[aspect].at(evidence.score)
            aspect = aspect.rpartition(":")[0]
        if evidence.aspect.startswith(NOT_SEEN):
            return _UNSEEN_UNLEARNED
        return min(_MOST_UNLEARNED, max(1 - _MOST_UNLEARNED, evidence.score))

    def together(self, evidence: Sequence[Evidence]) -> float:
        """The chance by all of it."""
        odds = sum(self.weights.get(one.verifier, 1.0) * log_odds(self.chance(one)) for one in evidence)
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, odds))))


def log_odds(chance: float) -> float:
    chance = min(1 - 1e-6, max(1e-6, chance))
    return math.log(chance / (1 - chance))


@functools.cache
def shipped() -> Combination:
    """What was learned for the embedded verifiers."""
    return load_combination(COMBINATION_FILE)


def load_combination(path: Path) -> Combination:
    """Raises SensoriumError when the file is missing or no combination."""
    try:
        return Combination.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise SensoriumError(path, f"is no combination of verifiers ({str(error).splitlines()[0]}).",
                             "Fit one anew.") from error  # fmt: skip
