"""Conversations about two or three scenes at once: same or different, which, how many together, the odd one out, from
small to large.

Partners are drawn so that pictures often share something, since two drawn by lot hardly ever do; whatever a background
may hold, and whatever could be called by the name that is asked about, is left alone. Yes and no are kept even over
a split by `balance`, kind by kind and name by name; therefore a writer goes through its scenes in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.data.draw import pick
from sensorium.data.records import ConversationRow, Scene
from sensorium.data.scenes.balance import Balance, Claim
from sensorium.data.scenes.facts import Facts, neighbours
from sensorium.data.scenes.phrases import NUMBERS, Phrases, joined, name_words, things
from sensorium.data.scenes.vocabulary import Vocabulary

PHRASES = Path(__file__).with_name("several.yaml")
ORDINALS = ("first", "second", "third")
_SHARING = 0.7  # of partners share a name with the first picture
_ODD = 0.15  # of conversations are about three pictures, one of which is the odd one out
_ORDER = 0.1  # are about three, to be put in order
_NAMED = 0.4  # of conversations announce each picture by its number
_SHORT = 0.5  # of yes/no questions ask for a bare word
_TURNS = (2, 4)
_LARGER = 1.6  # times the area of the other: plainly larger
_TRIED = 12  # pictures of a name, to find two more of other sizes
YES_NO = " Please answer yes or no."


@dataclass(frozen=True)
class Question:
    """A question about several pictures. kind: what is asked; about: the name, where it is about one.

    truth: the answer as it is measured: Yes or No, "first", a numeral, or "second first third"; claim: what was asked
    with yes or no, to be taken off the balance once it is said.
    """

    kind: str
    question: str
    answer: str
    about: str = ""
    truth: str = ""
    claim: Claim | None = None


@dataclass(frozen=True)
class SeveralWriter:
    """Writes about the scenes of one split. seed and the scenes fix everything that keeping yes and no even does not.

    shows: background -> the names seen in it.
    """

    vocabulary: Vocabulary
    scenes: Sequence[Scene]
    seed: int
    shows: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def phrases(self) -> Phrases:
        return Phrases.load(PHRASES)

    @cached_property
    def _with_name(self) -> dict[str, list[int]]:
        """Name -> numbers of the scenes that show it."""
        found: dict[str, list[int]] = {}
        for number, scene in enumerate(self.scenes):
            for name in scene.counts:
                found.setdefault(name, []).append(number)
        return found

    @cached_property
    def _with_one(self) -> dict[str, list[int]]:
        """Name -> numbers of the scenes that show one, and nothing else that might be called so."""
        found: dict[str, list[int]] = {}
        for name, numbers in self._with_name.items():
            for number in numbers:
                facts = self._facts(self.scenes[number])
                called = [other for other in (*facts.counts, *facts.shows) if self.vocabulary.confusable(name, other)]
                if called == [name] and facts.counts[name] == 1:
                    found.setdefault(name, []).append(number)
        return found

    def write(self, count: int) -> Iterator[ConversationRow]:
        """That many conversations, the split's scenes one after the other as first pictures."""
        balance = Balance()
        for number in range(count):
            rng = np.random.default_rng((self.seed, 7, number))
            first = number % len(self.scenes)
            way, made = rng.random(), None
            if way < _ODD + _ORDER:
                made = self.odd(first, rng) if way < _ODD else self.order(first, rng)
            scenes, questions = made or self._talk(first, rng, balance)
            if questions:
                messages = _messages(scenes, questions, rng)
                yield ConversationRow(f"several-{number:06d}", None, "several", messages)

    def ask(self, first: Scene, second: Scene, rng: np.random.Generator, balance: Balance) -> list[Question]:
        """All kinds of question that two scenes offer, one of each; yes or no as the balance deals them."""
        facts = self._facts(first), self._facts(second)
        asked = [way(facts, rng) for way in (self._which, self._more, self._sum, self._larger, self._common)]
        asked += [self._both(facts, rng, balance), self._color(facts, rng, balance)]
        return [question for question in asked if question is not None]

    def pair(self, first: int, rng: np.random.Generator) -> list[Scene]:
        """A scene and another, in either order, that mostly share a name; empty where there is no other."""
        names = [name for name in self.scenes[first].counts if len(self._with_name[name]) > 1]
        pool: Sequence[int] = range(len(self.scenes))
        if names and rng.random() < _SHARING:
            pool = self._with_name[pick(names, rng)]
        others = [number for number in (int(rng.choice(pool)) for _ in range(4)) if number != first]
        if not others:
            return []
        scenes = [self.scenes[first], self.scenes[others[0]]]
        return scenes[::-1] if rng.random() < 0.5 else scenes

    def _talk(
        self, first: int, rng: np.random.Generator, balance: Balance
    ) -> tuple[list[Scene], list[Question]]:
        scenes = self.pair(first, rng)
        if not scenes:
            return [], []
        questions = self.ask(scenes[0], scenes[1], rng, balance)
        order = rng.permutation(len(questions))[: int(rng.integers(_TURNS[0], _TURNS[1] + 1))]
        kept = _untold([questions[i] for i in order])
        for question in kept:
            if question.claim:
                balance.take(question.claim, question.kind)
        return scenes, kept

    def odd(self, first: int, rng: np.random.Generator) -> tuple[list[Scene], list[Question]] | None:
        """Two pictures that share a name and one that plainly has nothing of it; None where that is not found."""
        names = [name for name in self.scenes[first].counts if len(self._with_name[name]) > 1]
        if not names:
            return None
        name = pick(names, rng)
        partners = [number for number in self._with_name[name] if number != first]
        strangers = [int(rng.integers(len(self.scenes))) for _ in range(8)]
        strangers = [number for number in strangers if self._lacks(self._facts(self.scenes[number]), name)]
        if not strangers:
            return None
        place = int(rng.integers(3))
        shown = [first, pick(partners, rng)]
        shown.insert(place, strangers[0])
        words = {**name_words(self.vocabulary, name), **_which(place)}
        question = Question("odd", self.phrases.say("odd.question", rng, words),
                            self.phrases.say("odd.answer", rng, words), name, ORDINALS[place])
        return [self.scenes[number] for number in shown], [question]

    def order(self, first: int, rng: np.random.Generator) -> tuple[list[Scene], list[Question]] | None:
        """Three pictures of one such thing each, every one plainly larger than the one before, in any order; None where
        that is not found."""
        names = [name for name in self.scenes[first].counts if first in self._with_one.get(name, ())]
        if not names:
            return None
        name = pick(names, rng)
        chosen = [first]
        for number in (pick(self._with_one[name], rng) for _ in range(_TRIED)):
            if all(self._is_plain(name, number, other) for other in chosen) and len(chosen) < len(ORDINALS):
                chosen.append(number)
        if len(chosen) < len(ORDINALS):
            return None
        places = [int(place) for place in rng.permutation(len(ORDINALS))]  # of the smallest, the next, the largest
        by_size = sorted(chosen, key=lambda number: self._area(name, number))
        shown = [self.scenes[number] for _, number in sorted(zip(places, by_size, strict=True))]
        words = dict(zip(("small", "middle", "large"), (str(place + 1) for place in places), strict=True))
        return shown, [self._said("order", name, " ".join(ORDINALS[place] for place in places), rng, **words)]

    def _area(self, name: str, number: int) -> int:
        return self.scenes[number].of(name)[0].box.area

    def _is_plain(self, name: str, number: int, other: int) -> bool:
        """Whether of two pictures of one thing each the one is plainly larger."""
        areas = [self._area(name, one) for one in (number, other)]
        return max(areas) >= _LARGER * min(areas)

    def _facts(self, scene: Scene) -> Facts:
        return Facts(scene, self.shows.get(scene.background, ()))

    def _lacks(self, facts: Facts, name: str) -> bool:
        """Whether nothing in a picture might be called by that name."""
        return not any(self.vocabulary.confusable(name, other) for other in (*facts.counts, *facts.shows))

    def _said(self, kind: str, name: str, truth: str, rng: np.random.Generator, **more: str) -> Question:
        words = {**name_words(self.vocabulary, name), **more}
        return Question(kind, self.phrases.say(f"{kind}.question", rng, words),
                        self.phrases.say(f"{kind}.answer", rng, words), name, truth)

    def _placed(self, kind: str, name: str, place: int, rng: np.random.Generator) -> Question:
        """A question answered by which picture it is."""
        return self._said(kind, name, ORDINALS[place], rng, **_which(place))

    def _evenly(
        self, kind: str, of_yes: Sequence[str], of_no: Sequence[str], rng: np.random.Generator, balance: Balance
    ) -> Question | None:
        """The yes or no that is dealt, about the name that has seen it least; None where it cannot be asked."""
        truth = balance.deal(kind, rng)
        claims = [Claim(kind, kind, truth, (name,), (name,), {}) for name in (of_yes if truth else of_no)]
        claim = balance.choose(claims, rng)
        if claim is None:
            return None
        [name], said = claim.names, "Yes" if truth else "No"
        question = self.phrases.say(f"{kind}.question", rng, name_words(self.vocabulary, name))
        is_short = rng.random() < _SHORT
        return Question(kind, question + YES_NO * is_short, said + "." * (not is_short), name, said, claim)

    def _both(self, facts: tuple[Facts, Facts], rng: np.random.Generator, balance: Balance) -> Question | None:
        """Only where yes and no could be asked: two pictures of nothing in common would make it always no."""
        in_both, in_one = _shared(facts), self._in_one(facts)
        if not in_both or not in_one:
            return None
        return self._evenly("both", in_both, in_one, rng, balance)

    def _which(self, facts: tuple[Facts, Facts], rng: np.random.Generator) -> Question | None:
        names = self._in_one(facts)
        if not names:
            return None
        name = pick(names, rng)
        return self._placed("which", name, 0 if name in facts[0].counts else 1, rng)

    def _color(self, facts: tuple[Facts, Facts], rng: np.random.Generator, balance: Balance) -> Question | None:
        """Of single things in both; two colours that run into one another are neither the same nor different."""
        first, second = facts[0].colours, facts[1].colours
        names = [name for name in _shared(facts) if _is_single(name, facts) and {name} <= first.keys() & second.keys()]
        same = [name for name in names if first[name] == second[name]]
        other = [name for name in names if first[name] != second[name] and not neighbours(first[name], second[name])]
        return self._evenly("color", same, other, rng, balance)

    def _more(self, facts: tuple[Facts, Facts], rng: np.random.Generator) -> Question | None:
        names = [name for name in _shared(facts) if facts[0].counts[name] != facts[1].counts[name]]
        if not names:
            return None
        name = pick(names, rng)
        return self._placed("more", name, int(facts[1].counts[name] > facts[0].counts[name]), rng)

    def _sum(self, facts: tuple[Facts, Facts], rng: np.random.Generator) -> Question | None:
        totals = {name: facts[0].counts[name] + facts[1].counts[name] for name in _shared(facts)}
        names = [name for name, total in totals.items() if total < len(NUMBERS)]
        if not names:
            return None
        name = pick([name for name in names if totals[name] > 2] or names, rng)  # or "two" were a good blind answer
        total = things(self.vocabulary, name, totals[name], numeral=True)
        return self._said("sum", name, str(totals[name]), rng, total=total)

    def _larger(self, facts: tuple[Facts, Facts], rng: np.random.Generator) -> Question | None:
        areas = {name: [of.boxes[name][0].area for of in facts] for name in _shared(facts) if _is_single(name, facts)}
        names = [name for name, both in areas.items() if max(both) >= _LARGER * min(both)]
        if not names:
            return None
        name = pick(names, rng)
        return self._placed("larger", name, int(areas[name][1] > areas[name][0]), rng)

    def _common(self, facts: tuple[Facts, Facts], rng: np.random.Generator) -> Question | None:
        names = _shared(facts)
        if not names:
            return None
        common = joined([self.vocabulary[name].one for name in names])
        return self._said("common", names[0], common, rng, common=common)

    def _in_one(self, facts: tuple[Facts, Facts]) -> list[str]:
        """Names of which one picture shows something and the other plainly nothing."""
        return [name for of, other in (facts, facts[::-1]) for name in of.counts if self._lacks(other, name)]


def _shared(facts: tuple[Facts, Facts]) -> list[str]:
    return [name for name in facts[0].counts if name in facts[1].counts]


def _is_single(name: str, facts: tuple[Facts, Facts]) -> bool:
    return all(of.counts[name] == 1 for of in facts)


def _which(place: int) -> dict[str, str]:
    return {"which": ORDINALS[place], "number": str(place + 1)}


def _untold(questions: Sequence[Question]) -> list[Question]:
    """Without those that an earlier answer gave away: what both show, or where a name stands, is then known."""
    kept: list[Question] = []
    told: set[str] = set()
    for question in questions:
        if question.kind not in ("both", "which") or question.about not in told:
            kept.append(question)
        told.add(question.about)
    return [q for i, q in enumerate(kept) if q.kind != "common" or i == 0]


def _messages(scenes: Sequence[Scene], questions: Sequence[Question], rng: np.random.Generator) -> list[dict[str, Any]]:
    """The pictures in the first user turn, now and then each announced by its number."""
    shown: list[dict[str, str]] = []
    is_named = rng.random() < _NAMED
    for number, scene in enumerate(scenes, start=1):
        if is_named:
            shown.append({"type": "text", "text": f"{'' if number == 1 else ' '}Picture {number}: "})
        shown.append({"type": "image", "path": scene.image})
    rows: list[dict[str, Any]] = []
    for question in questions:
        rows.append({"role": "user", "content": [{"type": "text", "text": question.question}]})
        rows.append({"role": "assistant", "content": [{"type": "text", "text": question.answer}]})
    rows[0]["content"] = [*shown, *rows[0]["content"]]
    return rows
