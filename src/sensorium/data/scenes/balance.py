"""Keep yes and no even, so that answering without looking is worth nothing.

`Deck` deals the wanted answers of each kind of question: 16 yes and 16 no, shuffled, then again. `Balance` remembers how
often each name, number, colour or relation was the subject of a yes and of a no, and picks the claim that evens it out: a
model that learns "there is usually a dog" or "it is rarely three" from the text alone is right half of the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

_BLOCK = 16


@dataclass(frozen=True)
class Claim:
    """Something that can be asked with yes or no.

    kind: existence, count, color or position; template: its family in `phrases.yaml`; words fill the template;
    subject: what must not give the answer away (the name; the name and the number; …), each balanced by itself;
    names: what the question mentions; other: what a full answer mentions besides.
    """

    kind: str
    template: str
    truth: bool
    subject: tuple[Hashable, ...]
    names: tuple[str, ...]
    words: Mapping[str, str]
    other: str | None = None


@dataclass
class Balance:
    """Deals answers and chooses claims. Stateful: one serves a whole split, its rows in order."""

    _decks: dict[str, list[bool]] = field(default_factory=dict)
    _surplus: Counter[Hashable] = field(default_factory=Counter)

    def deal(self, kind: str, rng: np.random.Generator) -> bool:
        """The answer that the next question of a kind should have; `take` takes it off the deck."""
        deck = self._decks.setdefault(kind, [])
        if not deck:
            deck.extend(bool(x) for x in rng.permutation([True] * _BLOCK + [False] * _BLOCK))
        return deck[-1]

    def choose(self, claims: Sequence[Claim], rng: np.random.Generator) -> Claim:
        """Of claims with one answer, the one whose subjects have seen that answer least; ties at random."""
        noise = rng.random(len(claims))
        return claims[int(np.argmin([self._weight(claim) + noise[i] for i, claim in enumerate(claims)]))]

    def take(self, claim: Claim) -> None:
        """Record that a claim is asked."""
        deck = self._decks.setdefault(claim.kind, [])
        if claim.truth in deck:  # the last of its kind, that is the top one if it was dealt
            del deck[len(deck) - 1 - deck[::-1].index(claim.truth)]
        for subject in claim.subject:
            self._surplus[claim.kind, subject] += 1 if claim.truth else -1

    def _weight(self, claim: Claim) -> int:
        sign = 1 if claim.truth else -1
        return sum(sign * self._surplus[claim.kind, subject] for subject in claim.subject)
