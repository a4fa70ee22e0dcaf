"""Words for facts: draws a wording from `phrases.yaml` and fills it in, with English right.

Articles and plurals come from the vocabulary's entries (`{a}`, `{many}`, …), never from a template, so that a template
needs no cases. A placeholder with a capital (`{The}`) opens a sentence.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from sensorium.data.scenes.vocabulary import Vocabulary
from sensorium.errors import SensoriumError, did_you_mean

PHRASES = Path(__file__).with_name("phrases.yaml")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven")


class Phrases:
    """The lists of a phrases file: `existence.mme` -> its wordings. Raises SensoriumError for an unknown key."""

    def __init__(self, tree: Mapping[str, Sequence[str] | Mapping[str, Sequence[str]]], source: str) -> None:
        self._source = source
        self._lists: dict[str, tuple[str, ...]] = {}
        for key, value in tree.items():
            branches = value.items() if isinstance(value, Mapping) else [("", value)]
            for branch, wordings in branches:
                self._lists[f"{key}.{branch}".rstrip(".")] = tuple(wordings)

    @classmethod
    def load(cls, path: Path = PHRASES) -> Phrases:
        return cls(yaml.safe_load(path.read_text(encoding="utf-8")), path.name)

    @staticmethod
    def digest(path: Path = PHRASES) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    @property
    def lists(self) -> tuple[str, ...]:
        return tuple(self._lists)

    def wordings(self, key: str) -> tuple[str, ...]:
        if key not in self._lists:
            raise SensoriumError(f"{self._source}: {key}", "no such list.", did_you_mean(key, self._lists))
        return self._lists[key]

    def say(self, key: str, rng: np.random.Generator, words: Mapping[str, str]) -> str:
        """One wording of a list, filled in and with a capital first letter."""
        wordings = self.wordings(key)
        template = wordings[int(rng.integers(len(wordings)))]
        chosen: dict[str, str] = {}
        for name in placeholders(template):
            if name in ("picture", "colour_word"):
                chosen[name] = self.say(name, rng, {}).lower()
            elif name[0].isupper():
                chosen[name] = capital(words[name[0].lower() + name[1:]])
            else:
                chosen[name] = words[name]
        return capital(template.format_map(chosen))


@cache
def placeholders(template: str) -> tuple[str, ...]:
    """The names in braces of a template."""
    return tuple(name for _, name, _, _ in string.Formatter().parse(template) if name)


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def joined(items: Sequence[str]) -> str:
    """ "a dog", "a dog and a cat", "a dog, a cat and a car" (no comma before "and")."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def article(following: str) -> str:
    """ "a" or "an" before a colour word."""
    return "an" if following[0] in "aeiou" else "a"


def things(vocabulary: Vocabulary, name: str, count: int, colour: str | None = None, numeral: bool = False) -> str:
    """ "a dog", "two red dogs", "an orange cat"; numeral: "one dog" instead of "a dog"."""
    entry = vocabulary[name]
    if count == 1 and not numeral:
        return f"{article(colour)} {colour} {entry.counted(1)}" if colour else entry.one
    tint = f"{colour} " if colour else ""
    return f"{NUMBERS[count]} {tint}{entry.counted(count)}"


def name_words(vocabulary: Vocabulary, name: str, count: int = 1, prefix: str = "") -> dict[str, str]:
    """The placeholders that speak of one kind of thing, of which there are `count`; prefix "other_" for a second."""
    entry = vocabulary[name]
    words = {
        "a": entry.one,
        "bare": entry.counted(1),
        "the": f"the {entry.counted(1)}",
        "many": entry.plural,
        "the_many": f"the {entry.plural}",
        "n": NUMBERS[count],
        "digit": str(count),
        "things": things(vocabulary, name, count, numeral=False),
        "is": "is" if count == 1 else "are",
    }
    if not prefix:
        return words
    return {**{f"{prefix}{key}": value for key, value in words.items()}, "the_other": words["the"]}
