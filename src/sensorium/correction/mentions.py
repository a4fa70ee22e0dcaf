"""Where a text speaks of visible things, and which thing a pronoun stands for.

A mention is a noun phrase whose head is no word for a mood, an amount or a part of the picture. Names of several words
("traffic light", "pair of scissors", "old man") are taken whole where a verifier knows them.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sensorium.correction.language import quotes
from sensorium.correction.records import Span, Thing
from sensorium.correction.scope import is_denied
from sensorium.correction.words import look_up, words

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

PRONOUNS = {"it": "thing", "its": "thing", "he": "person", "she": "person", "him": "person", "her": "person",
            "they": "several", "them": "several", "their": "several"}  # fmt: skip
_LONGEST_NAME = 4  # words
Source = Literal["text", "question"]


@dataclass(frozen=True)
class Mention:
    """A thing and the token that names it; `start` and `end` are tokens of the whole phrase.

    measure: "group" in "a group of people", which the rest of the sentence speaks of in their stead.
    """

    thing: Thing
    token: Token
    start: int
    end: int
    is_pronoun: bool = False
    measure: Token | None = None


def by_head(mentions: Iterable[Mention]) -> dict[int, Mention]:
    """Number of a token -> the mention that it is the head of."""
    mentions = list(mentions)
    measures = {mention.measure.i: mention for mention in mentions if mention.measure is not None}
    return {**measures, **{mention.token.i: mention for mention in mentions}}


def find_mentions(doc: Doc, names: Collection[str], source: Source = "text") -> list[Mention]:
    """The mentions in order. names: what verifiers know: those of several words are taken whole."""
    known = {tuple(name.lower().split()) for name in names}
    quoted = quotes(doc.text)
    found = []
    for chunk in doc.noun_chunks:
        root = chunk.root
        if any(start <= root.idx < end for start, end in quoted):
            continue
        if root.pos_ in ("NOUN", "PROPN") and (mention := _mention(chunk.start, chunk.end, root, known, source)):
            found.append(mention)
    return _without_nested(found)


def add_pronouns(doc: Doc, mentions: list[Mention], source: Source = "text") -> list[Mention]:
    """The mentions and the pronouns that are subjects, in order; a pronoun whose thing is not clear has no name."""
    found = list(mentions)
    for token in doc:
        if token.lower_ in PRONOUNS and token.dep_ in ("nsubj", "nsubjpass") and not _is_expletive(token):
            antecedent = resolve(token, mentions)
            span = Span(start=token.idx, end=token.idx + len(token), source=source)
            name = antecedent.thing.name if antecedent else None
            is_plural = PRONOUNS[token.lower_] == "several"
            thing = Thing(name=name, span=span, head=span, is_plural=is_plural)
            found.append(Mention(thing, token, token.i, token.i + 1, is_pronoun=True))
    return sorted(found, key=lambda mention: mention.token.i)


def resolve(pronoun: Token, mentions: Iterable[Mention]) -> Mention | None:
    """The nearest mention before that agrees in number and person; None where two are equally near.

    Near is counted in sentences. Of several in one sentence its only subject is meant.
    """
    wanted = PRONOUNS[pronoun.lower_]
    before = [m for m in mentions if m.token.i < pronoun.i and _agrees(m, wanted) and not is_denied(m.token)]
    if not before:
        return None
    nearest = max(m.token.sent.start for m in before)
    near = [m for m in before if m.token.sent.start == nearest]
    things = {m.thing.name for m in near}
    if len(things) == 1:
        return near[-1]
    subjects = [m for m in near if m.token.dep_ in ("nsubj", "nsubjpass")]
    return subjects[0] if len(subjects) == 1 and not list(subjects[0].token.conjuncts) else None


def _mention(start: int, end: int, root: Token, known: set[tuple[str, ...]], source: Source) -> Mention | None:
    doc = root.doc
    if long := _long_name(root, start, known):
        first, last, name = long
    else:
        is_named = (root.lower_,) in known or look_up(root.lower_, words().coco) is not None
        if _is_no_thing(root) or (root.pos_ == "PROPN" and not is_named):
            return None  # a person or place; but the parser also takes rare things for names
        first = last = root.i
        while first > start and doc[first - 1].dep_ == "compound" and first <= doc[first - 1].head.i <= last:
            first -= 1
        name = " ".join([*(doc[i].lower_ for i in range(first, last)), root.lemma_.lower()])
    measure = root.head.head if root.dep_ == "pobj" and root.head.lower_ == "of" else None
    if measure is not None and measure.lemma_.lower() not in words().measures:
        measure = None
    if measure is not None:
        start = min(start, measure.left_edge.i)
    end = max(end, last + 1)
    span = Span(start=doc[start].idx, end=doc[end - 1].idx + len(doc[end - 1]), source=source)
    head = Span(start=doc[first].idx, end=doc[last].idx + len(doc[last]), source=source)
    is_plural = root.tag_ in ("NNS", "NNPS")
    return Mention(Thing(name=name, span=span, head=head, is_plural=is_plural), root, start, end, measure=measure)


def _is_no_thing(root: Token) -> bool:
    lemma = root.lemma_.lower()
    if lemma in words().abstract:
        return True
    if lemma == "camera" and root.dep_ == "pobj" and root.head.lower_ in ("at", "to", "toward", "towards", "for"):
        return True  # "looking at the camera" speaks of the one behind the picture
    followed_by_of = any(child.lower_ == "of" for child in root.children)
    return lemma in words().measures and followed_by_of


def _long_name(root: Token, start: int, known: set[tuple[str, ...]]) -> tuple[int, int, str] | None:
    """(first token, last, name) of the longest known name around a head noun."""
    doc = root.doc
    for length in range(_LONGEST_NAME, 1, -1):
        for first in range(max(start, root.i - length + 1), root.i + 1):
            last = first + length - 1
            if last >= len(doc):
                continue
            *before, end = doc[first : last + 1]
            # The head may be inflected wherever it stands: "traffic lights", "pairs of scissors".
            options: list[tuple[str, ...]] = [
                (t.lower_, t.lemma_.lower()) if t.i == root.i else (t.lower_,) for t in before
            ]
            options.append((end.lower_, end.lemma_.lower()))
            if (name := _spelled(options, known)) is not None:
                return first, last, " ".join(name)
    return None


def _spelled(options: list[tuple[str, ...]], known: set[tuple[str, ...]]) -> tuple[str, ...] | None:
    return next((name for name in itertools.product(*options) if name in known), None)


def _without_nested(mentions: list[Mention]) -> list[Mention]:
    """Without mentions whose name lies inside that of another ("scissors" in "a pair of scissors")."""
    nested: set[tuple[int, int]] = set()
    reach = -1  # the furthest end of the names that begin before, or at the same place and end later
    places = {(m.thing.head.start, m.thing.head.end) for m in mentions}
    for start, end in sorted(places, key=lambda at: (at[0], -at[1])):
        if end <= reach:
            nested.add((start, end))
        reach = max(reach, end)
    return [one for one in mentions if (one.thing.head.start, one.thing.head.end) not in nested]


def _agrees(mention: Mention, wanted: str) -> bool:
    known = look_up(mention.thing.name or "", words().coco)
    is_person = known is not None and known.classes == ("person",)
    if wanted == "several":
        return mention.thing.is_plural
    return not mention.thing.is_plural and is_person == (wanted == "person")


def _is_expletive(token: Token) -> bool:
    """ "It is raining", "it seems that …": no thing is meant."""
    head = token.head
    return token.lower_ == "it" and (head.lemma_ in ("rain", "snow", "seem") or any(
        child.dep_ in ("ccomp", "advcl") and child.i > head.i for child in head.children))  # fmt: skip
