"""A second engine as a judge: it looks at the picture and says of each claim yes, no or unsure, and what is there.

For engines that cannot `score`, such as a cloud's, and for those that answer better than the one that spoke. Its
verdicts are words, so they are worth one fixed score until a curve is learned for them. A reply out of form is asked
for once more; an engine that cannot be reached is not asked again for this text, and its claims stay unknown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from sensorium.conversation import Conversation, user
from sensorium.correction.memo import Meter
from sensorium.correction.picture import Picture
from sensorium.correction.places import OPPOSITE, PLACE_PHRASES, RELATION_PHRASES
from sensorium.correction.records import Claim, Evidence
from sensorium.correction.verifiers.base import UNREACHED
from sensorium.correction.verifiers.one_by_one import one_by_one
from sensorium.correction.words import words
from sensorium.engine import Engine, JsonSchema, Sampling
from sensorium.errors import SensoriumError

_SCORES = {"yes": 0.96, "no": 0.04}
_TRIES = 2
_FORM = JsonSchema.of({
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": ["yes", "no", "unsure"]},
                   "instead": {"type": "string", "maxLength": 60}},
    "required": ["verdict", "instead"],
    "additionalProperties": False,
})  # fmt: skip
_OBJECT = re.compile(r"\{.*?\}", re.DOTALL)
_ASKED = {
    "count": "how many there are, as a number", "colour": "its colour, in one word",
    "text": "the words that can be read", "position": "the side where it is, in one word",
}  # fmt: skip


class Judge:
    """Verdicts of an engine in words."""

    name = "judge"
    names: frozenset[str] = frozenset()

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.version = "-".join((engine.card.name, *engine.card.ways, "1"))
        self._keeps_form = True  # whether the engine can be told what its reply may be

    def can(self, claim: Claim) -> bool:
        return claim.kind != "answer"

    def verify(self, picture: Picture, claims: Sequence[Claim], meter: Meter) -> list[Evidence]:
        def ask(claim: Claim, question: str) -> Evidence:
            verdict, instead = self._ask(picture, claim, question, meter)
            reason = {"unsure": "the judge is not sure", "": f"{UNREACHED}: no reply in the form asked for"}
            observed = observed_of(claim, instead) if verdict == "no" else None
            told = f"says {verdict}" + (f", {observed} instead" if observed else "") + f": {question}"
            return self._said(claim, _SCORES.get(verdict), reason.get(verdict, told), observed)

        return one_by_one(claims, meter, ask, lambda claim, reason: self._said(claim, None, reason))

    def _ask(self, picture: Picture, claim: Claim, question: str, meter: Meter) -> tuple[str, str]:
        """(verdict, what is there instead); the verdict is empty where no reply can be read."""
        form = '{"verdict": "yes", "no" or "unsure", "instead": "…"}'
        instead = _ASKED.get(claim.kind)
        ask = f"if no, {instead}" if instead else "empty"
        text = f"{question} Look closely. Answer as JSON {form}; `instead`: {ask}."
        asked = Conversation((user(picture.image, text),))
        for attempt in range(_TRIES):
            if not meter.allows():
                break
            meter.count(self.name)
            form_of = _FORM if self._keeps_form else None
            sampling = Sampling(max_new_tokens=80, temperature=0.2 * attempt, seed=attempt, constrain=form_of)
            try:
                reply = self.engine.answer([asked], sampling)[0].text
            except SensoriumError:
                if form_of is None or attempt + 1 == _TRIES:
                    raise
                self._keeps_form = False  # a server that does not know the form may still answer in it
                continue
            found = _OBJECT.search(reply)
            try:
                row = json.loads(found[0] if found else reply)
                if row["verdict"] in (*_SCORES, "unsure"):
                    return row["verdict"], str(row.get("instead", ""))
            except (ValueError, KeyError, TypeError):
                continue
        return "", ""

    def _said(self, claim: Claim, score: float | None, reason: str, observed: str | None = None) -> Evidence:
        return Evidence(claim=claim.id, verifier=self.name, version=self.version, score=score, observed=observed,
                        aspect="" if score is None else claim.kind, reason=reason)  # fmt: skip


def observed_of(claim: Claim, instead: str) -> str | None:
    """What a judge says is there, in the words of `Claim.value`; None where it is nothing of that kind."""
    said = instead.strip(" .\"'").lower()
    if claim.kind == "count":
        number = words().number(said)
        return None if number is None or str(number) == claim.value else str(number)
    if claim.kind == "colour":
        colour = words().colours.get(said)
        return None if colour == claim.value else colour
    if claim.kind == "position":
        known = RELATION_PHRASES if claim.other else PLACE_PHRASES
        return said if said in known and said == OPPOSITE.get(claim.value) else None
    return instead.strip(" \"'") or None if claim.kind == "text" else None
