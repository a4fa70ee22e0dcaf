"""What passes between the stages of correction: claims, questions, evidence, verdicts, edits, and the report of them.

Every record is frozen and goes to JSON and back unchanged, so that any stage can be fed from a file and run again with
other settings. Character offsets always point into the original text (or the question), never into an edited one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, WithJsonSchema

from sensorium.errors import SensoriumError
from sensorium.grounding import Box

SCHEMA = "sensorium-correction-1"

ClaimKind = Literal["existence", "count", "colour", "material", "position", "action", "text", "answer"]
KINDS: tuple[ClaimKind, ...] = ("existence", "count", "colour", "material", "position", "action", "text", "answer")
VerdictValue = Literal["supported", "refuted", "unknown"]
EditKind = Literal["delete", "number", "colour", "side", "text", "polarity", "agreement", "hedge", "flag", "add", "box",
                   "rewrite"]  # fmt: skip
Stage = Literal["claims", "questions", "evidence", "verdicts", "edits"]
STAGES: tuple[Stage, ...] = ("claims", "questions", "evidence", "verdicts", "edits")


Boxes = Annotated[
    tuple[Box, ...],
    BeforeValidator(lambda boxes: tuple(box if isinstance(box, Box) else Box(*box) for box in boxes)),
    PlainSerializer(lambda boxes: [list(box.corners) for box in boxes]),
    WithJsonSchema({"type": "array", "items": {"type": "array", "items": {"type": "integer"}, "minItems": 4,
                                               "maxItems": 4}}),
]  # fmt: skip


class Record(BaseModel):
    """Frozen; unknown fields are errors, so a file of another schema is not read by half."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Span(Record):
    """Characters start to end (exclusive) of `source`: the text that is corrected, or the question it answers."""

    start: int = Field(ge=0)
    end: int = Field(ge=0)
    source: Literal["text", "question"] = "text"

    def of(self, text: str) -> str:
        return text[self.start : self.end]

    def holds(self, other: Span) -> bool:
        return self.source == other.source and self.start <= other.start and other.end <= self.end


class Thing(Record):
    """A thing that is spoken of.

    name: its name as a dictionary has it ("traffic light"); None: a pronoun whose thing is not clear. span: the whole
    noun phrase or the pronoun; head: the name in it; is_plural: as it is spoken of.
    """

    name: str | None
    span: Span
    head: Span
    is_plural: bool = False


class Claim(Record):
    """One thing said that a picture can show to be true or false.

    value: what is said of the thing: a count ("3"), a colour, a material, a side ("left", "above", "top", …), an
    action, the words read, and of an answer "yes" or "no". value_span: the words that say it. other: the second thing
    of a relation. asserts: False where it is denied. is_hedged: said as a guess. sentence: number from 0, of the text;
    -1 for what the question says. parts: of an answer, the claims of its question. needs: the claim that its thing is
    there at all.
    """

    id: str
    kind: ClaimKind
    span: Span
    thing: Thing | None = None
    value: str = ""
    value_span: Span | None = None
    other: Thing | None = None
    asserts: bool = True
    is_hedged: bool = False
    sentence: int = 0
    parts: tuple[str, ...] = ()
    needs: str | None = None


class Question(Record):
    """A claim put as a question with the answer Yes if it is true. phrase: the claim in few words, the memo's key."""

    claim: str
    text: str
    phrase: str


class Evidence(Record):
    """What one verifier found out about the proposition of a claim (whether it is denied or not is left out).

    score: 0–1, how far the verifier holds it true, by its own measure; None: it cannot tell, and `reason` says why.
    aspect: which rule of calibration fits the score, for example `existence` or `count:fewer`. observed: what is there
    instead, in the words of `Claim.value` ("2", "blue", "right"). boxes: where.
    """

    claim: str
    verifier: str
    version: str
    score: float | None
    aspect: str = ""
    reason: str = ""
    observed: str | None = None
    boxes: Boxes = ()
    box_scores: tuple[float, ...] = ()


class Verdict(Record):
    """What all evidence together says of a claim as it was made, denials included.

    probability: that the claim is true; None where nothing is known. observed and boxes: of the evidence that decided.
    """

    claim: str
    value: VerdictValue
    reason: str
    probability: float | None = None
    observed: str | None = None
    boxes: Boxes = ()


class Edit(Record):
    """Characters start to end of the original text give way to `replacement`. claims: whose verdicts ask for it."""

    start: int = Field(ge=0)
    end: int = Field(ge=0)
    replacement: str
    kind: EditKind
    claims: tuple[str, ...] = ()
    reason: str = ""


class Cost(Record):
    """What a report took. calls: of models, by verifier or editor; remembered: answers taken from the memo."""

    milliseconds: float = 0.0
    calls: dict[str, int] = Field(default_factory=dict)
    remembered: int = 0
    skipped: int = 0

    def line(self) -> str:
        calls = ", ".join(f"{name} {n}" for name, n in sorted(self.calls.items())) or "none"
        tail = f", {self.skipped} left out by the budget" if self.skipped else ""
        return f"{self.milliseconds:.0f} ms; model calls: {calls}; {self.remembered} answers remembered{tail}"


class Report(Record):
    """All that was found about one text and one picture.

    picture: sha256 of the picture's file. output: the corrected text; grounded: the same with its boxes written in.
    flags: claims that the policy marks for the reader instead of editing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: str = Field(default=SCHEMA, alias="schema")
    picture: str
    text: str
    question: str | None = None
    claims: tuple[Claim, ...] = ()
    questions: tuple[Question, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    edits: tuple[Edit, ...] = ()
    boxes: tuple[Edit, ...] = ()
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    output: str = ""
    grounded: str = ""
    cost: Cost = Field(default_factory=Cost)

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def from_json(cls, row: Mapping[str, Any], where: str = "report") -> Self:
        """Raises SensoriumError for another schema, and names the field that is wrong."""
        found = row.get("schema") if isinstance(row, Mapping) else None
        expected = cls.model_fields["schema_"].default
        if found != expected:
            raise SensoriumError(f"{where}: schema", f"is {found!r}, expected {expected!r}.", "Correct the text again.")
        try:
            return cls.model_validate(row)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise SensoriumError(f"{where}: {place}", f"{first['msg']}.") from error

    def claim(self, id: str) -> Claim:
        return next(claim for claim in self.claims if claim.id == id)

    def verdict(self, id: str) -> Verdict:
        return next(verdict for verdict in self.verdicts if verdict.claim == id)


def apply_edits(text: str, edits: tuple[Edit, ...] | list[Edit]) -> str:
    """The text with its edits made. Raises ValueError when two of them overlap or one lies outside."""
    pieces, at = [], 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if edit.start < at or edit.end < edit.start or edit.end > len(text):
            raise ValueError(f"edit {edit.start}–{edit.end} overlaps another or lies outside the text.")
        pieces += [text[at : edit.start], edit.replacement]
        at = edit.end
    return "".join([*pieces, text[at:]])
