"""What a text says about where things are: sides of the picture, and one thing seen from another.

The phrases are few and fixed, so they are found as they are spelled; only the thing that a phrase is about is found by
the dependencies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sensorium.correction.mentions import Mention, by_head
from sensorium.correction.scope import is_negated

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above", "top": "bottom", "bottom": "top"}
# How each side is said where nothing of the old phrase can stay.
PLACE_PHRASES = {"left": "on the left side", "right": "on the right side", "top": "at the top",
                 "bottom": "at the bottom", "middle": "in the middle"}  # fmt: skip
RELATION_PHRASES = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below",
                    "inside": "inside"}  # fmt: skip
_WORDS = {"upper": "top", "lower": "bottom", "center": "middle", "centre": "middle", "under": "below",
          "underneath": "below", "beneath": "below", "leftmost": "left", "rightmost": "right"}  # fmt: skip
# Words for a side that are put in when one is mended, in the manner of the one that stood there.
IN_THE_MANNER_OF = {"upper": "lower", "lower": "upper", "leftmost": "rightmost", "rightmost": "leftmost"}

_SIDE = r"(?:upper|lower|top|bottom|left|right|center|centre|middle|leftmost|rightmost)"
_PICTURE = r"(?:image|picture|photo|photograph|scene|frame|screen|view)"
_RELATION = re.compile(
    r"\b(?:(?:to|on|at) (?:the|its) (?P<side>left|right)(?:[- ]hand)?(?: side)? of|(?P<plain>left|right) of"
    rf"|(?P<word>above|below|underneath|under|beneath|inside of|inside)) (?!(?:the|this|an?) {_PICTURE}\b)",
    re.IGNORECASE,
)
_PLACE = re.compile(
    rf"\b(?:on|in|at|to|near|towards?|along)(?: the| its)?(?: very| far)? (?P<sides>{_SIDE}(?:[- ](?:and )?{_SIDE})?)"
    rf"(?:[- ]hand)?(?: (?:side|half|corner|part|edge|section|area))?\b(?! of (?!(?:the|this) {_PICTURE}\b))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Place:
    """A phrase of place. value: one of the sides or relations; start, end: characters of the phrase; word: of the word
    that names the side; other: the second thing of a relation."""

    value: str
    start: int
    end: int
    word: tuple[int, int]
    things: tuple[Mention, ...]
    other: Mention | None = None
    asserts: bool = True


def find_places(doc: Doc, mentions: list[Mention]) -> Iterator[Place]:
    """The phrases of place whose thing is clear."""
    taken: list[tuple[int, int]] = []
    heads = by_head(mentions)
    for match in _RELATION.finditer(doc.text):
        start, end = match.start(), match.end() - 1
        other = next((m for m in mentions if m.thing.span.start == match.end()), None)
        group = next(name for name in ("side", "plain", "word") if match[name])
        taken.append((start, end))
        if other is None:
            continue
        things, asserts = _things_of(doc, start, end, heads)
        things = tuple(thing for thing in things if thing.token.i != other.token.i)
        if things:
            value = match[group].lower().removesuffix(" of")
            yield Place(_WORDS.get(value, value), start, end, match.span(group), things, other, asserts)
    for match in _PLACE.finditer(doc.text):
        if any(start < match.end() and match.start() < end for start, end in taken):
            continue
        things, asserts = _things_of(doc, match.start(), match.end(), heads)
        if not things:
            continue
        for word in re.finditer(_SIDE, match["sides"], re.IGNORECASE):
            at = match.start("sides") + word.start()
            value = _WORDS.get(word[0].lower(), word[0].lower())
            span = (at, at + len(word[0]))
            yield Place(value, match.start(), match.end(), span, things, None, asserts)


def _things_of(doc: Doc, start: int, end: int, heads: dict[int, Mention]) -> tuple[tuple[Mention, ...], bool]:
    """(the things that a phrase places, whether it says so rather than denies it)."""
    phrase = doc.char_span(start, end, alignment_mode="expand")
    if phrase is None:
        return (), True
    node = phrase.root
    for _ in range(8):
        head = node.head
        if head.i == node.i:
            break
        if head.i in heads and not phrase.start <= head.i < phrase.end:
            return (heads[head.i],), True
        if head.pos_ in ("VERB", "AUX"):
            return tuple(subjects(head, heads, phrase.start)), not is_negated(head)
        node = head
    return (), True


def subjects(verb: Token, heads: dict[int, Mention], before: int | None = None) -> list[Mention]:
    """What a verb is said of: its subject with all that is joined to it, of "there is" what is there.

    before: a token; what is there counts in full only where a phrase stands before the verb ("On the left there are").
    """
    node = verb
    for _ in range(4):
        there = any(child.dep_ == "expl" for child in node.children)
        for child in node.children:
            if there and child.dep_ in ("attr", "dobj", "nsubj") and child.i in heads:
                joined = _joined(child, heads)
                return joined if before is None or before < node.i else joined[-1:]
            if not there and child.dep_ in ("nsubj", "nsubjpass"):
                if child.i in heads:
                    return _joined(child, heads)
                if child.lower_ in ("which", "that", "who") and node.dep_ == "relcl" and node.head.i in heads:
                    return [heads[node.head.i]]
                return []
        if node.dep_ in ("acl", "relcl") and node.head.i in heads:
            return [heads[node.head.i]]
        if node.dep_ not in ("conj", "xcomp", "advcl") or node.head.i == node.i:
            return []
        node = node.head
    return []


def _joined(token: Token, heads: dict[int, Mention]) -> list[Mention]:
    return [heads[t.i] for t in (token, *token.conjuncts) if t.i in heads]
