"""What all evidence says of each claim: supported, refuted, or unknown with the reason.

A thing that is not there takes what is said of it along: its colour is neither right nor wrong. An answer of yes or no
follows from the claims of its question.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sensorium.correction.combination import NOT_SEEN, Combination, log_odds
from sensorium.correction.policy import Policy
from sensorium.correction.records import Claim, Evidence, Verdict, VerdictValue

_NOT_THERE = "the thing itself is not there"


def decide(
    claims: Sequence[Claim], evidence: Iterable[Evidence], combination: Combination, policy: Policy
) -> tuple[Verdict, ...]:
    """One verdict a claim, in the order of the claims."""
    of_claim: dict[str, list[Evidence]] = {}
    for one in evidence:
        of_claim.setdefault(one.claim, []).append(one)
    found: dict[str, Verdict] = {}
    first = [claim for claim in claims if claim.kind == "existence"]
    then = [claim for claim in claims if claim.kind not in ("existence", "answer")]
    for claim in (*first, *then):
        needed = found.get(claim.needs or "")
        if needed is not None and needed.value == "refuted":
            found[claim.id] = Verdict(claim=claim.id, value="unknown", reason=_NOT_THERE)
        else:
            found[claim.id] = _verdict(claim, of_claim.get(claim.id, []), combination, policy)
    for claim in claims:
        if claim.kind == "answer":
            found[claim.id] = _of_answer(claim, [found[part] for part in claim.parts])
    return tuple(found[claim.id] for claim in claims)


def _verdict(claim: Claim, evidence: list[Evidence], combination: Combination, policy: Policy) -> Verdict:
    known = [one for one in evidence if one.score is not None]
    if not known:
        reasons = list(dict.fromkeys(one.reason for one in evidence if one.reason))
        if claim.thing is not None and claim.thing.name is None:
            reasons = ["it is not clear what is meant"]
        return Verdict(claim=claim.id, value="unknown", reason="; ".join(reasons) or "no verifier looks at such claims")
    is_claimed = claim.asserts and claim.span.source == "text"
    chances = [combination.chance(one, is_claimed) for one in known]
    strongest = max(zip(known, chances, strict=True), key=lambda pair: abs(log_odds(pair[1])))[0]
    together = combination.together(known, is_claimed)
    chance = together if claim.asserts else 1 - together
    value: VerdictValue = "unknown"
    reason = f"{strongest.reason} ({strongest.verifier})"
    is_learned = all(combination.has_weighed(one) for one in known)
    if not is_learned and min(chances) <= 1 - policy.support and max(chances) >= policy.support:
        reason = "verifiers disagree: " + "; ".join(f"{one.reason} ({one.verifier})" for one in known)
    elif chance <= policy.risk:
        value = "refuted"
    elif chance >= policy.support and claim.asserts and all(one.aspect.startswith(NOT_SEEN) for one in known):
        reason = f"{reason}, as is much that is there"  # likely by what captions usually say, but not because of a look
    elif chance >= policy.support:
        value = "supported"
    else:
        reason = f"low score: {reason}"
    boxes = next((one.boxes for one in (strongest, *known) if one.boxes), ())
    return Verdict(claim=claim.id, value=value, reason=reason, probability=round(chance, 4),
                   observed=strongest.observed, boxes=boxes)  # fmt: skip


def _of_answer(claim: Claim, parts: list[Verdict]) -> Verdict:
    """Yes is right where all parts are, and wrong where one of them is; No the other way round."""
    values = {part.value for part in parts}
    truth = "refuted" if "refuted" in values else "supported" if values == {"supported"} else "unknown"
    if truth == "unknown":
        reasons = dict.fromkeys(part.reason for part in parts if part.value == "unknown")
        return Verdict(claim=claim.id, value="unknown", reason="; ".join(reasons) or "nothing to look for")
    value: VerdictValue = "supported" if (truth == "supported") == (claim.value == "yes") else "refuted"
    deciding = [part for part in parts if part.value == truth]
    chance = min((part.probability for part in deciding if part.probability is not None), default=None)
    if chance is not None and claim.value == "no":
        chance = round(1 - chance, 4)
    return Verdict(claim=claim.id, value=value, reason=deciding[0].reason, probability=chance,
                   boxes=deciding[0].boxes)  # fmt: skip
