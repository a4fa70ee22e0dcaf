"""What can be asked about a scene with yes or no: existence, count, color, position (MME's four perception subsets).

Each function gives the candidates with one truth value; `balance` chooses among them. Training chats and probes both
ask from here, so a probe differs from training in its pictures, never in what counts as true.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.data.records import COLOURS
from sensorium.data.scenes.balance import Balance, Claim
from sensorium.data.scenes.facts import OPPOSITE, RELATIONS, SIDES, Facts, neighbours
from sensorium.data.scenes.phrases import NUMBERS, article, name_words, things
from sensorium.data.scenes.vocabulary import Vocabulary

KINDS = ("existence", "count", "color", "position")
_MOST = 5  # the largest number asked about
_SAMPLE = 48  # absent names weighed against each other; all of them would cost more and even out no better
_HARD_SHARE = 0.5  # of the negatives are of a category that is in the picture


def _anything(claim: Claim) -> bool:
    return True


@dataclass(frozen=True)
class Asker:
    """Makes claims for one split.

    names: the names that the split shows, from which absent things are taken; targets: where not empty, only these are
    asked about (the held-out objects of test_objects).
    """

    vocabulary: Vocabulary
    names: tuple[str, ...]
    targets: frozenset[str]
    balance: Balance

    def ask(
        self, kind: str, facts: Facts, rng: np.random.Generator, turn: int, about: Callable[[Claim], bool] = _anything
    ) -> Claim | None:
        """A claim with the answer that the deck of that kind and turn deals, or None where there is no such claim.

        about: which claims the talk so far allows. The claim is recorded as asked.
        """
        deck = (kind, turn)
        truth = self.balance.deal(deck, rng)
        claims = [claim for claim in self.candidates(kind, facts, truth, rng) if about(claim)]
        claim = self.balance.choose(claims, rng)
        if claim:
            self.balance.take(claim, deck)
        return claim

    def find(
        self,
        kind: str,
        facts: Facts,
        rng: np.random.Generator,
        truth: bool,
        about: Callable[[Claim], bool] = _anything,
    ) -> Claim | None:
        """A claim with a given answer, dealt from no deck; recorded as asked."""
        claims = [claim for claim in self.candidates(kind, facts, truth, rng) if about(claim)]
        claim = self.balance.choose(claims, rng, strict=False)
        if claim:
            self.balance.take(claim)
        return claim

    def candidates(self, kind: str, facts: Facts, truth: bool, rng: np.random.Generator) -> list[Claim]:
        """Every claim of a kind with that truth value (of absent names a sample)."""
        if kind == "existence":
            claims = self._present(facts) if truth else self._absent(facts, rng)
        elif kind == "count":
            claims = self._counts(facts, truth)
        elif kind == "color":
            claims = self._colours(facts, truth)
        else:
            claims = [*self._relations(facts, truth), *self._places(facts, truth)]
        if not self.targets:
            return claims
        return [claim for claim in claims if self.targets.intersection(claim.names)]

    def absent_names(self, facts: Facts, rng: np.random.Generator) -> list[str]:
        """A sample of names that are certainly not in the picture; half of the time of a category that is."""
        pool = sorted(self.targets) if self.targets else self.names
        seen = (*facts.counts, *facts.shows)
        if rng.random() < _HARD_SHARE:
            categories = {self.vocabulary[name].category for name in facts.counts}
            alike = self._clear_of(seen, [n for n in pool if self.vocabulary[n].category in categories], rng)
            if alike:
                return alike
        return self._clear_of(seen, pool, rng)

    def _clear_of(self, seen: Sequence[str], pool: Sequence[str], rng: np.random.Generator) -> list[str]:
        """A sample of the pool without what might be said of anything seen."""
        sample = [pool[int(i)] for i in rng.permutation(len(pool))[:_SAMPLE]]
        return [name for name in sample if not any(self.vocabulary.confusable(name, other) for other in seen)]

    def _present(self, facts: Facts) -> list[Claim]:
        return [
            Claim("existence", "existence", True, (name,), (name,), name_words(self.vocabulary, name, count))
            for name, count in facts.counts.items()
        ]

    def _absent(self, facts: Facts, rng: np.random.Generator) -> list[Claim]:
        others = list(facts.counts)
        other = others[int(rng.integers(len(others)))]
        extra = name_words(self.vocabulary, other, facts.counts[other], "other_")
        claims = []
        for name in self.absent_names(facts, rng):
            words = {**name_words(self.vocabulary, name, 0), **extra}
            claims.append(Claim("existence", "existence", False, (name,), (name,), words, other))
        return claims

    def _counts(self, facts: Facts, truth: bool) -> list[Claim]:
        claims = []
        for name, count in facts.counts.items():
            near = (count,) if truth else (count - 2, count - 1, count + 1, count + 2)
            for asked in near:
                if 1 <= asked <= _MOST:
                    words = {
                        **name_words(self.vocabulary, name, count),
                        "asked_n": NUMBERS[asked],
                        "asked_things": things(self.vocabulary, name, asked, numeral=True),
                        "only": "only " if count == 1 else "",
                    }
                    words["things"] = things(self.vocabulary, name, count, numeral=True)
                    template = "count_one" if asked == 1 else "count_many"
                    claims.append(Claim("count", template, truth, (name,), (name,), words, marked=(asked,)))
        return claims

    def _colours(self, facts: Facts, truth: bool) -> list[Claim]:
        claims = []
        for name, true_colour in facts.colours.items():
            wrong = [c for c in COLOURS if c != true_colour and not neighbours(c, true_colour)]
            for asked in [true_colour] if truth else wrong:
                words = {
                    **name_words(self.vocabulary, name, facts.counts[name]),
                    "color": asked,
                    "a_color": f"{article(asked)} {asked}",
                    "true_color": true_colour,
                }
                template = "color_one" if facts.counts[name] == 1 else "color_many"
                subject = (name, (name, asked))
                claims.append(Claim("color", template, truth, subject, (name,), words, marked=(asked,)))
        return claims

    def _relations(self, facts: Facts, truth: bool) -> list[Claim]:
        claims = []
        for (name, other), relation in facts.relations.items():
            asked = relation if truth else OPPOSITE[relation]
            words = {
                **name_words(self.vocabulary, name),
                **name_words(self.vocabulary, other, 1, "other_"),
                "relation": RELATIONS[asked],
                "true_relation": RELATIONS[relation],
            }
            template = "relative_across" if asked in ("left", "right") else "relative_down"
            words["side"] = asked
            claims.append(Claim("position", template, truth, (), (name, other), words, marked=(asked,)))
        return claims

    def _places(self, facts: Facts, truth: bool) -> list[Claim]:
        opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
        claims = []
        for name, zones in facts.places.items():
            for zone in zones:
                if zone not in SIDES:
                    continue
                asked = zone if truth else opposite[zone]
                words = {**name_words(self.vocabulary, name), "place": SIDES[asked], "true_place": SIDES[zone]}
                claims.append(Claim("position", "absolute", truth, (), (name,), words, marked=(("place", asked),)))
        return claims
