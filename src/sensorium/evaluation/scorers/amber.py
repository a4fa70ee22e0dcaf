"""AMBER (arXiv:2311.07397): what descriptions make up (CHAIR, Cover, Hal, Cog), and yes and no about what is there.

Official files: responses [{id, response}], `annotations.json` [{id, type, truth, hallu}], `relation.json` {word:
associated words}, `safe_words.txt`. All numbers are percent, rounded to one decimal as the tool prints them, F1 from
the rounded precision and recall with the tool's small term below the line; positive is **no**.

For descriptions the official tool needs NLTK's tagger, WordNet and the vectors of spaCy's large English model. Without
them, a noun is any word of the association vocabulary, in the singular or plural, and two words are alike if they are
the same. Lists made with those tools (`nouns`, `similar`) bring the official numbers back to the last digit; the part
of yes and no is official in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.errors import SensoriumError
from sensorium.evaluation.intervals import Clusters
from sensorium.evaluation.metrics import Floats, ratio
from sensorium.evaluation.scorers.outcome import Outcome, known_variant
from sensorium.evaluation.scorers.rows import read_json, read_rows, read_text
from sensorium.evaluation.scorers.treebank import words_of

VARIANTS = ("official",)
GENERATIVE = "generative"
_STATE, _NUMBER, _ACTION = (f"discriminative-attribute-{kind}" for kind in ("state", "number", "action"))
_EXISTENCE = "discriminative-hallucination"
_RELATION = ("discriminative-relation", "relation")
KINDS = (GENERATIVE, _STATE, _NUMBER, _ACTION, _EXISTENCE, *_RELATION)
# Group -> (kinds, the term below the line of F1, which the tool has ten times as large for existence).
_GROUPS: dict[str, tuple[tuple[str, ...], float]] = {
    "existence": ((_EXISTENCE,), 0.001),
    "attribute": ((_STATE, _NUMBER, _ACTION), 0.0001),
    "state": ((_STATE,), 0.0001),
    "number": ((_NUMBER,), 0.0001),
    "action": ((_ACTION,), 0.0001),
    "relation": (_RELATION, 0.0001),
}
# The tool starts every count of a denominator here, against division by zero.
_START = 0.001


@dataclass(frozen=True)
class AmberReply:
    """truth: "yes", "no", or the objects that are there; hallu: objects that models tend to make up.

    nouns: those of the reply where they are known from elsewhere.
    """

    kind: str
    truth: str | tuple[str, ...]
    reply: str
    hallu: tuple[str, ...] = ()
    nouns: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Associations:
    """of: word -> words that mean much the same; safe: words that are never wrong; similar: pairs of alike words."""

    of: Mapping[str, Sequence[str]]
    safe: frozenset[str] = frozenset()
    similar: Collection[tuple[str, str]] = field(default_factory=frozenset)

    @classmethod
    def read(cls, relations: Path, safe_words: Path, similar: Path | None = None) -> Associations:
        """similar: lines of two words apart by a tab. Raises SensoriumError naming the line."""
        of = read_json(relations)
        words = list(of.values()) if isinstance(of, dict) else [None]
        if not all(isinstance(row, list) and all(isinstance(word, str) for word in row) for row in words):
            raise SensoriumError(relations, "is no object of words and their associated words.")
        safe = frozenset(read_text(safe_words).splitlines())
        return cls(of, safe, frozenset(_pairs(similar)) if similar is not None else frozenset())

    def nouns(self, reply: str) -> list[str]:
        """Words of the vocabulary in a reply, repeats kept, plurals as their singular."""
        singular = self._singular
        return [singular[word] for word in words_of(reply) if word in singular]

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        return frozenset(self.of) | {word for words in self.of.values() for word in words}

    @cached_property
    def _singular(self) -> dict[str, str]:
        import inflect

        engine = inflect.engine()
        plurals = {str(engine.plural_noun(word)): word for word in sorted(self.vocabulary) if word}
        return plurals | {word: word for word in self.vocabulary}

    def are_alike(self, first: str, second: str) -> bool:
        return first == second or (first, second) in self.similar or (second, first) in self.similar


def _pairs(path: Path) -> Iterable[tuple[str, str]]:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split("\t")
        if len(words) != 2:
            raise SensoriumError(f"{path} line {number}", f"holds {len(words)} words where two should be.",
                                 "Two words, apart by a tab.")
        yield words[0], words[1]


def read(responses: Path, annotations: Path, nouns: Path | None = None) -> list[AmberReply]:
    """nouns: rows {id, nouns}. Raises SensoriumError naming file and line; not all ids need a response."""
    told, given = read_rows(annotations), read_rows(responses)
    known = told.by("id")
    listed = read_rows(nouns) if nouns is not None else None
    nouns_of = listed.by("id") if listed is not None else {}
    found = []
    for name, i in given.by("id").items():
        if name not in known:
            raise given.fault(i, f"id {name!r} is not in {annotations.name}.", "Are these files of one set?")
        row, kind = told[known[name]], told.text(known[name], "type")
        if kind not in KINDS:
            raise told.fault(known[name], f"`type` is {kind!r}.", f"Known: {', '.join(KINDS)}.")
        truth = row.get("truth")
        hallu = told.texts(known[name], "hallu", may_be_empty=True) if row.get("hallu") else []
        if kind == GENERATIVE:
            truth = tuple(told.texts(known[name], "truth"))
        elif truth not in ("yes", "no"):
            raise told.fault(known[name], f"`truth` is {truth!r}, neither yes nor no.")
        own = None
        if listed is not None and name in nouns_of:
            own = tuple(listed.texts(nouns_of[name], "nouns", may_be_empty=True))
        found.append(AmberReply(kind, truth, given.text(i, "response"), tuple(hallu), own))
    if not found:
        raise SensoriumError(responses, "holds no responses.")
    return found


def score(
    replies: Sequence[AmberReply], associations: Associations | None = None, variant: str = "official"
) -> Outcome:
    """`generative` {chair, cover, hal, cog}, `discriminative` {accuracy, precision, recall, f1}, the same by group, and
    `amber` = (100 - chair + f1) / 2 where both are there. associations: needed for descriptions."""
    known_variant(variant, VARIANTS)
    values: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    notes: list[str] = []
    described = [reply for reply in replies if reply.kind == GENERATIVE]
    asked = [reply for reply in replies if reply.kind != GENERATIVE]
    if described:
        if associations is None:
            raise SensoriumError("descriptions", "cannot be scored without AMBER's word lists.",
                                 "Give --relations relation.json and --safe-words safe_words.txt.")
        values["generative"], intervals["generative"] = _describe(described, associations)
        if not associations.similar or any(reply.nouns is None for reply in described):
            notes.append("nouns are words of the vocabulary, alike are only equal words: not the official numbers")
    if asked:
        values["discriminative"], intervals["discriminative"] = _answer(asked, 0.0001)
        for group, (kinds, term) in _GROUPS.items():
            if of_group := [reply for reply in asked if reply.kind in kinds]:
                values[group], intervals[group] = _answer(of_group, term)
    if described and asked:
        values["amber"] = round((100 - values["generative"]["chair"] + values["discriminative"]["f1"]) / 2, 1)
    return Outcome("amber", variant, {**values, "responses": len(replies)}, intervals, tuple(notes))


def _describe(replies: Sequence[AmberReply], associations: Associations) -> tuple[dict[str, float], dict[str, Any]]:
    sums = Clusters()  # nouns, wrong; things there, named; things made up, named; one, one without a wrong noun
    for reply in replies:
        sums.add(None, *_counts(reply, associations))

    names = ("chair", "cover", "hal", "cog")
    found = _description_numbers(sums.rows.sum(0), _START)
    values = {name: round(float(value), 1) for name, value in zip(names, found, strict=True)}
    intervals = {name: sums.interval(partial(_description_number, i)) for i, name in enumerate(names)}
    return values, intervals


def _description_number(i: int, sums: Floats) -> Floats:
    return _description_numbers(sums, 0)[i]


def _description_numbers(sums: Floats, start: float) -> list[Floats]:
    nouns, wrong, there, covered, likely, made_up, answers, clean = np.moveaxis(np.asarray(sums), -1, 0)
    chair, cover, cog, spotless = (
        ratio(over, under + start) * 100
        for over, under in ((wrong, nouns), (covered, there), (made_up, likely), (clean, answers))
    )
    return [chair, cover, 100 - spotless, cog]


def _counts(reply: AmberReply, associations: Associations) -> tuple[float, ...]:
    if reply.nouns is None:
        nouns = associations.nouns(reply.reply)
    else:
        nouns = [noun for noun in reply.nouns if noun in associations.vocabulary]
    there, likely = _things(reply.truth, associations), _things(reply.hallu, associations)
    covered: set[int] = set()
    made_up: set[int] = set()
    wrong = 0
    for noun in nouns:
        if noun in associations.safe:
            continue
        thing = _first(there, noun, _is_same)
        if thing is None:
            imagined = {_first(likely, noun, _is_same), _first(likely, noun, associations.are_alike)}
            made_up |= {one for one in imagined if one is not None}
            thing = _first(there, noun, associations.are_alike)
        if thing is None:
            wrong += 1
        else:
            covered.add(thing)
    return (len(nouns), wrong, len(reply.truth), len(covered), len(reply.hallu), len(made_up), 1, not wrong)


def _things(names: Sequence[str], associations: Associations) -> list[tuple[str, int]]:
    """(word, number of the thing it means): associated words first, then the things themselves, as the tool looks."""
    associated = [(word, i) for i, name in enumerate(names) for word in associations.of.get(name, ())]
    return [*associated, *((name, i) for i, name in enumerate(names))]


def _first(things: Sequence[tuple[str, int]], noun: str, is_it: Callable[[str, str], bool]) -> int | None:
    return next((i for word, i in things if is_it(noun, word)), None)


def _is_same(first: str, second: str) -> bool:
    return first == second


def _answer(replies: Sequence[AmberReply], term: float) -> tuple[dict[str, float], dict[str, Any]]:
    sums = Clusters()  # right, one; right no, said no; the same right no, true no
    accuracy = Clusters()
    for reply in replies:
        right, said_no = reply.reply == str(reply.truth).capitalize(), reply.reply == "No"
        true_no = reply.truth == "no"
        sums.add(None, right, 1, right and said_no, said_no, true_no)
        accuracy.add(None, right, 1)
    right, n, right_no, said_no, true_no = sums.rows.sum(0)
    shares = {"accuracy": (right, n), "precision": (right_no, said_no), "recall": (right_no, true_no)}
    values = {name: round(float(over / (under + _START) * 100), 1) for name, (over, under) in shares.items()}
    precision, recall = values["precision"] / 100, values["recall"] / 100
    values["f1"] = round(2 * precision * recall / (precision + recall + term) * 100, 1)
    intervals = {
        "accuracy": accuracy.mean_interval(100),
        "f1": sums.interval(lambda means: 100 * ratio(2 * means[..., 2], means[..., 3] + means[..., 4])),
    }
    return {**values, "questions": len(replies)}, intervals
