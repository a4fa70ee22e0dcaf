"""How much correction mends and how much it breaks, on captions of which each error is known.

A planted error is fixed when the true caption comes back: letter for letter for counts, colours, sides and words; for
an object, when it is not spoken of any more (or only to say that it is not there). A true claim is harmed when an edit
takes away the words that make it. Harm counts as much as help: a corrector that deletes everything fixes all errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sensorium.correction.corrector import Corrector
from sensorium.correction.records import Claim, Report
from sensorium.data.scenes.vocabulary import Vocabulary
from sensorium.evaluation.grammar import Fault, new_faults
from sensorium.evaluation.metrics import Estimate, wilson
from sensorium.evaluation.planted import PLANTED, Planted


@dataclass
class Tally:
    """Counts to make shares of: how many of how many."""

    right: int = 0
    of: int = 0

    def add(self, is_right: bool) -> None:
        self.right += is_right
        self.of += 1

    @property
    def share(self) -> Estimate | None:
        return wilson(self.right, self.of) if self.of else None


@dataclass
class CorrectionScores:
    """fixed: planted errors mended, by kind. harmed: true claims taken away. touched: true captions changed at all.

    refuted: refuted claims that are false indeed (precision). covered: claims with a verdict other than unknown.
    recalled: names in the truth that the output still speaks of. intact: changed captions without a fault of grammar
    that they did not have before. words: of output and input. changed: what was changed, to be read by eye.
    """

    fixed: dict[str, Tally] = field(default_factory=lambda: {kind: Tally() for kind in PLANTED})
    harmed: Tally = field(default_factory=Tally)
    touched: Tally = field(default_factory=Tally)
    refuted: Tally = field(default_factory=Tally)
    covered: Tally = field(default_factory=Tally)
    recalled: Tally = field(default_factory=Tally)
    intact: Tally = field(default_factory=Tally)
    words: tuple[int, int] = (0, 0)
    milliseconds: float = 0.0
    wrong: list[tuple[Planted, Report]] = field(default_factory=list)
    changed: list[tuple[Report, list[Fault]]] = field(default_factory=list)

    def rows(self) -> list[tuple[str, str]]:
        """(what, value with its 95 % interval and how many) for a table."""
        named = [(f"fixed, {kind}", tally) for kind, tally in self.fixed.items()]
        everything = Tally(sum(t.right for t in self.fixed.values()), sum(t.of for t in self.fixed.values()))
        named += [("fixed, all", everything), ("harmed claims", self.harmed), ("true captions touched", self.touched),
                  ("precision of refutations", self.refuted), ("coverage", self.covered),
                  ("recall", self.recalled), ("grammar intact", self.intact)]  # fmt: skip
        rows = [(name, _shown(tally)) for name, tally in named if tally.of]
        out, before = self.words
        return [*rows, ("length", f"{out / before:.3f} of {before} words" if before else "-")]

    def to_json(self) -> dict[str, Any]:
        tallies = {
            **{f"fixed_{kind}": tally for kind, tally in self.fixed.items()}, "harmed": self.harmed,
            "touched": self.touched, "refuted": self.refuted, "covered": self.covered, "recalled": self.recalled,
            "intact": self.intact,
        }  # fmt: skip
        return {
            **{name: {**(t.share.to_json() if t.share else {}), "of": t.of} for name, t in tallies.items()},
            "words": list(self.words), "milliseconds": round(self.milliseconds, 1),
        }  # fmt: skip


def evaluate_correction(
    corrector: Corrector,
    rows: Sequence[Planted],
    vocabulary: Vocabulary,
    progress: Callable[[int, int], None] | None = None,
    only: Callable[[str], bool] = lambda name: True,
) -> CorrectionScores:
    """Correct each caption and count. only: names whose errors count as fixed or not; harm is counted on all."""
    scores = CorrectionScores()
    for number, row in enumerate(rows, start=1):
        report = corrector.correct(row.image, row.text)
        _add(scores, row, report, vocabulary, only)
        if progress is not None:
            progress(number, len(rows))
    return scores


def _add(
    scores: CorrectionScores, row: Planted, report: Report, vocabulary: Vocabulary, only: Callable[[str], bool]
) -> None:
    scores.milliseconds += report.cost.milliseconds
    if report.output != row.text:
        found = new_faults(row.text, report.output)
        scores.intact.add(not found)
        scores.changed.append((report, found))
    if row.kind is None:
        scores.touched.add(report.output != row.text)
    elif only(row.name):
        fixed = is_fixed(row, report.output, vocabulary)
        scores.fixed[row.kind].add(fixed)
        if not fixed:
            scores.wrong.append((row, report))
    for claim in report.claims:
        verdict = report.verdict(claim.id)
        scores.covered.add(verdict.value != "unknown")
        is_false = is_planted(claim, row)
        if verdict.value == "refuted":
            scores.refuted.add(is_false)
        if not is_false:
            harmed = _is_lost(claim, report)
            scores.harmed.add(harmed)
            if harmed:
                scores.wrong.append((row, report))
    for name in _names(row.truth, vocabulary):
        scores.recalled.add(speaks_of(report.output, name, vocabulary))
    out, before = scores.words
    scores.words = (out + len(report.output.split()), before + len(row.text.split()))


def is_planted(claim: Claim, row: Planted) -> bool:
    """Whether a claim is the false one of a caption: its own words lie in the planted ones."""
    if row.kind is None:
        return False
    kinds = {"object": "existence", "count": "count", "colour": "colour", "side": "position", "text": "text"}
    at = claim.thing.head if claim.kind == "existence" and claim.thing else claim.value_span or claim.span
    start, end = row.wrong
    inside = start <= at.start < end or at.start <= start < at.end
    return inside and (claim.kind == kinds[row.kind] or row.kind == "object")


def is_fixed(row: Planted, output: str, vocabulary: Vocabulary) -> bool:
    if row.kind == "object":
        return not speaks_of(re.sub(r"\bno [\w -]+", "", output), row.name, vocabulary)
    return " ".join(output.split()) == row.truth


def speaks_of(text: str, name: str, vocabulary: Vocabulary) -> bool:
    """Whether a text names a thing of the vocabulary, in either number."""
    forms = (name, vocabulary[name].plural, vocabulary[name].counted(1)) if name in vocabulary else (name,)
    return any(re.search(rf"\b{re.escape(form)}\b", text, re.IGNORECASE) for form in forms)


def _is_lost(claim: Claim, report: Report) -> bool:
    at = claim.thing.head if claim.kind == "existence" and claim.thing else claim.value_span or claim.span
    return at.source == "text" and any(
        edit.start < at.end and at.start < edit.end and edit.kind != "agreement"
        and at.of(report.text).lower() not in edit.replacement.lower()
        for edit in report.edits
    )  # fmt: skip


def _names(text: str, vocabulary: Vocabulary) -> Iterable[str]:
    return [name for name in vocabulary.names if speaks_of(text, name, vocabulary)]


def _shown(tally: Tally) -> str:
    share = tally.share
    assert share is not None
    return f"{share.value:.1%} ({share.low:.1%}–{share.high:.1%}) of {tally.of}"
