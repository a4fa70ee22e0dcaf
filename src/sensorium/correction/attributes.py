"""What a text says about things it names: number, colour, material, what they do, and words that can be read there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sensorium.correction.language import quotes
from sensorium.correction.mentions import Mention, by_head
from sensorium.correction.places import find_places, subjects
from sensorium.correction.records import ClaimKind
from sensorium.correction.scope import is_denied, is_hedged, is_negated
from sensorium.correction.words import inflected_verb, words

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

_INEXACT = frozenset({"about", "around", "approximately", "nearly", "almost", "least", "most", "over", "than", "some"})
_BEING = frozenset({"be", "have", "show", "see", "contain", "include", "depict", "feature", "display", "appear", "seem",
                    "look", "consist", "say", "read", "locate", "place", "position", "color", "colour"})  # fmt: skip
_READING = frozenset({"say", "read", "write", "spell", "print", "label", "state", "display", "sign", "text", "word",
                      "words", "letters", "letter", "title", "name", "logo", "caption", "message",
                      "inscription"})  # fmt: skip


@dataclass(frozen=True)
class Attribute:
    """Something said of a thing. start, end: characters that say it; word: those of the value alone."""

    kind: ClaimKind
    value: str
    start: int
    end: int
    word: tuple[int, int]
    mention: Mention | None
    other: Mention | None = None
    asserts: bool = True
    is_hedged: bool = False


def find_attributes(doc: Doc, mentions: list[Mention]) -> list[Attribute]:
    """Everything said of the mentions but that they are there, in the order of the text."""
    heads = by_head(mentions)
    found = [*_counts(mentions), *_colours(doc, heads), *_materials(doc, heads), *_actions(doc, heads)]
    found += _readings(doc, mentions)
    for place in find_places(doc, mentions):
        at = doc.char_span(place.start, place.end, alignment_mode="expand")
        hedged = at is not None and is_hedged(at.root)
        found += [
            Attribute("position", place.value, place.start, place.end, place.word, thing, place.other, place.asserts,
                      hedged)
            for thing in place.things
        ]  # fmt: skip
    return sorted(found, key=lambda attribute: (attribute.start, attribute.end))


def _counts(mentions: list[Mention]) -> Iterator[Attribute]:
    """Numbers before a noun. "3+" where the phrase picks some out of more: a red one, one on the left, one more."""
    # "The dogs" later on means the same ones again; "a dog … one dog" may mean several.
    named = [m.thing.name for m in mentions if not m.is_pronoun and not _is_definite(m)]
    for mention in mentions:
        if mention.is_pronoun:
            continue
        doc = mention.token.doc
        for token in doc[mention.start : mention.token.i]:
            number = words().number(token.text)
            if token.lower_ == "single" and token.dep_ == "amod":
                number = 1
            if token.head.i != mention.token.i:
                continue  # "two slices of pizza" counts slices
            if number is None or not number or token.dep_ not in ("nummod", "det", "amod", "compound", "quantmod"):
                continue
            if any(t.lower_ in _INEXACT for t in doc[max(0, token.i - 2) : token.i]):
                continue
            picks_some = named.count(mention.thing.name) > 1 or _is_restricted(mention, token)
            yield Attribute("count", f"{number}+" if picks_some else str(number), *_extent(token), mention,
                            asserts=not is_denied(mention.token), is_hedged=is_hedged(mention.token))  # fmt: skip
            break


def _is_definite(mention: Mention) -> bool:
    definite = ("the", "these", "those", "this", "that", "its", "their")
    return any(child.lower_ in definite for child in mention.token.children)


def narrowly_denied(mentions: list[Mention], attributes: list[Attribute]) -> set[int]:
    """Heads of things of which only some are denied: "no red car", "no dog on the left". There may well be others."""
    described = {one.mention.token.i for one in attributes if one.mention is not None}
    return {
        m.token.i for m in mentions
        if is_denied(m.token) and (m.token.i in described or _is_restricted(m, m.token))
    }  # fmt: skip


def _is_restricted(mention: Mention, number: Token) -> bool:
    """Whether a phrase means some of its things only."""
    noun, name = mention.token, mention.thing.head
    picking = ("amod", "relcl", "acl", "prep", "poss")
    for child in noun.children:
        if child.i == number.i or child.dep_ not in picking or name.start <= child.idx < name.end:
            continue
        if child.dep_ == "prep" and any(t.lower_ in ("image", "picture", "photo", "scene") for t in child.subtree):
            continue
        return True
    return noun.dep_ == "pobj" and noun.head.lower_ == "of" and noun.head.head.lemma_ not in words().measures


def _colours(doc: Doc, heads: dict[int, Mention]) -> Iterator[Attribute]:
    for token in doc:
        colour = words().colours.get(token.lower_)
        if colour is None or token.i in heads or _is_one_of_several(token):
            continue
        mention, denied = _described(token, heads)
        if mention is None:
            continue
        first = token.i
        while first and doc[first - 1].lower_ in (*words().shades, "-") and doc[first - 1].i > mention.start - 1:
            first -= 1
        start, end = doc[first].idx, token.idx + len(token)
        yield Attribute("colour", colour, start, end, (start, end), mention, asserts=not denied,
                        is_hedged=is_hedged(token))  # fmt: skip


def _is_one_of_several(token: Token) -> bool:
    """ "black and white": no one colour is claimed."""
    joined = [t for t in (*token.conjuncts, *(c for c in token.children if c.dep_ in ("amod", "compound")))]
    return any(t.lower_ in words().colours for t in joined) or (
        token.dep_ in ("amod", "compound") and token.head.lower_ in words().colours
    )


def _described(token: Token, heads: dict[int, Mention]) -> tuple[Mention | None, bool]:
    """(the thing that an adjective describes, whether it is denied of it)."""
    head = token.head
    if token.dep_ in ("amod", "compound", "nmod") and head.i in heads:
        return heads[head.i], False
    if token.dep_ in ("acomp", "attr", "oprd", "dobj") and head.pos_ in ("VERB", "AUX"):
        said_of = [child for child in head.children if child.dep_ in ("nsubj", "nsubjpass")]
        if said_of and said_of[0].lemma_ in ("color", "colour"):
            owners = [t for t in said_of[0].subtree if t.i in heads and t.dep_ in ("pobj", "poss")]
            return (heads[owners[0].i] if owners else None), is_negated(head)
        found = subjects(head, heads)
        if head.lemma_ == "be" or token.dep_ in ("oprd", "acomp"):
            return (found[0] if len(found) == 1 else None), is_negated(head)
    return None, False


def _materials(doc: Doc, heads: dict[int, Mention]) -> Iterator[Attribute]:
    for token in doc:
        if token.lower_ not in words().materials or (token.i in heads and token.dep_ != "pobj"):
            continue
        mention, denied = _described(token, heads)
        if token.dep_ == "pobj" and token.head.lower_ == "of" and token.head.head.lemma_ == "make":
            made = token.head.head
            owners = subjects(made, heads)
            mention, denied = (owners[0] if len(owners) == 1 else None), is_negated(made)
        if mention is not None and mention.token.i != token.i:
            yield Attribute("material", token.lower_, *_extent(token), mention, asserts=not denied,
                            is_hedged=is_hedged(token))  # fmt: skip


def _actions(doc: Doc, heads: dict[int, Mention]) -> Iterator[Attribute]:
    for verb in doc:
        if verb.pos_ != "VERB" or verb.lemma_ in _BEING or verb.tag_ == "VB" or any(
            child.dep_ == "expl" for child in verb.children):  # fmt: skip
            continue
        for mention in subjects(verb, heads)[:1]:
            objects = [child for child in verb.children if child.dep_ in ("dobj", "prt")]
            last = max([verb, *objects], key=lambda token: token.i)
            start, end = verb.idx, last.idx + len(last)
            # As in "is it doing that?", whatever its form in the text.
            form = verb.lower_ if verb.tag_ in ("VBG", "VBN") else inflected_verb(verb.text, "VBG")
            value = " ".join(f"{form} {doc.text[verb.idx + len(verb) : end]}".split())
            yield Attribute("action", value, start, end, (start, end), mention, asserts=not is_negated(verb),
                            is_hedged=is_hedged(verb))  # fmt: skip


def _readings(doc: Doc, mentions: list[Mention]) -> Iterator[Attribute]:
    """Quoted words that are said to be written somewhere in the picture."""
    for start, end in quotes(doc.text):
        token = doc.char_span(start, end, alignment_mode="expand")
        if token is None or not any(t.lemma_.lower() in _READING for t in token.sent[: token.start - token.sent.start]):
            continue
        before = [m for m in mentions if m.token.i < token.start and m.token.sent.start == token.sent.start]
        quoted = doc.user_data["text"][start:end]  # the doc itself has the quotation masked
        value = quoted.strip().rstrip("., ")
        at = start + len(quoted) - len(quoted.lstrip())
        if not value:
            continue
        yield Attribute("text", value, start - 1, end + 1, (at, at + len(value)), before[-1] if before else None,
                        is_hedged=is_hedged(token.root))  # fmt: skip


def _extent(token: Token) -> tuple[int, int, tuple[int, int]]:
    end = token.idx + len(token)
    return token.idx, end, (token.idx, end)
