"""What passes between the stages of Woodpecker's protocol, and the report that holds all of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sensorium.correction.records import Boxes, Record, Report

SCHEMA = "sensorium-woodpecker-1"
Step = Literal["sentences", "concepts", "detections", "questions", "answers", "claims", "correction"]
WOODPECKER_STAGES: tuple[Step, ...] = ("sentences", "concepts", "detections", "questions", "answers", "claims",
                                       "correction")  # fmt: skip


class Asked(Record):
    """A question about the entities of a sentence. instance: of the one entity, number of its box; None: the whole
    picture was shown. answer: None where nobody could tell."""

    text: str
    entities: tuple[str, ...]
    instance: int | None = None
    answer: str | None = None


class Sentence(Record):
    """A sentence with its pronouns replaced. entities, questions: None where the language model could not be read."""

    text: str
    entities: tuple[str, ...] | None = None
    questions: tuple[Asked, ...] | None = None


class Seen(Record):
    """An entity that was looked for, and its boxes."""

    name: str
    boxes: Boxes = ()
    scores: tuple[float, ...] = ()


class Told(Record):
    """The visual claims, in sentences: numbers of things, what single things are like, what holds of the whole."""

    counting: tuple[str, ...] = ()
    specific: tuple[str, ...] = ()
    overall: tuple[str, ...] = ()


class Stages(Record):
    """Everything between a passage and its correction. correction: as the language model wrote it, boxes included;
    None where it could not be had."""

    sentences: tuple[Sentence, ...] = ()
    seen: tuple[Seen, ...] = ()
    answers: tuple[Asked, ...] = ()
    told: Told = Told()
    correction: str | None = None


class WoodpeckerReport(Report):
    """A report whose edits come from a rewriting. `claims`, `evidence`, `verdicts` are about the entities that stand in
    the text itself; `grounded` is the correction with the boxes as the language model put them."""

    schema_: str = Field(default=SCHEMA, alias="schema")
    stages: Stages = Stages()
