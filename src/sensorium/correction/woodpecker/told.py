"""The report of a run of the protocol: edits from word to word, and what the detector said of things in the text."""

from __future__ import annotations

import re

from sensorium.correction.editors.rewrite import changes
from sensorium.correction.picture import Picture
from sensorium.correction.questions import plural, pose
from sensorium.correction.records import Claim, Cost, Evidence, Span, Thing, Verdict
from sensorium.correction.woodpecker.records import Seen, Stages, WoodpeckerReport
from sensorium.correction.woodpecker.replies import without_boxes


def report_of(
    picture: Picture, text: str, question: str | None, stages: Stages, detector: str, notes: tuple[str, ...], cost: Cost
) -> WoodpeckerReport:
    """The text stays as it is where there is no correction."""
    claims = tuple(claim for n, one in enumerate(stages.seen, start=1) if (claim := _claim(text, one, f"c{n}")))
    by_id = {f"c{n}": one for n, one in enumerate(stages.seen, start=1)}
    grounded = stages.correction if stages.correction is not None else text
    output = without_boxes(grounded)
    denied = tuple(claim.id for claim in claims if not by_id[claim.id].boxes)
    edits = tuple(edit for edit in changes(text, output, denied)) if output != text else ()
    s = len(stages.sentences)
    model = f"the original's cost for {s} sentences: {2 * s + 2} calls of a language model, {s} passes of a detector"
    return WoodpeckerReport(
        picture=picture.digest, text=text, question=question, claims=claims,
        questions=tuple(filter(None, map(pose, claims))),
        evidence=tuple(_evidence(claim, by_id[claim.id], detector) for claim in claims),
        verdicts=tuple(_verdict(claim, by_id[claim.id], detector) for claim in claims),
        edits=edits, output=output, grounded=grounded, stages=stages, notes=(*notes, model), cost=cost,
    )  # fmt: skip


def _claim(text: str, one: Seen, id: str) -> Claim | None:
    """The first place where the text names a thing; None where it uses another word."""
    forms = "|".join(re.escape(form) for form in sorted({one.name, plural(one.name)}, key=len, reverse=True))
    match = re.search(rf"\b(?:{forms})\b", text, re.IGNORECASE)
    if match is None:
        return None
    span = Span(start=match.start(), end=match.end())
    thing = Thing(name=one.name, span=span, head=span, is_plural=match[0].lower() != one.name)
    return Claim(id=id, kind="existence", span=span, thing=thing)


def _evidence(claim: Claim, one: Seen, detector: str) -> Evidence:
    return Evidence(
        claim=claim.id, verifier=detector, version="woodpecker", score=max(one.scores, default=0.0), aspect="existence",
        reason=_reason(one), observed=str(len(one.boxes)), boxes=one.boxes, box_scores=one.scores,
    )  # fmt: skip


def _verdict(claim: Claim, one: Seen, detector: str) -> Verdict:
    """The protocol knows two values: found, and not there."""
    return Verdict(claim=claim.id, value="supported" if one.boxes else "refuted", boxes=one.boxes,
                   reason=f"{_reason(one)} ({detector})", observed=str(len(one.boxes)))  # fmt: skip


def _reason(one: Seen) -> str:
    return f"{len(one.boxes)} found" if one.boxes else "not found"
