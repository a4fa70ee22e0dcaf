"""Who is in a film and where it plays: names that cannot be taken for one another, of a split's own drawings.

The rules of holding out are those of pictures (`scenes.compose.Casting`); words on cards are held out as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sensorium.data.draw import pick
from sensorium.data.films.records import Actor, Film, Set, Span
from sensorium.data.records import COLOURS
from sensorium.data.scenes.catalogue import Background, Catalogue
from sensorium.data.scenes.compose import LEAST_HUE_SHARE, Casting, may_be_painted, open_cutout, scaled
from sensorium.data.scenes.facts import neighbours
from sensorium.data.scenes.recolour import recolour
from sensorium.data.scenes.words import Words

_MOST_DRAWS = 80  # of names for one film; a small catalogue may not fill the plan
_PAINTABLE_DRAWS = 12
_TRIED_AT = 64  # pixels of the long side: about as large as it will be seen
_PAINTINGS = 40  # tries to find a thing that takes two colours
_WANDERS = {"clip": 0.12, "long": 1.0}  # of the room that the window has, from the start to the end of a set


@dataclass(frozen=True)
class Caster:
    """Draws names, drawings, sets and words for the films of one split."""

    catalogue: Catalogue
    casting: Casting

    @cached_property
    def words(self) -> tuple[str, ...]:
        """What cards of this split may say: the words of printed pictures, so that neither shows what the other tests.
        """
        return tuple(word.upper() for word in Words.load().of(self.casting.split))

    def names(
        self, count: int, backgrounds: Sequence[Background], rng: np.random.Generator, one_paintable: bool = False
    ) -> list[str]:
        """Up to so many names, no two of which might be taken for one another, or for what a background shows.

        one_paintable: the first is of a kind that takes paint, where such a one was soon found.
        """
        names: list[str] = []
        for _ in range(_PAINTABLE_DRAWS if one_paintable else 0):
            name = self.casting.cast([], rng)
            if self.is_plain(name, [], backgrounds) and may_be_painted(name, self._category(name)):
                names.append(name)
                break
        for _ in range(_MOST_DRAWS + 8 * count):
            if len(names) == count:
                break
            name = self.casting.cast(names, rng)
            if self.is_plain(name, names, backgrounds):
                names.append(name)
        return names

    def is_plain(self, name: str, names: Sequence[str], backgrounds: Sequence[Background]) -> bool:
        """Whether a name can be told from those and from whatever the backgrounds show."""
        shown = [name for one in backgrounds for name in self.casting.shows[one.name]]
        return not any(self.catalogue.vocabulary.confusable(name, other) for other in (*names, *shown))

    def absent(self, film: Film, like: str, count: int, rng: np.random.Generator) -> list[str]:
        """Names that nothing in a film could be called: held-out ones beside a held-out name, so that no name tells
        whether it is there."""
        lead = self.casting.lead
        pool = lead if like in lead else [name for name in self.casting.others if name not in lead]
        backgrounds = [self.background(one.background) for one in film.sets]
        found: list[str] = []
        for i in rng.permutation(len(pool)):
            if len(found) < count and self.is_plain(pool[i], (*film.names, *found), backgrounds):
                found.append(pool[i])
        return found

    def _category(self, name: str) -> str:
        return self.catalogue.vocabulary[name].category

    def background(self, name: str) -> Background:
        return next(one for one in self.casting.backgrounds if one.name == name)

    def actor(
        self, name: str, side: float, path: Sequence[tuple[float, float, float]], seen: Sequence[Span],
        rng: np.random.Generator, jumps: tuple[float, ...] = (),
    ) -> Actor:
        drawing = pick(self.casting.drawings[name], rng)
        mirrored = bool(rng.random() < 0.5)
        return Actor(name, drawing.id, drawing.style, side, mirrored, tuple(path), tuple(seen), jumps=jumps)

    def painted(self, name: str, rng: np.random.Generator) -> tuple[str, str, tuple[str, str]] | None:
        """(id, style) of a drawing of that name that takes two colours plainly told apart, and these; or None."""
        if not may_be_painted(name, self._category(name)):
            return None
        fitting = [one for one in self.casting.drawings[name] if one.hue_share >= LEAST_HUE_SHARE]
        if not fitting:
            return None
        drawing = pick(fitting, rng)
        cutout = scaled(open_cutout(self.catalogue.root / drawing.path), _TRIED_AT)
        for _ in range(_PAINTINGS):
            first, second = (COLOURS[i] for i in rng.choice(len(COLOURS), 2, replace=False))
            if neighbours(first, second):
                continue
            taken = [recolour(cutout, colour, rng) for colour in (first, second)]
            return None if None in taken else (drawing.id, drawing.style, (first, second))
        return None

    def set(self, background: Background, span: Span, rng: np.random.Generator, pace: str = "clip") -> Set:
        """A background and the way of the window over it."""
        zoom = float(rng.uniform(0.6, 0.9))
        start = rng.uniform(0, 1, 2)
        end = start + rng.uniform(-1, 1, 2) * _WANDERS[pace]
        (x1, y1), (x2, y2) = start.tolist(), np.clip(end, 0, 1).tolist()
        return Set(background.name, span, round(zoom, 3), (round(x1, 3), round(y1, 3)), (round(x2, 3), round(y2, 3)))
