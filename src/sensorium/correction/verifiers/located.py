"""Evidence from boxes: whether a thing is there, how many of it, and where.

Each rule leaves a margin in which it says nothing: a thing near the middle is neither left nor right, a thing found by
half neither there nor missing.
"""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.correction.memo import Meter
from sensorium.correction.picture import Picture
from sensorium.correction.records import Claim, Evidence
from sensorium.correction.verifiers.base import OUTSIDE, Found, Located, Locator
from sensorium.grounding import Box

KINDS = ("existence", "count", "position")
DOUBTFUL = 0.15  # below it a box is taken for nothing
SURE = 0.4  # from it a box is where the thing is
_APART = 150  # thousandths between two centres before one is plainly beside the other
_SIDE_FROM, _SIDE_BEYOND = 450, 640  # a centre below the one is on the left, beyond the other plainly not
_MIDDLE, _OFF_MIDDLE = (350, 650), (250, 750)


class LocatedVerifier:
    """Presence, number and place by one locator."""

    def __init__(self, locator: Locator) -> None:
        self.locator = locator
        self.name, self.version, self.names = locator.name, locator.version, locator.names

    def can(self, claim: Claim) -> bool:
        return claim.kind in KINDS

    def verify(self, picture: Picture, claims: Sequence[Claim], meter: Meter) -> list[Evidence]:
        return [self._verify(picture, claim, meter) for claim in claims]

    def _verify(self, picture: Picture, claim: Claim, meter: Meter) -> Evidence:
        thing = claim.thing
        if thing is None or thing.name is None:
            return self._unknown(claim, OUTSIDE)
        located = self.locator.locate(picture, thing.name, meter)
        if located.reason:
            return self._unknown(claim, located.reason)
        if claim.kind == "existence":
            return self._existence(claim, located)
        if claim.kind == "count":
            return self._count(claim, located)
        if claim.other is None:
            return self._place(claim, located)
        if claim.other.name is None:
            return self._unknown(claim, OUTSIDE)
        other = self.locator.locate(picture, claim.other.name, meter)
        return self._unknown(claim, other.reason) if other.reason else self._relation(claim, located, other)

    def _existence(self, claim: Claim, located: Located) -> Evidence:
        best = max((found.score for found in located.found), default=0.0)
        if best < DOUBTFUL:
            if located.fit == "family":
                return self._unknown(claim, "none of its kinds was seen, but not all kinds are known")
            return self._evidence(claim, 0.0, f"existence:none:{located.label}", "not found", [])
        reason = "found" if best >= SURE else "found with a low score"
        # That a bird is there says less of a swan than of a bird.
        how = "narrower" if located.fit == "narrower" else "found"
        return self._evidence(claim, best, f"existence:{how}:{located.label}", reason, located.found)

    def _count(self, claim: Claim, located: Located) -> Evidence:
        if located.fit == "family":
            return self._unknown(claim, "not all kinds of it are known, so they cannot be counted")
        claimed = int(claim.value.rstrip("+"))
        chances = number_chances([found.score for found in located.found])
        observed = max(range(len(chances)), key=chances.__getitem__)
        at_least = claim.value.endswith("+") or located.fit == "narrower"
        score = sum(chances[claimed:]) if at_least else sum(chances[claimed : claimed + 1])
        is_right = claimed == observed or (at_least and claimed < observed)
        order = "equal" if is_right else "more" if claimed > observed else "fewer"
        reason = f"{observed} found"
        return self._evidence(claim, min(1.0, score), f"count:{order}", reason, located.found, str(observed))

    def _place(self, claim: Claim, located: Located) -> Evidence:
        boxes = sure(located)
        if not boxes:
            return self._unknown(claim, "the thing was not found, so neither was its place")
        said = [is_at(found.box, claim.value) for found in boxes]
        return self._decided(claim, said, boxes, place_of(boxes[0].box, claim.value) if len(boxes) == 1 else None)

    def _relation(self, claim: Claim, located: Located, other: Located) -> Evidence:
        ours, theirs = sure(located), sure(other)
        if not ours or not theirs:
            return self._unknown(claim, "one of the two was not found, so neither was their place")
        pairs = [(a, b) for a in ours for b in theirs if a.box != b.box]
        said = [is_beside(a.box, b.box, claim.value) for a, b in pairs]
        observed = None
        if len(pairs) == 1:
            observed = relation_of(pairs[0][0].box, pairs[0][1].box, claim.value)
        return self._decided(claim, said, [found for pair in pairs[:1] for found in pair], observed)

    def _decided(
        self, claim: Claim, said: list[bool | None], boxes: Sequence[Found], observed: str | None
    ) -> Evidence:
        """True of one is enough; false only where it is plainly false of all."""
        certainty = min((found.score for found in boxes), default=0.0)
        if True in said:
            return self._evidence(claim, certainty, "position", "its box lies there", boxes, claim.value)
        if said and all(one is False for one in said):
            return self._evidence(claim, 1 - certainty, "position", "its box lies elsewhere", boxes, observed)
        return self._unknown(claim, "too near the border to tell")

    def _unknown(self, claim: Claim, reason: str) -> Evidence:
        return Evidence(claim=claim.id, verifier=self.name, version=self.version, score=None, reason=reason)

    def _evidence(
        self, claim: Claim, score: float, aspect: str, reason: str, found: Sequence[Found], observed: str | None = None
    ) -> Evidence:
        shown = [one for one in found if one.score >= min(SURE, max((f.score for f in found), default=0))]
        return Evidence(
            claim=claim.id, verifier=self.name, version=self.version, score=round(score, 4), aspect=aspect,
            reason=reason, observed=observed, boxes=tuple(one.box for one in shown),
            box_scores=tuple(round(one.score, 3) for one in shown),
        )  # fmt: skip


def sure(located: Located) -> list[Found]:
    """The boxes that are good enough to ask where they are."""
    return [found for found in located.found if found.score >= SURE]


def number_chances(scores: Sequence[float]) -> list[float]:
    """Chance of 0, 1, 2, … things where each box holds one with its score as chance, one apart from another."""
    chances = [1.0]
    for score in scores:
        if score < DOUBTFUL:
            continue
        chances = [
            (chances[n] if n < len(chances) else 0.0) * (1 - score) + (chances[n - 1] * score if n else 0.0)
            for n in range(len(chances) + 1)
        ]
    return chances


def is_at(box: Box, side: str) -> bool | None:
    """Whether a box lies on a side of the picture, None near the border."""
    x, y = (box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2
    if side == "middle":
        if all(_MIDDLE[0] <= value <= _MIDDLE[1] for value in (x, y)):
            return True
        return False if any(not _OFF_MIDDLE[0] <= value <= _OFF_MIDDLE[1] for value in (x, y)) else None
    value = {"left": x, "right": 1000 - x, "top": y, "bottom": 1000 - y}[side]
    return True if value <= _SIDE_FROM else False if value >= _SIDE_BEYOND else None


def place_of(box: Box, instead_of: str) -> str | None:
    """The side that a box is on, along the direction of a side that it is not on."""
    x, y = (box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2
    across = "left" if x < 360 else "right" if x > 640 else None
    down = "top" if y < 360 else "bottom" if y > 640 else None
    if instead_of in ("left", "right"):
        return across
    return down if instead_of in ("top", "bottom") else across or down


def is_beside(a: Box, b: Box, relation: str) -> bool | None:
    """Whether `a` is left of, right of, above, below or inside `b`, None where it is not plain."""
    if relation == "inside":
        width = min(a.x2, b.x2) - max(a.x1, b.x1) + 1
        height = min(a.y2, b.y2) - max(a.y1, b.y1) + 1
        inside = max(0, width) * max(0, height) / a.area
        return True if inside >= 0.8 else False if inside == 0 else None
    ax, ay, bx, by = (a.x1 + a.x2) / 2, (a.y1 + a.y2) / 2, (b.x1 + b.x2) / 2, (b.y1 + b.y2) / 2
    offset = {"left": bx - ax, "right": ax - bx, "above": by - ay, "below": ay - by}[relation]
    return True if offset >= _APART else False if offset <= -_APART else None


def relation_of(a: Box, b: Box, instead_of: str) -> str | None:
    """Where `a` is, seen from `b`, along the direction of a relation that does not hold."""
    pairs = {"left": "right", "right": "left", "above": "below", "below": "above"}
    candidates = [pairs[instead_of]] if instead_of in pairs else list(pairs)
    return next((relation for relation in candidates if is_beside(a, b, relation)), None)
