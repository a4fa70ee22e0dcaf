"""Keep yes and no even, so that answering without looking is worth nothing.

`deal` gives the wanted answers: 16 yes and 16 no, shuffled, then again, from a deck for each kind of question at each
turn of a talk (a first question must not be a likelier yes than a fifth). `choose` remembers how often each name,
number, color or relation was the subject of a yes and of a no, and picks the claim that evens it out: a model that
learns from the text alone that "there is usually a dog" or "it is rarely three" is right half of the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

_BLOCK = 16  # of each answer in a deck
_LIMIT = 4  # more of one answer than of the other, for a marked subject


@dataclass(frozen=True)
class Claim:
    """Something that can be asked with yes or no.

    kind: existence, count, color or position; template: its family in `phrases.yaml`; words fill the template;
    subject: what should not give the answer away (the name; the name and the color; …), each balanced by itself;
    marked: what must not, because the world is lopsided there (most things are one): kept within a strict limit;
    names: what the question mentions; other: what a full answer mentions besides.
    """

    kind: str
    template: str
    truth: bool
    subject: tuple[Hashable, ...]
    names: tuple[str, ...]
    words: Mapping[str, str]
    other: str | None = None
    marked: tuple[Hashable, ...] = ()


@dataclass
class Balance:
    """Deals answers and chooses claims. Stateful: one serves a whole split, its rows in order."""

    _decks: dict[Hashable, list[bool]] = field(default_factory=dict)
    _surplus: Counter[Hashable] = field(default_factory=Counter)

    def deal(self, deck: Hashable, rng: np.random.Generator) -> bool:
        """The answer on top of a deck; `take` takes it off."""
        cards = self._decks.setdefault(deck, [])
        if not cards:
            cards.extend(bool(x) for x in rng.permutation([True] * _BLOCK + [False] * _BLOCK))
        return cards[-1]

    def choose(self, claims: Sequence[Claim], rng: np.random.Generator, strict: bool = True) -> Claim | None:
        """Of claims with one answer, the one whose subjects have seen that answer least; ties at random.

        strict: rather none than one that would leave a marked subject further out of balance than `_LIMIT`.
        """
        fair = [claim for claim in claims if not strict or self._is_fair(claim)]
        if not fair:
            return None
        noise = rng.random(len(fair))
        return fair[int(np.argmin([self._weight(claim) + noise[i] for i, claim in enumerate(fair)]))]

    def take(self, claim: Claim, deck: Hashable = None) -> None:
        """Record that a claim is asked, and take its answer off the deck it was dealt from."""
        cards = self._decks.get(deck, [])
        if claim.truth in cards:  # the last of its kind, that is the top one if it was dealt
            del cards[len(cards) - 1 - cards[::-1].index(claim.truth)]
        for subject in (*claim.subject, *claim.marked):
            self._surplus[claim.kind, subject] += 1 if claim.truth else -1

    def surplus(self, kind: str, subject: Hashable) -> int:
        """Yes minus no so far, for one subject of a kind of question."""
        return self._surplus[kind, subject]

    def _weight(self, claim: Claim) -> int:
        sign = 1 if claim.truth else -1
        return sum(sign * self._surplus[claim.kind, subject] for subject in (*claim.subject, *claim.marked))

    def _is_fair(self, claim: Claim) -> bool:
        sign = 1 if claim.truth else -1
        return all(sign * self._surplus[claim.kind, subject] < _LIMIT for subject in claim.marked)
