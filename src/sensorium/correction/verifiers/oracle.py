"""The truth about a composed scene, as a verifier: it separates the quality of edits from the quality of detectors.

It knows the names of the scenes' vocabulary and says nothing where the truth is not certain: of a name that might be
said of something else in the picture, of what the background may show, of colours that run into one another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sensorium.conversation import Image
from sensorium.correction.memo import Meter
from sensorium.correction.picture import Picture
from sensorium.correction.records import Claim, Evidence
from sensorium.correction.verifiers.base import OUTSIDE, Found, Located
from sensorium.correction.verifiers.located import KINDS, LocatedVerifier
from sensorium.correction.words import Known, look_up
from sensorium.data.records import COLOURS, Scene
from sensorium.data.scenes.backgrounds import PHOTOGRAPHS
from sensorium.data.scenes.facts import neighbours
from sensorium.data.scenes.vocabulary import Vocabulary

_SHOWS = {f"photo-{key.split('/')[1].replace('_', '-')}": shows for key, shows in PHOTOGRAPHS.items()}
WORDS = "words"  # the style of lettering in a scene's truth
_MIXED = "its colour is not one plain colour"


class Oracle:
    """scenes: truth by the sha256 of each picture's file."""

    name, version = "oracle", "1"

    def __init__(self, scenes: dict[str, Scene], vocabulary: Vocabulary | None = None) -> None:
        self.scenes = scenes
        self.vocabulary = vocabulary or Vocabulary.load()
        self.known = _known(self.vocabulary)
        self.names = frozenset(self.known)
        self._boxes = LocatedVerifier(self)

    @classmethod
    def of(cls, scenes: Iterable[Scene], vocabulary: Vocabulary | None = None) -> Oracle:
        """From scenes whose pictures lie where they say."""
        return cls({Image(scene.image).digest: scene for scene in scenes}, vocabulary)

    def can(self, claim: Claim) -> bool:
        return claim.kind in (*KINDS, "colour", "text")

    def locate(self, picture: Picture, name: str, meter: Meter) -> Located:
        scene, known = self.scenes.get(picture.digest), look_up(name, self.known)
        if scene is None:
            return Located(reason="no truth is known about this picture")
        if known is None:
            return Located(reason=OUTSIDE)
        found = tuple(Found(thing.box, 1.0) for label in known.classes for thing in scene.of(label))
        fit = known.fit
        if fit != "family" and self._may_be_taken_for(known.classes[0], scene):
            # Something else in the picture may be called so: there may be more than the truth counts.
            fit = "family"
        return Located(found, fit=fit, label=known.classes[0])

    def verify(self, picture: Picture, claims: Sequence[Claim], meter: Meter) -> list[Evidence]:
        return [
            self._colour(picture, claim) if claim.kind == "colour"
            else self._text(picture, claim) if claim.kind == "text"
            else self._boxes.verify(picture, [claim], meter)[0]
            for claim in claims
        ]  # fmt: skip

    def _colour(self, picture: Picture, claim: Claim) -> Evidence:
        def said(score: float | None, reason: str, observed: str | None = None) -> Evidence:
            return Evidence(claim=claim.id, verifier=self.name, version=self.version, score=score, aspect="colour",
                            reason=reason, observed=observed)  # fmt: skip

        known = look_up(claim.thing.name, self.known) if claim.thing and claim.thing.name else None
        scene = self.scenes.get(picture.digest)
        if known is None or known.fit != "same" or scene is None:
            return said(None, OUTSIDE)
        colours = {thing.colour for thing in scene.of(known.classes[0])}
        if not colours or self._may_be_taken_for(known.classes[0], scene):
            return said(None, "which of the things in the picture is meant is not certain")
        if claim.value in colours and (len(colours) == 1 or not claim.thing.is_plural):  # type: ignore[union-attr]
            return said(1.0, "it has this colour", claim.value)
        plain = [colour for colour in colours if colour in COLOURS]
        if len(plain) < len(colours) or any(neighbours(colour, claim.value) for colour in plain):
            return said(None, _MIXED)
        return said(0.0, f"it is {' and '.join(sorted(plain))}", plain[0] if len(plain) == 1 else None)

    def _text(self, picture: Picture, claim: Claim) -> Evidence:
        scene = self.scenes.get(picture.digest)
        written = [thing for thing in scene.objects if thing.style == WORDS] if scene else []
        right = next((thing for thing in written if thing.name.lower() == claim.value.lower()), None)
        shown = right or (written[0] if len(written) == 1 else None)
        return Evidence(
            claim=claim.id, verifier=self.name, version=self.version,
            score=None if shown is None else float(right is shown),
            aspect="text",
            reason=f"reads “{shown.name}”" if shown else "nothing is written there",
            observed=shown.name if shown else None, boxes=(shown.box,) if shown else (),
        )  # fmt: skip

    def _may_be_taken_for(self, name: str, scene: Scene) -> bool:
        seen = {*scene.counts, *_SHOWS.get(scene.background, ())} - {name}
        return name in _SHOWS.get(scene.background, ()) or any(
            other in self.vocabulary and self.vocabulary.confusable(name, other) for other in seen)  # fmt: skip


def _known(vocabulary: Vocabulary) -> dict[str, Known]:
    """Names, synonyms and measures ("pair of scissors") -> their entry; categories -> all that belong to them."""
    found: dict[str, Known] = {}
    categories: dict[str, list[str]] = {}
    for entry in vocabulary.entries:
        categories.setdefault(entry.category, []).append(entry.name)
        for name in (entry.name, *entry.synonyms, entry.counted(1)):
            found.setdefault(name.lower(), Known((entry.name,), "same"))
    for category, members in categories.items():
        found.setdefault(category, Known(tuple(members), "family"))
    return found
