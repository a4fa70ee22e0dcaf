"""The words that correction knows, from `words.yaml`: colours, numbers, COCO's names, and what is no visible thing.

No nearest vectors here: a name that stands nowhere belongs to nothing, so a stray phrase can never be taken for
something else.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from sensorium.errors import SensoriumError

_FILE = Path(__file__).with_name("words.yaml")
Fit = Literal["same", "narrower", "family"]


@dataclass(frozen=True)
class Known:
    """What a name means to a verifier: its classes, and how they fit it.

    same: the name is the class. narrower: the name is a kind of the class, so without the class it is not there.
    family: the classes are kinds of the name, so with one of them it is there, and without them it may yet be.
    """

    classes: tuple[str, ...]
    fit: Fit


@dataclass(frozen=True)
class Words:
    """The file, the other way round: word -> what it is."""

    colours: dict[str, str]
    shades: frozenset[str]
    numbers: dict[str, int]
    materials: frozenset[str]
    abstract: frozenset[str]
    measures: frozenset[str]
    belying: frozenset[str]
    coco: dict[str, Known]
    coco_ids: dict[int, str]

    def number(self, word: str) -> int | None:
        """ "three" or "3" -> 3; None for what is no whole number below a thousand."""
        if word.isascii() and word.isdigit() and len(word) <= 3:
            return int(word)
        return self.numbers.get(word.lower())

    def spelled(self, number: int) -> str:
        """3 -> "three"; numbers beyond the list in digits."""
        return next((word for word, value in self.numbers.items() if value == number), str(number))


@functools.cache
def words() -> Words:
    """The words that ship, read once."""
    tree = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    coco: dict[str, Known] = {}
    for name, row in tree["coco"].items():
        for fit in ("same", "narrower"):
            coco.update({word: Known((name,), fit) for word in row.get(fit, ())})
        coco[name] = Known((name,), "same")
    for family, members in tree["families"].items():
        coco.setdefault(family, Known(tuple(members), "family"))
    for word in set(tree["ambiguous"]) & set(coco):
        coco[word] = Known(coco[word].classes, "family")
    return Words(
        colours={word: colour for colour, same in tree["colours"].items() for word in same},
        shades=frozenset(tree["shades"]),
        numbers={word: number for number, word in enumerate(tree["numbers"])},
        materials=frozenset(tree["materials"]),
        abstract=frozenset(tree["abstract"]),
        measures=frozenset(tree["measures"]),
        belying=frozenset(tree["belying"]),
        coco=coco,
        coco_ids={row["id"]: name for name, row in tree["coco"].items()},
    )


def inflected_verb(word: str, tag: str) -> str:
    """A form of a verb by its Penn tag: ("rides", "VBG") -> "riding". Raises SensoriumError without lemminflect."""
    try:
        from lemminflect import getInflection, getLemma
    except ImportError as error:
        raise SensoriumError("correction", "needs lemminflect.", "Run `pip install 'sensorium[correct]'`.") from error
    lemmas = getLemma(word.lower(), upos="VERB")
    forms = getInflection(lemmas[0] if lemmas else word.lower(), tag)
    return str(forms[0]) if forms else word


def look_up(name: str, known: dict[str, Known]) -> Known | None:
    """What a name means: itself, else its last word ("race car" is a car), unless a word before belies it.

    A name known by its last word only is never denied: a flower bed is no bed. None for what is not known at all.
    """
    name = name.lower()
    if name in known:
        return known[name]
    *before, last = name.split()
    if before and last in known and not words().belying.intersection(before):
        return Known(known[last].classes, "family")
    return None
