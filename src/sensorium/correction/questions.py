"""Claims put as questions: what an engine is asked, and under which words an answer is remembered."""

from __future__ import annotations

import functools

from sensorium.correction.places import PLACE_PHRASES, RELATION_PHRASES
from sensorium.correction.records import Claim, Question, Thing
from sensorium.correction.words import words


def pose(claim: Claim) -> Question | None:
    """The question to which Yes says that the claim's proposition is true, its denial left out.

    None for answers, whose parts are asked instead, and for things that nobody can name.
    """
    thing = claim.thing
    if claim.kind == "answer" or ((thing is None or thing.name is None) and claim.kind != "text"):
        return None
    phrase = "|".join([claim.kind, thing.name or "" if thing else "", "many" if thing and thing.is_plural else "one",
                       claim.value, claim.other.name or "" if claim.other else ""]).lower()  # fmt: skip
    return Question(claim=claim.id, text=_question(claim, thing), phrase=phrase)


def _question(claim: Claim, thing: Thing | None) -> str:
    if claim.kind == "text" or thing is None:
        return f'Can the words "{claim.value}" be read in the image?'
    name = thing.name or ""
    many = plural(name)
    the, are = (f"the {many}", "Are") if thing.is_plural else (f"the {name}", "Is")
    if claim.kind == "existence":
        return f"Are there any {many} in the image?" if thing.is_plural else f"Is there {a(name)} in the image?"
    if claim.kind == "count":
        number = int(claim.value.rstrip("+"))
        least = "at least " if claim.value.endswith("+") else ""
        said = words().spelled(number)
        verb = "Is" if number == 1 else "Are"
        return f"{verb} there {least}{said} {name if number == 1 else many} in the image?"
    if claim.kind == "material":
        return f"{are} {the} made of {claim.value}?"
    if claim.kind == "position":
        if claim.other is not None:
            other = plural(claim.other.name or "") if claim.other.is_plural else claim.other.name
            return f"{are} {the} {RELATION_PHRASES[claim.value]} the {other}?"
        return f"{are} {the} {PLACE_PHRASES[claim.value]} of the image?"
    return f"{are} {the} {claim.value}?"


@functools.cache  # inflecting takes longer than all else that is done with a claim
def plural(name: str) -> str:
    """ "traffic light" -> "traffic lights"; plurals stay as they are."""
    from sensorium.data.scenes.vocabulary import inflected

    engine = inflected()
    if " of " in name:
        head, rest = name.split(" of ", 1)
        return f"{plural(head)} of {rest}"
    return name if engine.singular_noun(name) else str(engine.plural_noun(name))


@functools.cache
def a(name: str) -> str:
    """The name with its article: "an apple"."""
    from sensorium.data.scenes.vocabulary import inflected

    return str(inflected().a(name)) if not inflected().singular_noun(name) else name
