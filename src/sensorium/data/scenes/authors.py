"""All that is written about the scenes of one split: who writes about which kind, in which order.

Each author has a balance of yes and no of their own, so that chats, drills, small things and probes are each even by
themselves, and one more kind of scene changes no word about the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sensorium.data.records import ConversationRow, Probe, Scene
from sensorium.data.scenes.balance import Balance
from sensorium.data.scenes.claims import Asker
from sensorium.data.scenes.compose import Casting
from sensorium.data.scenes.phrases import Phrases
from sensorium.data.scenes.probes import Prober
from sensorium.data.scenes.questions import Speaker
from sensorium.data.scenes.reading import Reader
from sensorium.data.scenes.several import SeveralWriter
from sensorium.data.scenes.several_probes import SeveralProber
from sensorium.data.scenes.vocabulary import Vocabulary
from sensorium.data.scenes.words import Words
from sensorium.data.scenes.write import Writer

ScenesOfKinds = Mapping[str, Sequence[Scene]]  # kind of scene -> those of a split, in their order


@dataclass(frozen=True)
class Authors:
    """Write about one split. chats: about each scene; several: conversations about several for each plain scene."""

    vocabulary: Vocabulary
    casting: Casting
    seed: int
    chats: int
    several: float

    def conversations(self, scenes: ScenesOfKinds) -> Iterator[ConversationRow]:
        plain, shows = scenes["plain"], self.casting.shows
        writer = Writer(self._speaker(), self.seed, self.chats, 1, shows)
        driller, of_places = (Writer(self._speaker(), self.seed, shows=shows) for _ in range(2))
        of_small = Writer(self._speaker(), self.seed, self.chats, 0, shows)
        reader = self._reader()
        for scene in plain:
            yield from writer.write(scene)
        for scene in plain:
            yield driller.drill(scene)
        yield from filter(None, map(of_places.places, plain))
        yield from self._of_several(plain).write(round(self.several * len(plain)))
        for scene in scenes["small"]:
            yield from of_small.small(scene)
        for scene in (*scenes["cards"], *scenes["page"]):
            yield from reader.write(scene)

    def probes(self, scenes: ScenesOfKinds) -> Iterator[Probe]:
        plain, targets = scenes["plain"], frozenset(self.casting.lead)
        prober, of_small = (Prober(self._speaker(targets), self.seed, self.casting.shows) for _ in range(2))
        reader = self._reader()
        for scene in plain:
            yield from prober.write(scene)
        if self.several:
            yield from SeveralProber(self._of_several(plain)).write()
        for scene in scenes["small"]:
            yield from of_small.small(scene)
        for scene in (*scenes["cards"], *scenes["page"]):
            yield from reader.probes(scene)

    def _speaker(self, targets: frozenset[str] = frozenset()) -> Speaker:
        asker = Asker(self.vocabulary, self.casting.others, targets, Balance())
        return Speaker(self.vocabulary, Phrases.load(), asker)

    def _of_several(self, plain: Sequence[Scene]) -> SeveralWriter:
        return SeveralWriter(self.vocabulary, plain, self.seed, self.casting.shows)

    def _reader(self) -> Reader:
        return Reader(Words.load().of(self.casting.split), self.seed)
