"""Add what a text leaves out: things that are surely in the picture and that the question asks for.

Only questions that ask for everything of a kind ("What animals are there?", "What can you see?") are answered so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sensorium.correction.editors.base import Task
from sensorium.correction.editors.grammar import there_is
from sensorium.correction.questions import a, plural
from sensorium.correction.records import Edit
from sensorium.correction.verifiers.base import Verifier
from sensorium.correction.words import words

_ASKS_FOR_ALL = re.compile(
    r"\b(?:list|name|(?:what|which) (?:things|objects)|what (?:else|is|are|can (?:you|be) (?:see|seen)))\b",
    re.IGNORECASE,
)
_SURE = 0.8  # of the locator's own score


def missing(task: Task, verifiers: Sequence[Verifier]) -> list[Edit]:
    """One sentence at the end with the things not spoken of; none where the question does not ask for them."""
    if not task.question:
        return []
    family = next((name for name, known in words().coco.items()
                   if known.fit == "family" and len(known.classes) > 1
                   and re.search(rf"\b{name}s?\b", task.question.lower())), None)  # fmt: skip
    if family is None and not _ASKS_FOR_ALL.search(task.question):
        return []
    wanted = words().coco[family].classes if family else None
    spoken = {claim.thing.name for claim in task.claims if claim.thing}
    known = {words().coco[name].classes[0] if name in words().coco else name for name in spoken if name}
    phrases: list[tuple[str, int]] = []
    for verifier in verifiers:
        look = getattr(getattr(verifier, "locator", None), "boxes", None)
        for name, found in look(task.picture, task.meter).items() if look else ():
            sure = [one for one in found if one.score >= _SURE]
            if sure and name not in known and (wanted is None or name in wanted):
                known.add(name)
                phrases.append((name, len(sure)))
    if not phrases:
        return []
    told = [a(name) if n == 1 else f"{words().spelled(n)} {plural(name)}" for name, n in phrases]
    end = len(task.text.rstrip())
    sentence = f" {there_is(told, phrases[0][1] > 1, also=True)}"
    return [Edit(start=end, end=end, replacement=sentence, kind="add", reason="there, and not spoken of")]
