"""Multiple choice about films, four options each, as Video-MME asks: of clips, and of long films.

Wrong options are of the right one's kind: other directions, numbers that films have as often, things and words drawn as
those in the film were, or what happens at another time. The letters are dealt from a deck, so that no letter is the
better guess; numbers stand in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sensorium.data.draw import pick
from sensorium.data.films.asking import PHRASES, SIDES, TIMES, WAYS, ClipWriter, ways_to_ask
from sensorium.data.films.casting import Caster
from sensorium.data.films.clips import MOST_JUMPS
from sensorium.data.films.long import CARDS, VISITS
from sensorium.data.films.narrator import narration
from sensorium.data.films.records import Film, FilmQuestion, Happening, Kind, Source, Span
from sensorium.data.records import COLOURS
from sensorium.data.scenes.balance import Balance
from sensorium.data.scenes.facts import neighbours
from sensorium.data.scenes.phrases import Phrases, capital, name_words

PER_CLIP = 3  # at most, as Video-MME has them
LETTERS = "ABCD"
_QUARTERS = ("In the first quarter.", "In the second quarter.", "In the third quarter.", "In the last quarter.")
_NO_CARD_SHARE = 0.55  # of films without a card: how often one is a wrong option of what comes next
_FROM_A_QUARTERS_EDGE = 0.03  # of the film: nearer to it, nobody could tell
_TASK_TYPES = {
    "moves": "Action Recognition", "enters": "Object Recognition", "enters_side": "Spatial Perception",
    "leaves": "Object Recognition", "leaves_side": "Spatial Perception", "jumps": "Counting Problem",
    "turns": "Attribute Perception", "turns_old": "Attribute Perception", "turns_who": "Object Recognition",
    "card": "OCR Problems", "after": "Temporal Reasoning", "before": "Temporal Reasoning",
    "long_card": "OCR Problems", "long_shows": "Object Recognition", "long_when": "Temporal Perception",
    "long_with": "Object Reasoning", "long_first": "Temporal Reasoning", "long_last": "Temporal Reasoning",
    "long_cards": "Counting Problem", "long_visits": "Counting Problem", "long_never": "Information Synopsis",
    "said": "Information Synopsis",
}  # fmt: skip


@dataclass(frozen=True)
class _Asked:
    """A question before its options are in order. is_ordered: they stand as they are."""

    kind: str
    question: str
    right: str
    wrong: Sequence[str]
    spans: tuple[Span, ...]
    source: Source = "seen"
    is_ordered: bool = False


@dataclass(frozen=True)
class Chooser:
    """Writes the multiple choice about the films of one split, in order."""

    caster: Caster
    seed: int
    balance: Balance = field(default_factory=Balance)
    _deck: list[int] = field(default_factory=list)

    @cached_property
    def phrases(self) -> Phrases:
        return Phrases.load(PHRASES)

    @cached_property
    def writer(self) -> ClipWriter:
        return ClipWriter(self.caster, self.seed)

    def write(self, film: Film) -> list[FilmQuestion]:
        """The questions about a film, fewer where a small catalogue leaves no wrong answers."""
        rng = np.random.default_rng((self.seed, 37, film.minutes, int(film.id.split("-")[-1])))
        asked = self.about_long(film, rng) if film.minutes else self.about_clip(film, rng)
        whole = [one for one in asked if one.right and len({one.right, *one.wrong}) == 4]
        if not film.minutes:
            whole = [whole[i] for i in sorted(rng.permutation(len(whole))[:PER_CLIP])]
        return [self._written(film, number, one, rng) for number, one in enumerate(whole, start=1)]

    def _written(self, film: Film, number: int, one: _Asked, rng: np.random.Generator) -> FilmQuestion:
        if one.is_ordered:
            options = sorted((one.right, *one.wrong), key=_ORDER.index)
        else:
            options = [one.wrong[i] for i in rng.permutation(3)]
            if not self._deck:
                self._deck.extend(rng.permutation(4 * [0, 1, 2, 3]).tolist())
            options.insert(self._deck.pop(), one.right)
        letter = LETTERS[options.index(one.right)]
        return FilmQuestion(f"{film.id}-{number}", film.id, one.kind, _TASK_TYPES[one.kind], one.source, one.question,
                            tuple(options), letter, one.spans)  # type: ignore[arg-type]  # fmt: skip

    def about_clip(self, film: Film, rng: np.random.Generator) -> list[_Asked]:
        """One question about each happening, and one about their order where there are several."""
        asked = [self._about(film, one, pick(ways_to_ask(film, one), rng), rng) for one in film.happenings]
        if len(film.happenings) > 1:
            asked.append(self._order(film, rng))
        return asked

    def _about(self, film: Film, one: Happening, kind: str, rng: np.random.Generator) -> _Asked:
        question = self.phrases.say(f"{kind}.question", rng, self.writer.words(one))
        right, wrong = self._values(film, one, kind, rng)
        return _Asked(kind, question, right, wrong, (one.span,), is_ordered=kind == "jumps")

    def _values(
        self, film: Film, one: Happening, kind: str, rng: np.random.Generator
    ) -> tuple[str, list[str]]:
        """The right option and three wrong ones."""
        if kind == "card":
            return one.name, self._words([one.name], rng)
        if kind in ("enters", "leaves", "turns_who"):
            lead = self.caster.casting.lead
            # Of held-out and other names together, whichever are fewer would never be right.
            there = [name for name in film.names if name != one.name and (name in lead) == (one.name in lead)]
            absent = self.caster.absent(film, one.name, 3, rng)
            return self._a(one.name), [self._a(name) for name in (*there, *absent)[:3]]
        if kind in ("turns", "turns_old"):
            right, *wrong = one.detail[::-1] if kind == "turns" else one.detail
            for i in rng.permutation(len(COLOURS)):
                # All four are plainly told apart: if wrong ones ran into one another, the right one would stand out.
                if not any(COLOURS[i] == c or neighbours(COLOURS[i], c) for c in (right, *wrong)):
                    wrong.append(COLOURS[i])
            return _line(right), [_line(colour) for colour in wrong[:3]]
        if kind == "jumps":
            return _line(TIMES[int(one.detail[0])]), [
                _line(TIMES[n]) for n in range(1, MOST_JUMPS + 1) if str(n) != one.detail[0]
            ]
        said = WAYS if kind == "moves" else SIDES
        before = "" if kind == "moves" else "At " if kind == "leaves_side" else "From "
        lines = {way: _line(before + words) for way, words in said.items()}
        return lines.pop(one.detail[0]), list(lines.values())

    def _order(self, film: Film, rng: np.random.Generator) -> _Asked:
        """What comes after, or before: the right one, what happens elsewhen, and what never does."""
        is_after = bool(rng.random() < 0.5)
        number = int(rng.integers(len(film.happenings) - 1))
        first, second = film.happenings[number], film.happenings[number + 1]
        given, right = (first, second) if is_after else (second, first)
        key = "after" if is_after else "before"
        words = {"first": self.writer.clause(first), "second": self.writer.clause(second)}
        elsewhen = [self._clause(one) for one in film.happenings if one not in (first, second)]
        never = [self._clause(one) for one in self._never(film, rng)]
        # A thing that is there at times it is asked about may be the wrong one as well: what is given never is right.
        wrong = dict.fromkeys(one for one in (*elsewhen, *never) if one != self._clause(right))
        question = self.phrases.say(f"{key}.question", rng, words)
        return _Asked(key, question, self._clause(right), list(wrong)[:3], (given.span, right.span))

    def _never(self, film: Film, rng: np.random.Generator) -> list[Happening]:
        """What does not happen: other things of those that are there, and some of things that are not, which are
        held out as often as those; a card about as often as one is the right answer elsewhere.
        """
        absent = [name for there in film.names for name in self.caster.absent(film, there, 3, rng)]
        happened = {one.key for one in film.happenings}
        busy = {one.name for one in film.happenings}
        made = []
        for name in dict.fromkeys((*film.names, *absent)):
            # Whoever comes in, leaves or jumps moves as well, in a way.
            kinds = [kind for kind in _NEVER if (kind, name) not in happened and not (kind == "moves" and name in busy)]
            kind = pick(kinds, rng)
            made.append(Happening(kind, film.whole, name, _NEVER[kind]))
        made = [made[i] for i in rng.permutation(len(made))]
        if not film.of("card") and rng.random() < _NO_CARD_SHARE:
            made.insert(0, Happening("card", film.whole, self.caster.words[0]))
        return made

    def about_long(self, film: Film, rng: np.random.Generator) -> list[_Asked]:
        """Needles, what is said, and what takes the whole film to know."""
        cards, shows = film.of("card"), film.of("shows")
        visits: dict[str, list[Happening]] = {}
        for one in shows:
            visits.setdefault(one.name, []).append(one)
        once = [found[0] for found in visits.values() if len(found) == 1]
        words = [card.name for card in cards]
        spans = tuple(card.span for card in cards)
        card = pick(cards, rng)
        asked = [
            self._ask("long_card", rng, card.name, self._words(words, rng), (card.span,)),
            self._ask("long_with", rng, *self._beside(film, card, rng), (card.span,), word=card.name),
            self._ask("long_first", rng, words[0], [*words[1:4], *self._words(words, rng)][:3], spans, "whole"),
            self._ask("long_last", rng, words[-1], [*words[-4:-1], *self._words(words, rng)][:3], spans, "whole"),
            self._count("long_cards", rng, len(cards), CARDS, spans, ""),
        ]
        if shows:
            shown = pick(once or shows, rng)
            absent = [self._a(name) for name in self.caster.absent(film, shown.name, 4, rng)]
            there = [self._a(name) for name in film.names]
            asked.append(self._ask("long_shows", rng, self._a(shown.name), absent[:3], (shown.span,)))
            never = [there[i] for i in rng.permutation(len(there))[:3]]
            asked.append(self._ask("long_never", rng, absent[-1] if absent else "", never, (film.whole,), "whole"))
        for name, found in visits.items():
            if len(found) >= VISITS[0]:
                asked.append(self._count("long_visits", rng, len(found), VISITS, [one.span for one in found], name))
        placed = [one for one in cards if _quarter(film, one) is not None]
        if placed:
            card = pick(placed, rng)
            quarter = _quarter(film, card)
            wrong = [words for number, words in enumerate(_QUARTERS) if number != quarter]
            asked.append(self._ask("long_when", rng, _QUARTERS[quarter or 0], wrong, (card.span,), word=card.name))
        return [*asked, *self._heard(film, rng)]

    def _ask(
        self, kind: str, rng: np.random.Generator, right: str, wrong: Sequence[str], spans: Sequence[Span],
        source: Source = "seen", **words: str,
    ) -> _Asked:
        question = self.phrases.say(f"{kind}.question", rng, words)
        return _Asked(kind, question, right, wrong, tuple(spans), source, kind == "long_when")

    def _count(
        self, kind: str, rng: np.random.Generator, count: int, bounds: tuple[int, int], spans: Sequence[Span], name: str
    ) -> _Asked:
        numbers = [str(n) for n in range(bounds[0], bounds[1] + 1)]
        words = name_words(self.caster.catalogue.vocabulary, name) if name else {}
        question = self.phrases.say(f"{kind}.question", rng, words)
        wrong = [n for n in numbers if n != str(count)]
        return _Asked(kind, question, str(count), wrong, tuple(spans), "whole", True)

    def _beside(self, film: Film, card: Happening, rng: np.random.Generator) -> tuple[str, list[str]]:
        """Whoever is there with a card, and three who are there at other times."""
        needles = {one.name for one in film.of("shows")}
        here, elsewhere = dict[str, None](), dict[str, None]()
        for actor in film.actors:
            if actor.name not in needles:
                is_here = any(span[0] <= card.span[0] < span[1] for span in actor.seen)
                (here if is_here else elsewhere)[actor.name] = None
        others = [name for name in elsewhere if name not in here]
        wrong = [others[i] for i in rng.permutation(len(others))[:3]]
        return self._a(next(iter(here), "")), [self._a(name) for name in wrong]

    def _heard(self, film: Film, rng: np.random.Generator) -> list[_Asked]:
        """What the narrator told: no picture shows it."""
        asked = []
        for line in film.lines:
            if line.fact is None:
                continue
            fact, value = narration().facts[line.fact[0]], line.fact[1]
            others = [other for other in fact.values if other != value]
            wrong = [_line(others[i]) for i in rng.permutation(len(others))[:3]]
            asked.append(_Asked("said", fact.question, _line(value), wrong, (line.span,), "said"))
        return asked

    def _words(self, taken: Sequence[str], rng: np.random.Generator) -> list[str]:
        """Three words of no card in the film."""
        words = [word for word in self.caster.words if word not in taken]
        return [words[i] for i in rng.permutation(len(words))[:3]]

    def _a(self, name: str) -> str:
        return _line(self.caster.catalogue.vocabulary[name].one) if name else ""

    def _clause(self, one: Happening) -> str:
        return _line(self.writer.clause(one))


def _quarter(film: Film, one: Happening) -> int | None:
    """In which quarter of a film it happens; None near to the next one."""
    place = 4 * sum(one.span) / 2 / film.duration_s
    return int(place) if abs(place - round(place)) > 4 * _FROM_A_QUARTERS_EDGE or round(place) in (0, 4) else None


def _line(words: str) -> str:
    return f"{capital(words)}."


# What can be said not to happen, with details that its clause does not tell.
_NEVER: dict[Kind, tuple[str, ...]] = {
    "moves": ("left",), "enters": ("left",), "leaves": ("left",), "jumps": ("1",), "turns": ("red", "blue"),
}  # fmt: skip
_ORDER = (*(str(n) for n in range(20)), *(_line(times) for times in TIMES), *_QUARTERS)
