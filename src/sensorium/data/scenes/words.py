"""Which words are printed: a list of short ones with some held out by name, and words that nobody has read before.

`words.yaml` is the list. Made-up words ("morlup") are printed in training beside it: a model that has only seen words
it knows may guess the rest of one from its first letters.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml

from sensorium.data.draw import pick
from sensorium.errors import SensoriumError

WORDS = Path(__file__).with_name("words.yaml")
_STARTS = ("b", "c", "d", "dr", "f", "g", "gr", "h", "k", "l", "m", "n", "p", "pl", "r", "s", "st", "t", "tr", "v")
_VOWELS = ("a", "e", "i", "o", "u")
_ENDS = ("", "l", "m", "n", "p", "r", "s", "t", "x")
_ALIKE = 8  # nearest words to draw a look-alike from


@dataclass(frozen=True)
class Words:
    """trained: printed in train and val; held_out: printed in the test splits alone. Lower case, sorted."""

    trained: tuple[str, ...]
    held_out: tuple[str, ...]

    @classmethod
    def load(cls, path: Path = WORDS) -> Words:
        """Raises SensoriumError for a list that holds something else than words of letters, or a word in both."""
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        trained, held_out = (tuple(sorted(set(tree[key].split()))) for key in ("words", "held_out"))
        if odd := [word for word in (*trained, *held_out) if not re.fullmatch("[a-z]+", word)]:
            raise SensoriumError(path.name, f"{', '.join(odd)}: not a word of lower-case letters.")
        if both := sorted(set(trained) & set(held_out)):
            raise SensoriumError(path.name, f"{', '.join(both)}: held out and not.", "Take them out of one list.")
        return cls(trained, held_out)

    @staticmethod
    def digest(path: Path = WORDS) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def of(self, split: str) -> tuple[str, ...]:
        """What may be printed, and asked about, in a split."""
        return self.held_out if split.startswith("test") else self.trained

    @cached_property
    def known(self) -> frozenset[str]:
        return frozenset((*self.trained, *self.held_out))

    def made_up(self, rng: np.random.Generator) -> str:
        """A word of two syllables that is in neither list."""
        while True:
            word = "".join(pick(_STARTS, rng) + pick(_VOWELS, rng) + pick(_ENDS, rng) for _ in range(2))
            if word not in self.known:
                return word


def look_alikes(word: str, pool: Sequence[str]) -> list[str]:
    """The words of a pool that are most easily taken for that one: the same letters in the same places, best first."""
    others = [other for other in pool if other != word]
    return sorted(others, key=lambda other: (-_likeness(word, other), other))[:_ALIKE]


def _likeness(one: str, other: str) -> float:
    """Letters in common, counted from the front and from the back, of the letters of the longer word."""
    front = sum(a == b for a, b in zip(one, other, strict=False))
    back = sum(a == b for a, b in zip(one[::-1], other[::-1], strict=False))
    return (front + back) / max(len(one), len(other))
