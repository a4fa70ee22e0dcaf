"""Conversations and probes about printed words: what a card says, the third word, is it there, where is it.

Every answer is a word as it is printed. A talk never asks for what it has already been told, or it would teach to read
the conversation. Whether a word is there is asked evenly with yes and no, each word by itself, and half of the noes
are about a word that looks like one that is there; words of the test splits are in no conversation of train.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.data.draw import pick
from sensorium.data.records import ConversationRow, Printed, PrintedWord, Probe, Scene
from sensorium.data.scenes.balance import Balance, Claim
from sensorium.data.scenes.phrases import Phrases
from sensorium.data.scenes.printed import cell_place
from sensorium.data.scenes.questions import Turn
from sensorium.data.scenes.words import look_alikes
from sensorium.data.scenes.write import messages
from sensorium.grounding import format_grounded

PHRASES = Path(__file__).with_name("reading.yaml")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
_TALKS = {"cards": 2, "page": 3}  # conversations about one picture
_TURNS = (2, 5)
_TRIES = 8  # draws of a kind for each turn wanted
_SHARES = {"say": 0.2, "nth": 0.2, "line": 0.1, "at": 0.15, "region": 0.1, "find": 0.15, "ground": 0.1}
_ALONE = 0.65  # of answers are the words alone
_SAMPLE = 24  # absent words weighed against each other
_ALIKE = 0.5  # of noes look like a word that is there
_MOST_WORDS = 6  # to be read out in one answer
_PAGE_PROBES = 3  # words asked for on one page


@dataclass
class _Talk:
    """What a conversation has told: words by their text. turn: how many turns went before."""

    scene: Scene
    told: set[str] = field(default_factory=set)
    boxed: set[str] = field(default_factory=set)
    turn: int = 0

    def is_open(self, *words: PrintedWord) -> bool:
        return self.told.isdisjoint(word.text for word in words)


@dataclass(frozen=True)
class Reader:
    """Writes about the printed words of one split. pool: the words that may be asked for; seed and the scene's number
    fix all that `balance` does not, therefore a reader takes its scenes in order.
    """

    pool: tuple[str, ...]
    seed: int
    balance: Balance = field(default_factory=Balance)

    @cached_property
    def phrases(self) -> Phrases:
        return Phrases.load(PHRASES)

    def write(self, scene: Scene) -> Iterator[ConversationRow]:
        """The conversations about one scene."""
        rng = np.random.default_rng((self.seed, int(scene.id), 2))
        for number in range(_TALKS[scene.kind]):
            turns = self.talk(_Talk(scene), rng)
            rows: list[dict[str, Any]] = messages(turns, scene.image, rng)
            yield ConversationRow(f"{scene.id}-reading{number}", scene.id, "reading", rows)

    def talk(self, talk: _Talk, rng: np.random.Generator) -> list[Turn]:
        """Two to five turns; fewer where a card holds one word and it is told."""
        ways: dict[str, Callable[[_Talk, np.random.Generator], Turn | None]] = {
            "say": self._say, "nth": self._nth, "line": self._line, "at": self._at, "region": self._region,
            "find": self._find, "ground": self._ground,
        }  # fmt: skip
        kinds, shares = list(_SHARES), np.array(list(_SHARES.values()))
        wanted, turns = int(rng.integers(_TURNS[0], _TURNS[1] + 1)), list[Turn]()
        for _ in range(_TRIES * wanted):
            if len(turns) == wanted:
                break
            turn = ways[kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]](talk, rng)
            if turn is not None:
                turns.append(turn)
                talk.turn += 1
        return turns or [self._read_word(talk, pick(talk.scene.words, rng), rng)]

    def probes(self, scene: Scene) -> Iterator[Probe]:
        """What a scene measures: reading by place and number, whether a word is there, and where, on cards."""
        rng = np.random.default_rng((self.seed, int(scene.id), 3))
        card = scene.kind == "cards"
        subset = "reading_card" if card else "reading_page"
        asked = self._card_probes(scene, rng) if card else self._page_probes(scene, rng)
        yield Probe(f"{scene.id}-{subset}", scene.id, scene.image, subset, questions=tuple(asked))
        if len(scene.printed) == 1 or not card:
            yes, no = (self._claim(_Talk(scene), scene.printed, truth, rng) for truth in (True, False))
            if yes and no:
                self.balance.take(yes)
                self.balance.take(no)
                ask = f" {self.phrases.wordings('find.short')[0]}"
                pair = tuple((self._one("find.probe", claim.words, rng) + ask, said)
                             for claim, said in ((yes, "Yes"), (no, "No")))  # fmt: skip
                yield Probe(f"{scene.id}-reading_find", scene.id, scene.image, "reading_find", questions=pair)
        if card:  # on a page the words are a hundredth high, and half an overlap is a matter of two pixels
            word = pick(scene.words, rng)
            yield Probe(f"{scene.id}-reading_box", scene.id, scene.image, "reading_box",
                        name=f'word "{word.text}"', box=word.box)  # fmt: skip

    def _card_probes(self, scene: Scene, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
        for block in scene.printed:
            words = {"the": _the(block, scene)}
            form = self._alone(len(block.words))
            yield self._one("say.probe", words, rng) + form, _text(block.words)
            if len(block.words) > 1:
                number = int(rng.integers(len(block.words)))
                words["ordinal"] = ORDINALS[number]
                yield self._one("nth.probe", words, rng) + self._alone(1), block.words[number].text

    def _page_probes(self, scene: Scene, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
        if len(scene.printed) > 1:
            for number in rng.permutation(len(scene.printed))[:_PAGE_PROBES]:
                block = scene.printed[int(number)]
                words = {"place": cell_place(block)}
                yield self._one("at.probe", words, rng) + self._alone(1), block.words[0].text
            return
        [block] = scene.printed
        for number in rng.permutation(min(len(block.words), len(ORDINALS)))[:_PAGE_PROBES]:
            words = {"the": "the page", "ordinal": ORDINALS[int(number)]}
            yield self._one("nth.probe", words, rng) + self._alone(1), block.words[int(number)].text

    def _alone(self, n_words: int, rng: np.random.Generator | None = None) -> str:
        wordings = self.phrases.wordings("alone.word" if n_words == 1 else "alone.words")
        return f" {wordings[0] if rng is None else pick(wordings, rng)}"

    def _one(self, key: str, words: Any, rng: np.random.Generator) -> str:
        return self.phrases.say(key, rng, words)

    def _answered(self, kind: str, words: dict[str, str], bare: str, rng: np.random.Generator) -> Turn:
        """A question whose answer is words: alone, or in a sentence."""
        question = self.phrases.say(f"{kind}.question", rng, words)
        if rng.random() < _ALONE:
            return Turn(kind, question + self._alone(len(bare.split()), rng), bare)
        return Turn(kind, question, self.phrases.say(f"{kind}.answer", rng, words))

    def _say(self, talk: _Talk, rng: np.random.Generator) -> Turn | None:
        blocks = [block for block in _blocks(talk.scene) if talk.is_open(*block.words)]
        blocks = [block for block in blocks if len(block.words) <= _MOST_WORDS]
        if not blocks:
            return None
        block = pick(blocks, rng)
        talk.told.update(word.text for word in block.words)
        text = _text(block.words)
        return self._answered("say", {"the": _the(block, talk.scene), "text": text}, text, rng)

    def _nth(self, talk: _Talk, rng: np.random.Generator) -> Turn | None:
        found = [
            (block, number)
            for block in _blocks(talk.scene)
            for number, word in enumerate(block.words[: len(ORDINALS)])
            if len(block.words) > 1 and talk.is_open(word)
        ]
        if not found:
            return None
        block, number = pick(found, rng)
        word = block.words[number].text
        talk.told.add(word)
        is_last = number == len(block.words) - 1 and rng.random() < 0.5
        ordinal = "last" if is_last else ORDINALS[number]
        return self._answered("nth", {"the": _the(block, talk.scene), "ordinal": ordinal, "word": word}, word, rng)

    def _line(self, talk: _Talk, rng: np.random.Generator) -> Turn | None:
        found = [
            (block, number)
            for block in _blocks(talk.scene)
            for number, line in enumerate(block.lines[: len(ORDINALS)])
            if len(block.lines) > 1 and talk.is_open(*line)
        ]
        if not found:
            return None
        block, number = pick(found, rng)
        text = _text(block.lines[number])
        talk.told.update(word.text for word in block.lines[number])
        words = {"the": _the(block, talk.scene), "ordinal": ORDINALS[number], "text": text}
        return self._answered("line", words, text, rng)

    def _at(self, talk: _Talk, rng: np.random.Generator) -> Turn | None:
        """Of pages whose words stand apart."""
        if talk.scene.kind != "page" or len(talk.scene.printed) < 2:
            return None
        blocks = [block for block in talk.scene.printed if talk.is_open(*block.words)]
        if not blocks:
            return None
        block = pick(blocks, rng)
        word = block.words[0].text
        talk.told.add(word)
        return self._answered("at", {"place": cell_place(block), "word": word}, word, rng)

    def _region(self, talk: _Talk, rng: np.random.Generator) -> Turn | None:
        words = [word for word in talk.scene.words if talk.is_open(word) and word.text not in talk.boxed]
        return self._read_word(talk, pick(words, rng), rng) if words else None

    def _read_word(self, talk: _Talk, word: PrintedWord, rng: np.random.Generator) -> Turn:
        talk.told.add(word.text)
        talk.boxed.add(word.text)
        words = {"box": format_grounded("", word.box), "word": word.text}
        return self._answered("region", words, word.text, rng)

    def _find(self, talk: _Talk, rng: np.random.Generator) -> Turn | None:
        deck = ("find", talk.turn)
        blocks = (pick(talk.scene.printed, rng),) if talk.scene.kind == "cards" else talk.scene.printed
        claim = self._claim(talk, blocks, self.balance.deal(deck, rng), rng)
        if claim is None:
            return None
        self.balance.take(claim, deck)
        if claim.truth:
            talk.told.update(word.text for word in talk.scene.words if word.text.lower() == claim.names[0])
        question = self.phrases.say("find.question", rng, claim.words)
        if rng.random() < _ALONE:
            short = self.phrases.wordings("find.short")[0]
            return Turn("find", f"{question} {short}", "Yes" if claim.truth else "No")
        return Turn("find", question, self.phrases.say("find.yes" if claim.truth else "find.no", rng, claim.words))

    def _claim(
        self, talk: _Talk, blocks: tuple[Printed, ...], truth: bool, rng: np.random.Generator
    ) -> Claim | None:
        """That a word is on those blocks, of the words whose answers most need evening out."""
        here = [word for block in blocks for word in block.words]
        the = _the(blocks[0], talk.scene)
        if truth:
            # A made-up word is never asked for and denied, so to ask for one would give the yes away.
            names = [word.text.lower() for word in here if talk.is_open(word) and word.text.lower() in self.pool]
        else:
            everywhere = {word.text.lower() for word in talk.scene.words}
            names = [self.pool[int(i)] for i in rng.permutation(len(self.pool))[:_SAMPLE]]
            if rng.random() < _ALIKE:
                names = look_alikes(pick(here, rng).text.lower(), self.pool)
            names = [name for name in names if name not in everywhere]
        claims = [Claim("find", "find", truth, (name,), (name,), {"word": name, "the": the}) for name in names]
        return self.balance.choose(claims, rng)

    def _ground(self, talk: _Talk, rng: np.random.Generator) -> Turn | None:
        words = [word for word in talk.scene.words if word.text not in talk.boxed]
        if not words:
            return None
        word = pick(words, rng)
        talk.boxed.add(word.text)
        talk.told.add(word.text)
        question = self.phrases.say("ground.question", rng, {"word": word.text})
        return Turn("ground", question, format_grounded(f'the word "{word.text}"', word.box))


def _blocks(scene: Scene) -> tuple[Printed, ...]:
    """The blocks that can be spoken of as a whole: cards, and a page of one block."""
    return scene.printed if scene.kind == "cards" or len(scene.printed) == 1 else ()


def _the(block: Printed, scene: Scene) -> str:
    """ "the card", and "the red card" where there is another."""
    alike = [other for other in scene.printed if other.carrier == block.carrier]
    if block.carrier == "page" or len(alike) == 1:
        return f"the {block.carrier}"
    return f"the {block.colour} {block.carrier}"


def _text(words: tuple[PrintedWord, ...]) -> str:
    return " ".join(word.text for word in words)
