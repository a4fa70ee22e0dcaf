"""Whether a word is said, denied or guessed at: negation and hedges, by their dependencies."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.tokens import Token

_NO = frozenset({"no", "neither", "nor", "zero"})
_LACKING = frozenset({"without", "except", "besides", "unlike"})
_MODALS = frozenset({"might", "may", "could"})
_MAYBE = frozenset({"possibly", "perhaps", "maybe", "probably", "likely", "apparently", "seemingly", "presumably",
                    "potentially", "supposedly"})  # fmt: skip
_SEEMING = frozenset({"seem", "appear", "look", "suggest", "imply", "suppose", "guess", "think", "believe", "assume",
                      "resemble"})  # fmt: skip
_COMPLEMENTS = frozenset({"xcomp", "ccomp", "oprd", "acomp", "attr", "dobj"})
_SUBJECTS = frozenset({"nsubj", "nsubjpass", "csubj"})


def is_denied(noun: Token) -> bool:
    """Whether a noun phrase is said not to be there: "no dog", "there is not a dog", "without a dog"."""
    first = noun
    while first.dep_ in ("conj", "appos") and first.head.i < first.i:
        if any(child.dep_ == "cc" and child.lower_ == "but" for child in first.head.children):
            break  # "not a dog but a cat"
        if first is not noun and any(child.dep_ == "det" for child in first.children):
            break
        if any(child.dep_ == "det" and child.lower_ not in _NO for child in first.children) and _says_no(first.head):
            break  # "no dog and a cat"
        first = first.head
    if _says_no(noun) or _says_no(first):
        return True
    if first.dep_ == "pobj" and first.head.lower_ in _LACKING:
        return True
    return first.dep_ in ("attr", "dobj", "oprd") and is_negated(first.head)


def is_negated(verb: Token) -> bool:
    """Whether a verb, or the auxiliary that carries it, has a "not"."""
    return any(child.dep_ == "neg" or child.lower_ in ("not", "n't", "never") for child in verb.children)


def is_hedged(token: Token) -> bool:
    """Whether it is said as a guess: "might be", "possibly", "appears to be", "or", "if"."""
    node = token
    while True:
        if any(child.dep_ in ("advmod", "amod") and child.lower_ in _MAYBE for child in node.children):
            return True
        if any(child.dep_ == "cc" and child.lower_ == "or" for child in node.children) or _after_or(node):
            return True
        head = node.head
        if head is node or head == node:
            return False
        if node.dep_ not in _SUBJECTS:
            if any(child.dep_ == "aux" and child.lower_ in _MODALS for child in head.children):
                return True
            if head.lemma_ in _SEEMING and node.dep_ in _COMPLEMENTS:
                return True
            if any(child.dep_ == "mark" and child.lower_ in ("if", "whether") for child in head.children):
                return True
        if head.lower_ == "like" and node.dep_ == "pobj":
            return True
        node = head


def _says_no(noun: Token) -> bool:
    return any(child.dep_ in ("det", "preconj", "nummod") and child.lower_ in _NO for child in noun.children)


def _after_or(node: Token) -> bool:
    return node.dep_ == "conj" and any(
        child.dep_ == "cc" and child.lower_ == "or" and not _says_no(node.head) for child in node.head.children
    )
