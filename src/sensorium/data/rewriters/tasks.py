"""One function a task: an annotated picture -> turns to learn from it, or none where it does not offer the task.

Each takes the picture's facts, a random generator and the wordings, and returns turns. Answers are what the annotation
says, in the project's own forms: boxes as `<ref>…</ref><box>…</box>` (grounding), counts as digits, choices as letters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from sensorium.data.draw import pick
from sensorium.data.readers.base import Annotated, Question, Region
from sensorium.data.scenes.phrases import Phrases
from sensorium.grounding import format_grounded


class Turn(NamedTuple):
    """hint: how short to answer, added to the question where a conversation has not said so before."""

    question: str
    answer: str
    hint: str = ""


Task = Callable[[Annotated, np.random.Generator, Phrases], list[Turn]]
_MOST_BOXES = 20  # in one answer; a crowd of two hundred would be two thousand tokens of digits
_SHORT = 3  # words of an answer
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def caption(facts: Annotated, rng: np.random.Generator, phrases: Phrases) -> list[Turn]:
    """One of its captions: the others would be other answers to the same request."""
    return [Turn(phrases.say("caption", rng, {}), pick(facts.captions, rng))] if facts.captions else []


def answer(facts: Annotated, rng: np.random.Generator, phrases: Phrases) -> list[Turn]:
    """All its open questions; short answers come with LLaVA-1.5's hint (arXiv:2310.03744, section 3.2)."""
    turns = []
    for question in facts.questions:
        if question.answers and not question.choices:
            is_short = len(question.answers[0].split()) <= _SHORT
            hint = phrases.say("hint.words", rng, {}) if is_short else ""
            turns.append(Turn(question.text.strip(), question.answers[0], hint))
    return turns


def choose(facts: Annotated, rng: np.random.Generator, phrases: Phrases) -> list[Turn]:
    """All its questions with choices, choices shuffled, so that no letter is the better guess."""
    turns = []
    for question in facts.questions:
        if question.choices and question.answers and question.answers[0] in question.choices:
            turns.append(_multiple_choice(question, rng, phrases))
    return turns


def detect(facts: Annotated, rng: np.random.Generator, phrases: Phrases) -> list[Turn]:
    """Every box of each class; every third time, where all are known, of all classes at once."""
    classes = _classes(facts)
    is_all_known = classes and not facts.crowds and len(facts.regions) <= _MOST_BOXES
    if is_all_known and rng.random() < 1 / 3:
        every = ", ".join(_grounded(name, regions) for name, regions in classes.items())
        return [Turn(phrases.say("detect.everything", rng, {}), every)]
    return [
        Turn(phrases.say("detect.question", rng, {"name": name, "many": plural(name)}), _grounded(name, regions))
        for name, regions in classes.items()
        if len(regions) <= _MOST_BOXES
    ]


def refer(facts: Annotated, rng: np.random.Generator, phrases: Phrases) -> list[Turn]:
    """Each phrase -> its box. A class name only where the picture has one of it; otherwise it does not say which."""
    return [
        Turn(phrases.say("refer.question", rng, {"name": region.name}), format_grounded(region.name, region.box))
        for region in facts.regions
        if _is_unique(region, facts)
    ]


def describe(facts: Annotated, rng: np.random.Generator, phrases: Phrases) -> list[Turn]:
    """Each box -> its phrase or class."""
    return [
        Turn(
            phrases.say("region.class" if region.is_class else "region.phrase", rng,
                        {"box": format_grounded("", region.box)}),
            region.name,
        )
        for region in facts.regions
    ]


def count(facts: Annotated, rng: np.random.Generator, phrases: Phrases) -> list[Turn]:
    """How many of each class, in digits."""
    return [
        Turn(phrases.say("count.question", rng, {"many": plural(name)}), str(len(regions)))
        for name, regions in _classes(facts).items()
    ]


def read(facts: Annotated, rng: np.random.Generator, phrases: Phrases) -> list[Turn]:
    """The text in the picture, line by line."""
    return [Turn(phrases.say("read.question", rng, {}), "\n".join(facts.words))] if facts.words else []


def classify(facts: Annotated, rng: np.random.Generator, phrases: Phrases) -> list[Turn]:
    """The class of the whole picture."""
    return [Turn(phrases.say("classify.question", rng, {}), facts.label)] if facts.label else []


TASKS: dict[str, Task] = {
    "caption": caption,
    "answer": answer,
    "choose": choose,
    "detect": detect,
    "refer": refer,
    "describe": describe,
    "count": count,
    "read": read,
    "classify": classify,
}


@cache
def plural(name: str) -> str:
    """ "dogs", "people", "glasses" """
    import inflect

    return str(inflect.engine().plural_noun(name)) or name  # type: ignore[arg-type]


def _multiple_choice(question: Question, rng: np.random.Generator, phrases: Phrases) -> Turn:
    choices = [question.choices[int(i)] for i in rng.permutation(len(question.choices))]
    lines = [f"{letter}. {choice}" for letter, choice in zip(_LETTERS, choices, strict=False)]
    asked = "\n".join([question.text.strip(), *lines])
    return Turn(asked, _LETTERS[choices.index(question.answers[0])], phrases.say("hint.letter", rng, {}))


def _classes(facts: Annotated) -> dict[str, list[Region]]:
    """Classes of which every instance is known, with their regions."""
    found: dict[str, list[Region]] = {}
    for region in facts.regions:
        if region.is_class and region.name not in facts.crowds:
            found.setdefault(region.name, []).append(region)
    return found


def _is_unique(region: Region, facts: Annotated) -> bool:
    if not region.is_class:
        return True
    return region.name not in facts.crowds and sum(other.name == region.name for other in facts.regions) == 1


def _grounded(name: str, regions: list[Region]) -> str:
    """Boxes from left to right: an order that can be seen."""
    boxes = sorted((region.box for region in regions), key=lambda box: box.corners)
    return format_grounded(name, *boxes)
