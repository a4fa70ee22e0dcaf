"""What a short answer means: the question it answers, put together with it.

"Yes" says that everything the question supposes is so; "No" that something of it is not. "Three", "Red" and "On the
left" give the number, colour or side that a question asks of its thing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sensorium.correction.records import Claim, ClaimKind, Thing
from sensorium.correction.words import words

_YES_NO = re.compile(r"\s*(yes|yeah|yep|no|nope)\b(?=\s*(?:[,.!;:—-]|$))", re.IGNORECASE)
_POLAR = re.compile(r"(?:^|[.,:]\s+)(?:is|are|was|were|does|do|did|can|could|has|have)\b", re.IGNORECASE)
_ASKED_VALUE: tuple[tuple[re.Pattern[str], ClaimKind], ...] = (
    (re.compile(r"\bhow many\b", re.IGNORECASE), "count"),
    (re.compile(r"\b(?:what|which) colou?r\b", re.IGNORECASE), "colour"),
)
_INVERTED = re.compile(
    r"(?P<before>.*?)\b(?P<verb>(?:is|are|was|were) )(?P<noun>(?:the|this|that|these|those|its) (?:[\w-]+ )+?)"
    rf"(?=(?:{'|'.join(words().colours)}|to the|on the|in the|at the|left of|right of|above|below|under|beneath|inside"
    r"|next to|made of|\w+ing|\w+er)\b)",
    re.IGNORECASE | re.DOTALL,
)
_THERE = re.compile(r"(?P<verb>is|are) there (?P<article>(?:an?|any) )?(?P<rest>.+)", re.IGNORECASE | re.DOTALL)
_SIDE = re.compile(r"\b(left|right|top|bottom|middle|center|centre)\b", re.IGNORECASE)
_WHERE = re.compile(r"\b(?:where|which side)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """kind "answer": a yes or no; else the kind of value given for `thing`. span: characters of the text."""

    kind: ClaimKind
    value: str
    span: tuple[int, int]
    thing: Thing | None = None


def find_answer(text: str, question: str | None, asked: list[Claim]) -> Answer | None:
    """What a text answers to a question whose claims are `asked`; None where it is no short answer to it."""
    if not question or not asked:
        return None
    if (match := _YES_NO.match(text)) and _POLAR.search(question):
        return Answer("answer", "yes" if match[1].lower().startswith("y") else "no", match.span(1))
    thing = next((claim.thing for claim in asked if claim.kind == "existence"), None)
    if thing is None:
        return None
    for pattern, kind in _ASKED_VALUE:
        if pattern.search(question):
            return _value(text, kind, thing)
    if _WHERE.search(question) and (match := _SIDE.search(text)):
        value = {"center": "middle", "centre": "middle"}.get(match[1].lower(), match[1].lower())
        return Answer("position", value, match.span(1), thing)
    return None


def _value(text: str, kind: ClaimKind, thing: Thing) -> Answer | None:
    """The first number or colour of a text."""
    for match in re.finditer(r"\w+", text):
        if kind == "count" and (number := words().number(match[0])) is not None:
            return Answer("count", str(number), match.span(), thing)
        if kind == "colour" and (colour := words().colours.get(match[0].lower())):
            return Answer("colour", colour, match.span(), thing)
    return None


def whole_sentence(question: str, answer: str) -> str:
    """A bare yes or no as a sentence that can be corrected: "Is there a dog?", "Yes" -> "Yes, there is a dog."

    Other answers, and those to questions that cannot be turned round, stay as they are.
    """
    word = answer.strip(" .!\n").lower()
    if word not in ("yes", "no"):
        return answer
    opening, asked = word.capitalize(), question.partition("?")[0].strip()
    if match := _THERE.match(asked):
        verb, article, rest = match["verb"].lower(), (match["article"] or "").strip().lower(), match["rest"]
        if word == "yes":
            said = f"{article} {rest}" if article in ("a", "an") else rest
        else:
            said = f"no {rest}" if article else f"not {rest}"
        return f"{opening}, there {verb} {said}."
    statement, _ = declared(f"{asked}?")
    verb = asked.partition(" ")[0]
    subject, middle, rest = statement.rstrip("?").partition(f" {verb} ")
    if not middle or statement == f"{asked}?":
        return f"{opening}."
    return f"{opening}, {subject} {verb.lower()} {'' if word == 'yes' else 'not '}{rest.strip()}."


def declared(question: str) -> tuple[str, list[int]]:
    """ "Is the car blue?" -> "the car Is blue?", and where each character stood: the parser knows statements better."""
    match = _INVERTED.match(question)
    places = list(range(len(question)))
    if match is None:
        return question, places
    verb, noun = match.span("verb"), match.span("noun")
    places = [*places[: verb[0]], *places[slice(*noun)], *places[slice(*verb)], *places[noun[1] :]]
    return "".join(question[at] for at in places), places
