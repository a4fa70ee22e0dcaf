"""What every verifier is: something that looks at a picture and says how far claims hold.

A locator finds things by name; the rules that turn its boxes into evidence about presence, number and place are in
`located` and shared by all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from sensorium.correction.memo import Meter
from sensorium.correction.picture import Picture
from sensorium.correction.records import Claim, Evidence
from sensorium.grounding import Box

OUTSIDE = "outside the vocabulary"
BUDGET = "the budget was spent"
UNREACHED = "the engine could not be asked"  # which passes: evidence that begins so is not remembered


class Verifier(Protocol):
    """One source of evidence. version: changes whenever the same claim might get another answer.

    names: what it knows, of which the parser takes names of several words whole.
    """

    name: str
    version: str
    names: frozenset[str]

    def can(self, claim: Claim) -> bool:
        """Whether claims of this kind are looked at; what cannot be told about one is said in the evidence."""
        ...

    def verify(self, picture: Picture, claims: Sequence[Claim], meter: Meter) -> list[Evidence]:
        """One piece of evidence for each claim. Raises SensoriumError when the picture does not open."""
        ...


@dataclass(frozen=True)
class Found:
    """A box and how sure the locator is that the thing is in it, 0–1."""

    box: Box
    score: float


@dataclass(frozen=True)
class Located:
    """Where a named thing is.

    reason: why nothing can be said ("" where something can). fit: of the name to what was looked for; see
    `words.Known`. label: the class that was looked for.
    """

    found: tuple[Found, ...] = ()
    reason: str = ""
    fit: Literal["same", "narrower", "family"] = "same"
    label: str = ""


class Locator(Protocol):
    """Finds things by name."""

    name: str
    version: str
    names: frozenset[str]

    def locate(self, picture: Picture, name: str, meter: Meter) -> Located:
        """Boxes of one thing, best first, doubtful ones with their low scores."""
        ...
