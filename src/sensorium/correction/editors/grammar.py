"""English put right around an edit: numbers of nouns and verbs, articles, capitals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sensorium.correction.records import Edit
from sensorium.correction.words import inflected_verb, words
from sensorium.data.scenes.vocabulary import inflected

if TYPE_CHECKING:
    from spacy.tokens import Token

_BE = {("is", False): "are", ("are", True): "is", ("was", False): "were", ("were", True): "was",
       ("'s", False): " are", ("’s", False): " are"}  # fmt: skip


def number_like(old: str, number: int) -> str:
    """A number in the manner of the one that it replaces: in digits, in words, with a capital."""
    if old.isdigit():
        return str(number)
    return in_case_of(old, words().spelled(number))


def in_case_of(old: str, new: str) -> str:
    """A word with a capital, or all in capitals, where the old one had that."""
    if len(old) > 1 and old.isupper():
        return new.upper()
    return new[:1].upper() + new[1:] if old[:1].isupper() else new


def noun_as(token: Token, singular: bool) -> str | None:
    """The noun in the other number; None when it has that number or no other form."""
    is_plural = token.tag_ in ("NNS", "NNPS")
    if is_plural != singular:
        return None
    word = token.text.lower()
    new = inflected().singular_noun(word) if singular else inflected().plural_noun(word)
    return in_case_of(token.text, str(new)) if new and new != word else None


def verb_as(token: Token, singular: bool) -> str | None:
    """A verb in the present, or "was", for a subject of the other number; None when it need not change."""
    low = token.text.lower()
    if token.lemma_ == "be":
        new = _BE.get((low, singular))
        return in_case_of(token.text, new) if new else None
    if token.tag_ == "VBZ" and not singular:
        return _inflected(token, "VBP")
    if token.tag_ == "VBP" and singular:
        return _inflected(token, "VBZ")
    return None


def _inflected(token: Token, tag: str) -> str | None:
    form = inflected_verb(token.text, tag)
    return in_case_of(token.text, form) if form != token.text.lower() else None


def finite(token: Token) -> Token | None:
    """The word of a verb that shows the number: its first auxiliary, or itself."""
    carriers = [child for child in token.children if child.dep_ in ("aux", "auxpass") and child.i < token.i]
    carrier = carriers[0] if carriers else token
    return carrier if carrier.tag_ in ("VBZ", "VBP", "VBD") else None


def verb_of(noun: Token) -> Token | None:
    """The verb that agrees with a noun: of which it is the subject, or that says "there is" of it."""
    head = noun.head
    if noun.dep_ in ("nsubj", "nsubjpass"):
        return finite(head)
    if noun.dep_ in ("attr", "dobj") and any(child.dep_ == "expl" for child in head.children):
        return finite(head)
    return None


def agreeing(noun: Token, singular: bool, claims: tuple[str, ...], joined: bool) -> list[Edit]:
    """Edits that make verbs agree with a noun whose number has changed: its own, and that of "dogs that are barking".

    joined: other nouns share its own verb.
    """
    # Several joined by "and" are plural whatever each of them is.
    own = None if joined and noun.dep_ in ("nsubj", "nsubjpass") else verb_of(noun)
    verbs = [own, *(finite(child) for child in noun.children if child.dep_ == "relcl" and _is_of_it(child))]
    forms = [(verb, verb_as(verb, singular)) for verb in verbs if verb is not None]
    return [
        Edit(start=verb.idx, end=verb.idx + len(verb), replacement=new, kind="agreement", claims=claims)
        for verb, new in forms if new is not None
    ]  # fmt: skip


def _is_of_it(verb: Token) -> bool:
    """Whether the subject of a relative clause is what it is about."""
    return any(child.dep_ in ("nsubj", "nsubjpass") and child.lower_ in ("that", "which", "who")
               for child in verb.children)  # fmt: skip


def pronoun_as(token: Token, singular: bool, claims: tuple[str, ...]) -> list[Edit]:
    """Edits of "it" or "they" as a subject, and of its verb, for a thing whose number has changed."""
    new = {("it", False): "they", ("they", True): "it"}.get((token.lower_, singular))
    verb = verb_of(token)
    if new is None or verb is None:
        return []
    form = verb_as(verb, singular)
    found = [(token, in_case_of(token.text, new))] + ([(verb, form)] if form else [])
    return [Edit(start=one.idx, end=one.idx + len(one), replacement=text, kind="agreement", claims=claims)
            for one, text in found]  # fmt: skip


def article_before(token: Token, new: str, claims: tuple[str, ...]) -> list[Edit]:
    """An edit of "a" or "an" right before a word that gives way to `new`, where that asks for the other."""
    if token.i == 0 or token.nbor(-1).lower_ not in ("a", "an"):
        return []
    article = token.nbor(-1)
    wanted = inflected().a(new).split(" ", 1)[0]
    if article.lower_ == wanted:
        return []
    return [Edit(start=article.idx, end=article.idx + len(article), replacement=in_case_of(article.text, wanted),
                 kind="agreement", claims=claims)]  # fmt: skip


def there_is(phrases: list[str], first_is_plural: bool, also: bool = False) -> str:
    """ "There is a cat and two balls." from noun phrases; also: "There is also …"."""
    listed = phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
    return f"There {'are' if first_is_plural else 'is'} {'also ' if also else ''}{listed}."
