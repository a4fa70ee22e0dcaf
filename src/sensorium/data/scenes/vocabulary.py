"""The names of things: what scenes may show, how English speaks of it, and which drawings show it.

`vocabulary.yaml` beside this file is the whole truth and was curated by eye; nothing about names is guessed at build
time. Words that have no plain singular carry a measure ("a pair of scissors", "a bunch of grapes"), so that every
entry can be counted and every question about it stays grammatical.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from sensorium.errors import SensoriumError, did_you_mean

if TYPE_CHECKING:
    import inflect

VOCABULARY_FILE = Path(__file__).with_name("vocabulary.yaml")

Words = Annotated[tuple[str, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)]


class EntryRow(BaseModel):
    """One entry of the yaml file, under its category and name. Everything may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    emoji: Words = ()
    openclipart: Words = ()
    stamps: Words = ()
    exclude: Words = ()
    synonyms: Words = ()
    like: Words = ()
    measure: str | None = None
    article: str | None = None
    plural: str | None = None
    coco: bool = False
    held_out: bool = False


@dataclass(frozen=True)
class VocabularyEntry:
    """One thing that scenes may show.

    name: as a child says it ("cat", "scissors"); article: what goes before it in the singular ("a", "an", "a pair of");
    plural: the whole plural phrase ("cats", "pairs of scissors"); coco: one of COCO's 80 classes; held_out: never in
    training. like: names of others that a drawing of this one may also be taken for, or contains (a duck is a bird, a
    cyclist has a bicycle). emoji, openclipart, stamps: keys of its drawings in these collections; exclude: ids (see
    `Artwork`) of drawings there that do not show it well.
    """

    name: str
    plural: str
    article: str
    category: str
    synonyms: tuple[str, ...] = ()
    coco: bool = False
    held_out: bool = False
    like: tuple[str, ...] = ()
    emoji: tuple[str, ...] = ()
    openclipart: tuple[str, ...] = ()
    stamps: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def one(self) -> str:
        """The singular with its article: "a cat", "an apple", "a pair of scissors"."""
        return f"{self.article} {self.name}"

    def counted(self, n: int) -> str:
        """The name after a number: counted(1) is "cat" or "pair of scissors", counted(2) the plural."""
        return self.one.split(" ", 1)[1] if n == 1 else self.plural


@dataclass(frozen=True)
class Vocabulary:
    """All entries in the order of the file, found by name with `vocabulary["cat"]`."""

    entries: tuple[VocabularyEntry, ...]

    @functools.cached_property
    def by_name(self) -> dict[str, VocabularyEntry]:
        return {entry.name: entry for entry in self.entries}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.by_name)

    def __getitem__(self, name: str) -> VocabularyEntry:
        if name not in self.by_name:
            raise SensoriumError(f"vocabulary: {name}", "no such name.", did_you_mean(name, self.by_name))
        return self.by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self.by_name

    def __len__(self) -> int:
        return len(self.entries)

    def confusable(self, first: str, second: str) -> bool:
        """Whether one name might truthfully be said of a drawing of the other, either way round.

        A question about `first` has no certain answer in a picture with a `second`: do not ask it.
        """
        return first == second or second in self[first].like or first in self[second].like

    @classmethod
    def load(cls, path: Path | None = None) -> Vocabulary:
        """Read a vocabulary file, by default the one that ships; SensoriumError says which entry is wrong."""
        path = path or VOCABULARY_FILE
        try:
            tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise SensoriumError(path.name, f"not readable as YAML ({error}).") from error
        vocabulary = cls(tuple(_entries(tree, path.name)))
        _check(vocabulary, path.name)
        return vocabulary


def _entries(tree: dict[str, dict[str, dict | None]], where: str) -> list[VocabularyEntry]:
    entries = []
    for category, rows in tree.items():
        for name, raw in rows.items():
            try:
                row = EntryRow.model_validate(raw or {})
            except ValidationError as error:
                first = error.errors()[0]
                key = ".".join(map(str, first["loc"]))
                raise SensoriumError(f"{where}: {category}.{name}.{key}", f"{first['msg']}.") from error
            entries.append(_entry(name, category, row))
    return entries


def _entry(name: str, category: str, row: EntryRow) -> VocabularyEntry:
    article, plural = row.article, row.plural
    if row.measure:
        article = article or f"{inflected().a(row.measure)} of"
        plural = plural or f"{inflected().plural_noun(row.measure)} of {name}"
    article = article or inflected().a(name).split(" ", 1)[0]
    plural = plural or inflected().plural_noun(name)
    return VocabularyEntry(
        name, plural, article, category, row.synonyms, row.coco, row.held_out, row.like, row.emoji, row.openclipart,
        row.stamps, row.exclude,
    )


@functools.cache
def inflected() -> inflect.engine:
    """One English inflector for the process: importing and building it is slow."""
    import inflect

    return inflect.engine()


def _check(vocabulary: Vocabulary, where: str) -> None:
    """A name twice, a synonym that is another's name, an unknown `like` or a drawing used twice is an error."""
    seen: dict[str, str] = {}
    for entry in vocabulary.entries:
        keys = [("name", entry.name)] + [("name", word) for word in entry.synonyms]
        keys += [(kind, key) for kind in ("emoji", "openclipart", "stamps") for key in getattr(entry, kind)]
        for kind, key in keys:
            if (mark := f"{kind} {key}") in seen:
                raise SensoriumError(f"{where}: {entry.name}", f"{mark} belongs to {seen[mark]} already.")
            seen[mark] = entry.name
        for other in entry.like:
            if other not in vocabulary:
                raise SensoriumError(f"{where}: {entry.name}.like", f"no entry is called {other}.",
                                     did_you_mean(other, vocabulary.names))
