"""Learn how far verifiers are to be believed: a rising curve from score to chance for each aspect, a weight for each.

The curve is isotonic regression (pool adjacent violators; Zadrozny and Elkan, 2002) of "the claim was true" on the
score, drawn towards the mean of its aspect so that few examples do not become certainty. What the absence of boxes
means differs by class, since a detector misses some far more often: `existence:none:cat` is what is left of the odds of
any claim of presence when a cat is not seen, by how often cats that are there are missed. How often cats are spoken of
does not count: an absence must never speak for a presence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sensorium.correction.combination import Combination, Curve, log_odds, witness
from sensorium.correction.records import Evidence

_PULL = 4.0  # examples of the mean added to every step of a curve
_CLASS_PULL = 12.0  # and to a class of which few absences were seen
_LEAST = 20  # examples below which an aspect gets no curve
_STEPS = 400  # passes of gradient descent for the weights; there are a handful


@dataclass(frozen=True)
class Example:
    """Evidence and whether its claim was true. group: the caption it comes from."""

    group: str
    evidence: Evidence
    is_true: bool


def fit(examples: Iterable[Example], about: str) -> Combination:
    """Curves for every verifier and aspect of which enough was seen, and weights where several speak of one claim."""
    known = [example for example in examples if example.evidence.score is not None]
    pairs: dict[tuple[str, str], list[tuple[float, bool]]] = defaultdict(list)
    for example in known:
        one, aspect = example.evidence, example.evidence.aspect
        while aspect:
            pairs[witness(one), aspect].append((one.score or 0.0, example.is_true))
            aspect = aspect.rpartition(":")[0]
    curves: dict[str, dict[str, Curve]] = defaultdict(dict)
    for (verifier, aspect), seen in sorted(pairs.items()):
        if aspect.startswith("existence:none"):
            chance = _unseen(pairs, verifier, aspect)
            curves[verifier][aspect] = Curve(scores=(0.0,), chances=(round(chance, 4),))
        elif aspect.startswith(("existence:found", "existence:narrower:")):
            continue  # of all classes together: a box of one class is worth what a box of another is
        elif aspect.startswith("existence"):
            found = [(score, is_true) for score, is_true in seen if score > 0]
            if _is_enough(found):
                curves[verifier][aspect] = isotonic(found)
        elif _is_enough(seen):
            curves[verifier][aspect] = isotonic(seen)
    priors: dict[str, dict[str, float]] = defaultdict(dict)
    for verifier, kind in {(witness(e.evidence), e.evidence.aspect.partition(":")[0]) for e in known}:
        priors[verifier][kind] = round(_prior([is_true for _, is_true in pairs[verifier, kind]]), 4)
    fitted = Combination(about=about, curves=dict(curves), priors={name: priors[name] for name in sorted(priors)})
    return fitted.model_copy(update={"weights": _weights(known, fitted)})


def _is_enough(seen: list[tuple[float, bool]]) -> bool:
    """To learn from: many, and not all of them true or false."""
    return len(seen) >= _LEAST and 0 < sum(is_true for _, is_true in seen) < len(seen)


def _prior(truths: list[bool]) -> float:
    """The share of true ones, with one more of each kind."""
    return (sum(truths) + 1) / (len(truths) + 2)


def _unseen(pairs: dict[tuple[str, str], list[tuple[float, bool]]], verifier: str, aspect: str) -> float:
    """The chance of a claim of presence when nothing was seen: prior odds times P(unseen | there) / P(unseen | not).

    Both shares of a class are drawn towards those of all classes.
    """
    everything = [is_true for _, is_true in pairs[verifier, "existence"]]
    unseen = [is_true for _, is_true in pairs[verifier, "existence:none"]]
    missed = _share(sum(unseen), sum(everything), 0.5, 2)
    passed = _share(len(unseen) - sum(unseen), len(everything) - sum(everything), 0.5, 2)
    name = aspect.removeprefix("existence:none").removeprefix(":")
    if name:
        found = (f"existence:{how}:{name}" for how in ("none", "found", "narrower"))
        here = [is_true for aspect_of_class in found for _, is_true in pairs[verifier, aspect_of_class]]
        not_seen = [is_true for _, is_true in pairs[verifier, aspect]]
        missed = _share(sum(not_seen), sum(here), missed, _CLASS_PULL)
        passed = _share(len(not_seen) - sum(not_seen), len(here) - sum(here), passed, _CLASS_PULL)
    odds = log_odds(_prior(everything)) + min(0.0, float(np.log(missed / passed)))
    return float(1 / (1 + np.exp(-odds)))


def _share(part: int, whole: int, of_all: float, pull: float) -> float:
    return (part + pull * of_all) / (whole + pull)


def isotonic(pairs: list[tuple[float, bool]]) -> Curve:
    """The rising step function of least squares through (score, truth), at the middles of its steps."""
    rate = float(np.mean([is_true for _, is_true in pairs]))
    of_score: dict[float, list[bool]] = defaultdict(list)
    for score, is_true in pairs:
        of_score[score].append(is_true)
    blocks: list[list[float]] = []  # of [sum of truths, number, sum of scores]
    for score, truths in sorted(of_score.items()):
        blocks.append([float(sum(truths)), float(len(truths)), score * len(truths)])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    scores = [block[2] / block[1] for block in blocks]
    chances = [(block[0] + _PULL * rate) / (block[1] + _PULL) for block in blocks]
    chances = list(np.maximum.accumulate(chances))  # drawing a small step to the mean may have crossed its neighbour
    return Curve(scores=tuple(round(s, 4) for s in scores), chances=tuple(round(float(c), 4) for c in chances))


def _weights(examples: list[Example], fitted: Combination) -> dict[str, float]:
    """Weights of log odds by logistic regression on claims that more than one verifier speaks of; 1 for the others."""
    of_claim: dict[tuple[str, str], list[Example]] = defaultdict(list)
    for example in examples:
        of_claim[example.group, example.evidence.claim].append(example)
    several = [group for group in of_claim.values() if len({witness(e.evidence) for e in group}) > 1]
    if len(several) < _LEAST:
        return {}
    names = sorted({witness(example.evidence) for group in several for example in group})
    odds = np.zeros((len(several), len(names)))
    for row, group in enumerate(several):
        for example in group:
            odds[row, names.index(witness(example.evidence))] = log_odds(fitted.chance(example.evidence))
    truth = np.array([group[0].is_true for group in several], dtype=float)
    weights = np.ones(len(names))
    for _ in range(_STEPS):
        wrong = 1 / (1 + np.exp(-np.clip(odds @ weights, -30, 30))) - truth
        weights -= 0.05 * (odds.T @ wrong / len(several) + 0.01 * (weights - 1))
    return {name: round(float(max(0.0, weight)), 3) for name, weight in zip(names, weights, strict=True)}
