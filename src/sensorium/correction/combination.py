"""How scores become chances, and how several verifiers are put together: learned on held-in scenes, not assumed.

`combination.json` ships with what `benchmarks/correct.py --fit` found: for each verifier and aspect a rising curve from
its score to the chance that the claim is true, and for each verifier a weight with which its log odds count. A verifier
that asks an engine is only as good as that engine, so what was learned of it holds for that engine alone.

Nearly all that captions claim is true, so a curve that was learned on them says "most likely true" of evidence that
says nothing. Of a question nothing is claimed yet: there, and of denials, the share of true claims is taken out of the
odds again (`priors`), so that only the evidence speaks.
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
_ASKS_AN_ENGINE = ("asked", "judge")
_EXACT = "oracle"  # says what is so; there is nothing to learn about it
_CERTAIN = 0.999
_MOST_UNLEARNED = 0.96  # a verifier that nothing was learned about is never believed further than this
NOT_SEEN = "existence:none"  # how often what is there goes unseen must be learned; until then nothing is denied by it
_UNSEEN_UNLEARNED = 0.3
_OF_A_KIND = "existence:narrower"  # a bird was seen: whether it is a swan is another question


def witness(evidence: Evidence) -> str:
    """Of whom something is learned: the verifier, and where it asks an engine, the engine with it."""
    asks = evidence.verifier in _ASKS_AN_ENGINE
    return f"{evidence.verifier}:{evidence.version}" if asks else evidence.verifier


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
    """curves: witness -> aspect -> Curve. weights: witness -> weight of its log odds, else 1. priors: witness -> kind
    of claim -> the share of true claims among those that its curves were fitted on. about: what they were."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str = ""
    curves: dict[str, dict[str, Curve]] = Field(default_factory=dict)
    weights: dict[str, float] = Field(default_factory=dict)
    priors: dict[str, dict[str, float]] = Field(default_factory=dict)

    def chance(self, evidence: Evidence, is_claimed: bool = True) -> float:
        """The chance that a proposition is true by one piece of evidence that has a score.

        An aspect without a curve of its own takes that of the aspect before its last colon. is_claimed: False where
        nobody says that it is true, so that without evidence it is as likely as not.
        """
        assert evidence.score is not None
        if evidence.verifier == _EXACT:
            return min(_CERTAIN, max(1 - _CERTAIN, evidence.score))
        curves, aspect = self.curves.get(witness(evidence), {}), evidence.aspect
        while aspect:
            if aspect in curves:
                chance = curves[aspect].at(evidence.score)
                return chance if is_claimed else self._even(evidence, chance)
            aspect = aspect.rpartition(":")[0]
        if evidence.aspect.startswith(NOT_SEEN):
            return _UNSEEN_UNLEARNED
        return min(_MOST_UNLEARNED, max(1 - _MOST_UNLEARNED, evidence.score))

    def together(self, evidence: Sequence[Evidence], is_claimed: bool = True) -> float:
        """The chance by all of it."""
        odds = sum(self.weights.get(witness(one), 1.0) * log_odds(self.chance(one, is_claimed)) for one in evidence)
        return _chance(odds)

    def has_weighed(self, evidence: Evidence) -> bool:
        """Whether it was learned how much its witness counts beside others."""
        return witness(evidence) in self.weights

    def with_more(self, learned: Combination) -> Combination:
        """Of whom `learned` knows, what it knows; of the others, what is known here."""
        return Combination(about="; ".join(filter(None, (self.about, learned.about))),
                           curves={**self.curves, **learned.curves}, weights={**self.weights, **learned.weights},
                           priors={**self.priors, **learned.priors})  # fmt: skip

    def _even(self, evidence: Evidence, chance: float) -> float:
        prior = self.priors.get(witness(evidence), {}).get(evidence.aspect.partition(":")[0])
        even = chance if prior is None else _chance(log_odds(chance) - log_odds(prior))
        return min(even, 0.5) if evidence.aspect.startswith(_OF_A_KIND) else even


def _chance(odds: float) -> float:
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
