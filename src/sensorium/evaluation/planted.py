"""Captions that are true of a scene, and the same with one error planted: an object, a count, a colour, a side, words.

Made from the scenes' exact truth, so it is known which words are wrong and what should stand there. Everything doubtful
is left out, as in `data.scenes.facts`; the same scenes and seed give the same captions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import ImageDraw, ImageFont

from sensorium.correction.verifiers.oracle import WORDS
from sensorium.data.records import COLOURS, Scene, SceneObject
from sensorium.data.scenes.facts import OPPOSITE, RELATIONS, Facts, neighbours
from sensorium.data.scenes.phrases import things
from sensorium.data.scenes.vocabulary import Vocabulary
from sensorium.files import replacing
from sensorium.grounding import Box
from sensorium.media import open_image, save_image

PlantedKind = Literal["object", "count", "colour", "side", "text"]
PLANTED: tuple[PlantedKind, ...] = ("object", "count", "colour", "side", "text")
_OPENINGS = ("There {be} {list}.", "There {be} {list} in the picture.", "The image shows {list}.",
             "In this picture there {be} {list}.", "You can see {list} here.")  # fmt: skip
_LETTERING = ("STOP", "OPEN", "EXIT", "CAFE", "HOTEL", "TAXI", "BANK", "PARK", "SALE", "BAKERY", "MUSEUM", "LIBRARY")


@dataclass(frozen=True)
class Planted:
    """One caption. kind: of its error, None where it is true. truth: the true caption that it was made of.

    wrong: characters of the planted words; (0, 0) where there are none. name: the thing that they are about.
    """

    id: str
    scene: str
    image: str
    text: str
    truth: str
    kind: PlantedKind | None = None
    wrong: tuple[int, int] = (0, 0)
    name: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def captions(
    scenes: Iterable[Scene], vocabulary: Vocabulary, seed: int = 0, names: tuple[str, ...] = ()
) -> Iterator[Planted]:
    """For each scene a true caption and one with each error that it allows. names: absent things are of these."""
    for scene in scenes:
        rng = np.random.default_rng([seed, *scene.id.encode()])
        facts = Facts(scene)
        pool = names or vocabulary.names
        caption = _Caption(facts, vocabulary, rng)
        truth = caption.text()
        yield Planted(f"{scene.id}-true", scene.id, scene.image, truth, truth)
        for kind in ("object", "count", "colour", "side", "text"):
            planted = caption.with_error(kind, pool)  # type: ignore[arg-type]
            if planted is not None:
                text, span, name = planted
                yield Planted(f"{scene.id}-{kind}", scene.id, scene.image, text, truth, kind, span, name)  # type: ignore[arg-type]


class _Caption:
    """The sentences of one scene's caption, each a list of pieces so that one of them can be changed."""

    def __init__(self, facts: Facts, vocabulary: Vocabulary, rng: np.random.Generator) -> None:
        self.facts, self.vocabulary, self.rng = facts, vocabulary, rng
        self.names = [name for name in facts.counts if name in vocabulary]
        self.opening = _OPENINGS[int(rng.integers(len(_OPENINGS)))]
        self.numbers = {name: facts.counts[name] for name in self.names}
        self.colours = {name: colour for name, colour in facts.colours.items() if name in vocabulary}
        self.relation = next(iter(self._relations()), None)
        self.lettering = next((thing.name for thing in facts.scene.objects if thing.style == WORDS), None)

    def _relations(self) -> list[tuple[str, str, str]]:
        found = [(a, b, r) for (a, b), r in self.facts.relations.items() if a in self.names and b in self.names]
        self.rng.shuffle(found)  # type: ignore[arg-type]
        return found

    def text(
        self, extra: str | None = None, numbers: dict[str, int] | None = None, colours: dict[str, str] | None = None,
        side: str | None = None, lettering: str | None = None,
    ) -> str:  # fmt: skip
        numbers, colours = numbers or self.numbers, colours or self.colours
        listed = [things(self.vocabulary, name, numbers[name], numeral=numbers[name] == 1 and self.numbers[name] > 1)
                  for name in self.names]  # fmt: skip
        if extra is not None:
            listed.insert(min(1, len(listed)), self.vocabulary[extra].one)
        is_one = not self.names or (numbers[self.names[0]] == 1)
        joined = listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"
        said = [self.opening.format(be="is" if is_one else "are", list=joined)]
        for name, colour in list(colours.items())[:2]:
            many = self.numbers[name] > 1
            noun = self.vocabulary[name].counted(2 if many else 1)
            said.append(f"The {noun} {'are' if many else 'is'} {colour}.")
        if self.relation is not None:
            one, other, relation = self.relation
            names = [self.vocabulary[name].counted(1) for name in (one, other)]
            said.append(f"The {names[0]} is {RELATIONS[side or relation]} the {names[1]}.")
        if self.lettering is not None:
            said.append(f'A sign says "{lettering or self.lettering}".')
        return " ".join(said)

    def with_error(self, kind: PlantedKind, pool: tuple[str, ...]) -> tuple[str, tuple[int, int], str] | None:
        """(text, characters of the error, the thing that it is about); None where the scene allows none."""
        if kind == "object":
            absent = self._absent(pool)
            if absent is None or not self.names:
                return None
            text, words = self.text(extra=absent), self.vocabulary[absent].one
            return text, _found(text, words), absent
        if kind == "count":
            name = self._countable()
            if name is None:
                return None
            right = self.numbers[name]
            wrong = int(self.rng.choice([n for n in range(1, 6) if n != right]))
            text = self.text(numbers={**self.numbers, name: wrong})
            return text, _found(text, things(self.vocabulary, name, wrong, numeral=True)), name
        if kind == "colour" and self.colours:
            name, right_colour = next(iter(self.colours.items()))
            if not self._is_certain(name):
                return None
            choices = [c for c in COLOURS if c != right_colour and not neighbours(c, right_colour)]
            wrong_colour = choices[int(self.rng.integers(len(choices)))]
            text = self.text(colours={**self.colours, name: wrong_colour})
            return text, _found(text, f" {wrong_colour}."), name
        if kind == "side" and self.relation is not None and all(map(self._is_certain, self.relation[:2])):
            wrong_side = OPPOSITE[self.relation[2]]
            text = self.text(side=wrong_side)
            return text, _found(text, RELATIONS[wrong_side]), self.relation[0]
        if kind == "text" and self.lettering is not None:
            others = [word for word in _LETTERING if word != self.lettering]
            word = others[int(self.rng.integers(len(others)))]
            text = self.text(lettering=word)
            return text, _found(text, word), "sign"
        return None

    def _countable(self) -> str | None:
        names = [name for name in self.names if self._is_certain(name) and self.numbers[name] > 1]
        return names[0] if names else None

    def _is_certain(self, name: str) -> bool:
        """Whether nothing else in the picture might be called so."""
        return not any(other != name and other in self.vocabulary and self.vocabulary.confusable(name, other)
                       for other in self.facts.counts)  # fmt: skip

    def _absent(self, pool: tuple[str, ...]) -> str | None:
        for i in self.rng.permutation(len(pool)):
            name = pool[int(i)]
            seen = [other for other in self.facts.counts if other in self.vocabulary]
            if not any(self.vocabulary.confusable(name, other) for other in seen):
                return name
        return None


def lettered(scene: Scene, folder: Path, seed: int = 0) -> Scene:
    """The scene with a word on a white sign at its foot: a new picture in `folder`, the word in its truth."""
    rng = np.random.default_rng([seed, *scene.id.encode()])
    word = _LETTERING[int(rng.integers(len(_LETTERING)))]
    picture = open_image(scene.image)
    font = ImageFont.load_default(size=max(16, picture.height // 8))
    pen = ImageDraw.Draw(picture)
    left, top, right, bottom = pen.textbbox((0, 0), word, font=font)
    width, height = right - left + 16, bottom - top + 16
    x, y = (picture.width - width) // 2, picture.height - height - 2
    pen.rectangle((x, y, x + width, y + height), fill="white", outline="black", width=2)
    pen.text((x + 8 - left, y + 8 - top), word, fill="black", font=font)
    path = folder / f"{scene.id}-lettered.png"
    save_image(picture, path)
    box = Box.from_pixels(x, y, x + width, y + height, *picture.size)
    sign = SceneObject(word, box, None, WORDS, WORDS)
    return Scene(f"{scene.id}-lettered", str(path), *picture.size, scene.background, (*scene.objects, sign))


def write_captions(rows: Iterable[Planted], path: Path) -> int:
    """Write captions as JSON lines that `sensorium correct --input` reads; how many."""
    n = 0
    with replacing(path) as part, part.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row.to_json(), ensure_ascii=False) + "\n")
            n += 1
    return n


def _found(text: str, words: str) -> tuple[int, int]:
    at = text.index(words)
    return at, at + len(words)


