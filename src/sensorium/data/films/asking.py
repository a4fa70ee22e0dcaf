"""Conversations about clips: what happens, where to, how often, in which order, what the card says.

Yes and no come from decks (`scenes.balance`), a deck for each kind of question, and of claims with the dealt answer the
one is asked whose subject has seen that answer least; so a split goes through one writer, in order. What a thing does
not do is asked of things that are there, where there are any: to know that it is there is not enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.data.draw import pick
from sensorium.data.films.casting import Caster
from sensorium.data.films.clips import MOST_JUMPS
from sensorium.data.films.records import Film, Happening, Span
from sensorium.data.records import COLOURS, ConversationRow
from sensorium.data.scenes.balance import Balance, Claim
from sensorium.data.scenes.facts import neighbours
from sensorium.data.scenes.phrases import Phrases, capital, name_words

PHRASES = Path(__file__).with_name("phrases.yaml")
WAYS = {"left": "to the left", "right": "to the right", "up": "up", "down": "down"}
SIDES = {"left": "the left", "right": "the right", "up": "the top", "down": "the bottom"}
TIMES = ("never", "once", "twice", "three times", "four times", "five times", "six times")
CLAIMS = ("moves", "enters", "leaves", "jumps", "turns", "card", "order")
# Kind -> that it happens, which gives nothing away; and all there is to say about it.
_CLAUSES = {
    "moves": ("{the} moves", "{the} moves {way}"), "enters": ("{a} comes in", "{a} comes in from {side}"),
    "leaves": ("{the} leaves", "{the} goes out at {side}"), "jumps": ("{the} jumps", "{the} jumps {times}"),
    "turns": ("{the} changes its color", "{the} turns from {old} to {new}"),
    "card": ("a card appears", "a card says {word}"), "shows": ("{a} appears", "{a} appears"),
}  # fmt: skip
_TURNS = (2, 5)
_YES_NO_SHARE = 0.5  # of turns
_SHORT_SHARE = 0.6  # of yes/no questions ask for a bare word
_CAPTION_SHARE = 0.5  # of conversations open with what happens; nothing then needs to be asked
_FIRST_SHARE = 0.9  # of videos stand before the words


@dataclass(frozen=True)
class Said:
    """A question about a clip. spans: its certificate; about: the happenings that it gives away."""

    kind: str
    question: str
    answer: str
    spans: tuple[Span, ...]
    about: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ClipWriter:
    """Writes about the clips of one split, in order."""

    caster: Caster
    seed: int
    balance: Balance = field(default_factory=Balance)

    @cached_property
    def phrases(self) -> Phrases:
        return Phrases.load(PHRASES)

    def write(self, film: Film, count: int) -> list[tuple[ConversationRow, list[tuple[Span, ...]]]]:
        """That many conversations about a clip, each with the certificates of its questions."""
        rng = np.random.default_rng((self.seed, 31, int(film.id)))
        written = []
        for number in range(count):
            turns = [self.caption(film, rng)] if number == 0 and rng.random() < _CAPTION_SHARE else self.talk(film, rng)
            row = ConversationRow(f"{film.id}-{number}", film.id, "video", _messages(turns, film.video, rng))
            written.append((row, [turn.spans for turn in turns]))
        return written

    def caption(self, film: Film, rng: np.random.Generator) -> Said:
        """What happens, in order."""
        words = {"told": ". Then ".join(_CLAUSES[one.kind][1].format_map(self.words(one)) for one in film.happenings)}
        return Said("caption", self.phrases.say("caption.question", rng, words),
                    self.phrases.say("caption.answer", rng, words), (film.whole,), ())  # fmt: skip

    def talk(self, film: Film, rng: np.random.Generator) -> list[Said]:
        """Two to five questions, none of which an earlier one has answered; one where a clip offers no more."""
        wanted = int(rng.integers(_TURNS[0], _TURNS[1] + 1))
        turns: list[Said] = []
        told: set[tuple[str, str]] = set()
        for _ in range(4 * wanted):
            if len(turns) == wanted:
                break
            claim = self.claim(film, rng, told) if rng.random() < _YES_NO_SHARE else None
            turn = claim or self.open(film, rng, told)
            if turn is not None:
                turns.append(turn)
                told.update(turn.about)
        return turns or [self.caption(film, rng)]

    def claim(self, film: Film, rng: np.random.Generator, told: set[tuple[str, str]] | None = None) -> Said | None:
        """A yes/no question of a kind that the clip offers; None where the dealt answer cannot be had."""
        told = told or set()
        offered: set[str] = {one.kind for one in film.happenings if one.key not in told}
        if len(film.happenings) > 1 and not told:
            offered.add("order")  # each of two happenings is then spoken of
        kinds = [kind for kind in CLAIMS if kind in offered]
        if not kinds:
            return None
        kind = pick(kinds, rng)
        truth = self.balance.deal(kind, rng)
        happening = pick([one for one in film.happenings if one.kind == kind and one.key not in told], rng) if (
            kind != "order") else film.happenings[0]  # fmt: skip
        claims = self._order(film, truth) if kind == "order" else self._claims(film, happening, truth, rng)
        claim = self.balance.choose(claims, rng, strict=False)
        if claim is None:
            return None
        self.balance.take(claim, kind)
        question, is_short = self.phrases.say(f"{kind}.claim", rng, claim.words), rng.random() < _SHORT_SHARE
        said = "yes" if truth else "no"
        if is_short:
            question, answer = f"{question} {self.phrases.say('short', rng, {})}", capital(said)
        else:
            answer = self.phrases.say(f"{kind}.{said}", rng, claim.words)
        spans = tuple(one.span for one in film.happenings) if kind == "order" else (happening.span,)
        about = tuple(one.key for one in film.happenings) if kind == "order" else (happening.key,)
        return Said(f"{kind}?", question, answer, spans, about)

    def open(self, film: Film, rng: np.random.Generator, told: set[tuple[str, str]] | None = None) -> Said | None:
        """A question that a word or a sentence answers."""
        fresh = [one for one in film.happenings if one.key not in (told or ())]
        if len(fresh) > 1 and rng.random() < 0.25:
            one, other = sorted((*fresh[int(i)].span, int(i)) for i in rng.choice(len(fresh), 2, replace=False))
            first, second = fresh[one[2]], fresh[other[2]]
            spoken = [self.clause(first), self.clause(second)]
            a, b = (spoken[i] for i in rng.permutation(2))
            words = {"first": spoken[0], "second": spoken[1], "one": a, "other": b}
            return self._said("order", words, (first.span, second.span), (first.key, second.key), rng)
        if not fresh:
            return None
        happening = pick(fresh, rng)
        key = pick(ways_to_ask(film, happening), rng)
        return self._said(key, self.words(happening), (happening.span,), (happening.key,), rng)

    def _said(
        self, key: str, words: dict[str, str], spans: tuple[Span, ...], about: tuple[tuple[str, str], ...],
        rng: np.random.Generator,
    ) -> Said:
        return Said(key, self.phrases.say(f"{key}.question", rng, words), self.phrases.say(f"{key}.answer", rng, words),
                    spans, about)  # fmt: skip

    def words(self, happening: Happening) -> dict[str, str]:
        """The placeholders that speak of one happening."""
        detail = happening.detail
        if happening.kind == "card":
            return {"word": happening.name, "true_word": happening.name}
        words = name_words(self.caster.catalogue.vocabulary, happening.name)
        if happening.kind == "moves":
            words |= {"way": WAYS[detail[0]], "true_way": WAYS[detail[0]]}
        elif happening.kind in ("enters", "leaves"):
            words |= {"side": SIDES[detail[0]]}
        elif happening.kind == "jumps":
            words |= {"times": TIMES[int(detail[0])], "true_times": TIMES[int(detail[0])], "digit": detail[0]}
        elif happening.kind == "turns":
            words |= {"old": detail[0], "new": detail[1], "true_new": detail[1]}
        return words

    def clause(self, happening: Happening) -> str:
        """ "the dog moves", to stand within a sentence."""
        return _CLAUSES[happening.kind][0].format_map(self.words(happening))

    def _claims(self, film: Film, one: Happening, truth: bool, rng: np.random.Generator) -> list[Claim]:
        words = self.words(one)
        if one.kind in ("enters", "leaves"):
            names = [one.name] if truth else self._others(film, one, rng)
            told = name_words
            vocabulary = self.caster.catalogue.vocabulary
            return [Claim(one.kind, one.kind, truth, (name,), (name,), {**words, **told(vocabulary, name)})
                    for name in names]  # fmt: skip
        field_of, said = _ASKED[one.kind]
        right = one.name if one.kind == "card" else one.detail[-1]
        values = [right] if truth else self._wrong(one, right, rng)
        return [
            Claim(one.kind, one.kind, truth, (value,), (one.name,),
                  {**words, field_of: said(value), **({"digit": value} if one.kind == "jumps" else {})})
            for value in values
        ]  # fmt: skip

    def _others(self, film: Film, one: Happening, rng: np.random.Generator) -> list[str]:
        """Names of which that did not happen: of things that are there, else, of coming in, of things that are not."""
        done = {happening.name for happening in film.of(one.kind)}
        there = [name for name in film.names if name not in done]
        return there or ([] if one.kind == "leaves" else self.caster.absent(film, one.name, 1, rng))

    def _wrong(self, one: Happening, right: str, rng: np.random.Generator) -> list[str]:
        if one.kind == "card":
            return [word for word in self.caster.words if word != right]
        if one.kind == "moves":
            return [way for way in WAYS if way != right]
        if one.kind == "jumps":
            return [str(n) for n in range(1, MOST_JUMPS + 1) if str(n) != right]
        return [colour for colour in COLOURS if colour != right and not neighbours(colour, right)]

    def _order(self, film: Film, truth: bool) -> list[Claim]:
        claims = []
        for one, other in combinations(film.happenings, 2):
            first, second = (one, other) if truth else (other, one)
            words = {"first": self.clause(first), "second": self.clause(second)}
            claims.append(Claim("order", "order", truth, ((first.kind, second.kind),), (one.name, other.name), words))
        return claims


_ASKED: dict[str, tuple[str, Any]] = {
    "moves": ("way", WAYS.__getitem__), "jumps": ("times", lambda n: TIMES[int(n)]), "turns": ("new", str),
    "card": ("word", str),
}  # fmt: skip


def ways_to_ask(film: Film, happening: Happening) -> list[str]:
    """The lists of phrases that ask about a happening; who did it is asked where nobody else did the same."""
    kind = happening.kind
    is_only = len(film.of(kind)) == 1
    found = {"enters": ["enters_side"], "leaves": ["leaves_side"], "turns": ["turns", "turns_old"]}.get(kind, [kind])
    if is_only and kind in ("enters", "leaves"):
        found = [*found, kind]
    return [*found, "turns_who"] if is_only and kind == "turns" else found


def _messages(turns: Sequence[Said], video: str, rng: np.random.Generator) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for turn in turns:
        rows.append({"role": "user", "content": [{"type": "text", "text": turn.question}]})
        rows.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
    rows[0]["content"].insert(0 if rng.random() < _FIRST_SHARE else 1, {"type": "video", "path": video})
    return rows
