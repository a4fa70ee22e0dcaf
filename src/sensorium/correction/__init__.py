"""Correct what a model said about a picture: claims, evidence, verdicts with reasons, and the smallest edits.

    from sensorium.correction import Corrector, VERIFIERS, Setting
    setting = Setting()
    corrector = Corrector([VERIFIERS["detector"](setting), VERIFIERS["colour"](setting)])
    report = corrector.correct("photo.jpg", "Two dogs lie on a red couch.")

Woodpecker (arXiv:2310.16045) showed the way; verdicts here have three values, and what no verifier knows is left alone.
"""

from __future__ import annotations

from sensorium.correction.corrector import Corrector
from sensorium.correction.editors import EDITORS
from sensorium.correction.memo import Budget, Memo
from sensorium.correction.policy import Policy
from sensorium.correction.records import Claim, Edit, Evidence, Report, Verdict, apply_edits
from sensorium.correction.verifiers import VERIFIERS, Setting, Verifier

__all__ = [
    "EDITORS",
    "VERIFIERS",
    "Budget",
    "Claim",
    "Corrector",
    "Edit",
    "Evidence",
    "Memo",
    "Policy",
    "Report",
    "Setting",
    "Verdict",
    "Verifier",
    "apply_edits",
]
