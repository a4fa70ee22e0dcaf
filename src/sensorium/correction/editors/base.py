"""What an editor is given, and what it answers: edits of the original text, by its characters."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from sensorium.correction.memo import Meter
from sensorium.correction.picture import Picture
from sensorium.correction.policy import Policy
from sensorium.correction.records import Claim, Edit, Verdict

if TYPE_CHECKING:
    from sensorium.engine import Engine


@dataclass(frozen=True)
class Task:
    """A text with verdicts on its claims. again: claims and verdicts of another text about the same picture."""

    text: str
    question: str | None
    picture: Picture
    claims: tuple[Claim, ...]
    verdicts: tuple[Verdict, ...]
    policy: Policy
    meter: Meter = field(default_factory=Meter)
    engine: Engine | None = None
    again: Callable[[str], tuple[tuple[Claim, ...], tuple[Verdict, ...]]] | None = None

    def verdict(self, claim: Claim) -> Verdict:
        return self._by_claim[claim.id]

    @functools.cached_property
    def _by_claim(self) -> dict[str, Verdict]:
        return {verdict.claim: verdict for verdict in self.verdicts}

    @property
    def refuted(self) -> tuple[Claim, ...]:
        """Claims of the text itself that the policy allows to edit: refuted, and said outright."""
        bad = {verdict.claim for verdict in self.verdicts if verdict.value == "refuted"}
        return tuple(c for c in self.claims if c.id in bad and c.span.source == "text" and not c.is_hedged)


class Editor(Protocol):
    """Turns verdicts into edits. Without a refuted claim it makes none, but for hedges that the policy asks for."""

    name: str

    def edit(self, task: Task) -> list[Edit]:
        """Edits that do not overlap; making them in the original text gives the corrected one."""
        ...
