"""Probes: what a model is measured by, in MME's shape and wording (arXiv:2306.13394, section 2).

On one picture each of existence, count, position and color asks two questions about the same thing, answered Yes and
then No; a model scores only if it looks. Beside them stand the names that a caption should give, and one thing to be
boxed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from sensorium.data.records import Probe, Scene
from sensorium.data.scenes.balance import Claim
from sensorium.data.scenes.claims import KINDS
from sensorium.data.scenes.facts import Facts
from sensorium.data.scenes.questions import Speaker


@dataclass(frozen=True)
class Prober:
    """Writes the probes of one split; takes its scenes in order, as `Writer` does."""

    speaker: Speaker
    seed: int
    shows: dict[str, tuple[str, ...]]

    def write(self, scene: Scene) -> Iterator[Probe]:
        """Every probe that a scene offers, at most one of a subset."""
        rng = np.random.default_rng((self.seed, int(scene.id)))
        facts = Facts(scene, self.shows.get(scene.background, ()))
        for kind in KINDS:
            if questions := self._questions(kind, facts, rng):
                yield Probe(f"{scene.id}-{kind}", scene.id, scene.image, kind, questions=questions)
        yield Probe(f"{scene.id}-caption", scene.id, scene.image, "caption", objects=tuple(facts.counts))
        targets = self.speaker.asker.targets
        singles = [name for name in facts.singles if not targets or name in targets]
        if singles:
            name = singles[int(rng.integers(len(singles)))]
            box = facts.boxes[name][0]
            yield Probe(f"{scene.id}-grounding", scene.id, scene.image, "grounding", name=name, box=box)

    def small(self, scene: Scene) -> Iterator[Probe]:
        """Of a scene of small things: whether something is there, and how many, as subsets of their own."""
        for probe in self.write(scene):
            if probe.subset in ("existence", "count"):
                subset = f"small_{probe.subset}"
                yield replace(probe, id=f"{scene.id}-{subset}", subset=subset)

    def _questions(self, kind: str, facts: Facts, rng: np.random.Generator) -> tuple[tuple[str, str], ...]:
        """A true and a false claim; about the same thing, save for existence, where the false one must be absent."""
        asker, phrases = self.speaker.asker, self.speaker.phrases
        true = asker.find(kind, facts, rng, True, lambda claim: claim.template != "absolute")
        if true is None:
            return ()

        def matches(claim: Claim) -> bool:
            return kind == "existence" or (claim.names == true.names and claim.template != "absolute")

        false = asker.find(kind, facts, rng, False, matches)
        if false is None:
            return ()
        return tuple(
            (phrases.say(f"{claim.template}.mme", rng, claim.words), "Yes" if claim.truth else "No")
            for claim in (true, false)
        )
