"""Faults of English that edits leave behind, found by a parser that did not make the edits.

Three kinds: a verb that does not agree with its subject, a determiner that does not agree with its noun (a wrong "an"
too), and what dangles: a sentence without a verb or subject, one that ends in a joint or begins small, doubled words,
blanks and commas that part nothing. The parser errs as well, so an edit is blamed for those faults only that the text
did not have before.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

from sensorium.correction.language import mask_quotes, read
from sensorium.correction.words import words
from sensorium.data.scenes.vocabulary import inflected

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span, Token

FaultKind = Literal["verb", "determiner", "dangling"]
_ONE, _MANY = frozenset({"a", "an", "one", "this", "that", "another", "each"}), frozenset({"these", "those", "several"})
# Nouns whose one and many are not told apart, or which a small parser's tags get wrong as a rule.
_EITHER = frozenset({
    "sheep", "fish", "deer", "scissors", "glasses", "pants", "jeans", "skis", "series", "moose", "bison",
})  # fmt: skip
_MARKS = (
    (re.compile(r" {2,}"), "two blanks"), (re.compile(r"\s[,.;!?]"), "a blank before a mark"),
    (re.compile(r",\s*[,.;!?]"), "a comma before a mark"), (re.compile(r"\.\s*[,.]"), "two full stops"),
    (re.compile(r"\b(\w+) \1\b", re.IGNORECASE), "a word twice"), (re.compile(r"\(\s*\)"), "empty brackets"),
)  # fmt: skip
_JOINTS = frozenset(["CC", "IN", "DT", "PRP$", "TO"])  # tags that no sentence ends with


class Fault(NamedTuple):
    """words: where, as the text has it."""

    kind: FaultKind
    words: str


def new_faults(before: str, after: str) -> list[Fault]:
    """The faults of `after` that `before` did not have."""
    return list((Counter(faults(after)) - Counter(faults(before))).elements()) if after.strip() else []


def faults(text: str) -> list[Fault]:
    """All that is found, in no order that means anything."""
    doc = read(text)
    found = [Fault("dangling", f"{why}: {match[0]!r}") for pattern, why in _MARKS
             for match in pattern.finditer(mask_quotes(text))]  # fmt: skip
    found += _verbs(doc)
    found += _determiners(doc)
    for sentence in doc.sents:
        found += _dangling(sentence)
    return found


def _verbs(doc: Doc) -> Iterator[Fault]:
    for noun in doc:
        if noun.dep_ in ("nsubj", "nsubjpass"):
            is_relative = noun.lower_ in ("that", "which", "who") and noun.head.dep_ == "relcl"
            about = noun.head.head if is_relative else noun
            numbers = {_is_many(about)}
            if any(child.dep_ == "conj" and child.pos_ in ("NOUN", "PROPN") for child in noun.children):
                numbers = {True}
        elif noun.dep_ == "attr" and any(child.dep_ == "expl" for child in noun.head.children):
            # "There is a cat and two dogs", "There are a cat and two dogs": both are said.
            numbers = {_is_many(noun)} | ({True} if any(c.dep_ == "conj" for c in noun.children) else set())
        else:
            continue
        verb = _finite(noun.head)
        says_many = None if verb is None else _says_many(verb)
        if verb is not None and says_many is not None and None not in numbers and says_many not in numbers:
            yield Fault("verb", f"{noun.text} {verb.text}")


def _finite(verb: Token) -> Token | None:
    carriers = [child for child in verb.children if child.dep_ in ("aux", "auxpass")]
    found = carriers[0] if carriers else verb
    return found if found.tag_ in ("VBZ", "VBP", "VBD") else None


def _says_many(verb: Token) -> bool | None:
    """Whether a finite verb asks for a plural; None for those that go with both."""
    known = {"is": False, "'s": False, "’s": False, "was": False, "has": False, "does": False, "are": True,
             "were": True, "have": True, "do": True}  # fmt: skip
    if verb.lower_ in known:
        return known[verb.lower_]
    return None if verb.tag_ == "VBD" else verb.tag_ == "VBP"


def _is_many(noun: Token) -> bool | None:
    if noun.lower_ in ("it", "they"):
        return noun.lower_ == "they"
    if noun.lower_ in _EITHER or noun.pos_ not in ("NOUN", "PROPN"):
        return None
    return noun.tag_ in ("NNS", "NNPS")


def _determiners(doc: Doc) -> Iterator[Fault]:
    for token in doc:
        noun, low = token.head, token.lower_
        if low in ("a", "an") and token.i + 1 < len(doc):
            after = doc[token.i + 1].text
            if after[:1].isalpha() and inflected().a(after).split(" ", 1)[0] != low:
                yield Fault("determiner", f"{token.text} {after}")
        if token.dep_ not in ("det", "nummod") or token.i > noun.i or (is_many := _is_many(noun)) is None:
            continue
        number = words().number(low)
        wants = False if low in _ONE or number == 1 else True if low in _MANY or (number or 0) > 1 else None
        if wants is not None and wants != is_many:
            yield Fault("determiner", f"{token.text} {noun.text}")


def _dangling(sentence: Span) -> Iterator[Fault]:
    said = [token for token in sentence if not token.is_punct and not token.is_space]
    if not said:
        yield Fault("dangling", f"nothing said: {sentence.text.strip()!r}")
        return
    if said[0].text[0].islower() and sentence.start_char == 0:
        yield Fault("dangling", f"begins small: {said[0].text}")
    if said[-1].tag_ in _JOINTS and not (said[-1].tag_ == "IN" and said[-1].dep_ == "prep" and said[-1].i == 0):
        yield Fault("dangling", f"ends in {said[-1].text!r}")
    if said[0].tag_ == "CC":
        yield Fault("dangling", f"begins with {said[0].text!r}")
    is_answer = said[0].lower_ in ("yes", "no", "yeah", "yep", "nope")
    if len(said) > 3 and not is_answer and not any(token.pos_ in ("VERB", "AUX") for token in said):
        yield Fault("dangling", f"no verb: {sentence.text.strip()!r}")
