"""Correct a text about a picture: claims, questions, evidence, verdicts, edits.

`Corrector.correct` is the story; each step makes records that the next one reads, and any of them can be taken from an
earlier report instead of being made anew.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sensorium.conversation import Image
from sensorium.correction.additions import missing
from sensorium.correction.boxes import box_edits
from sensorium.correction.claims import find_claims
from sensorium.correction.combination import Combination, shipped
from sensorium.correction.editors import Editor, Minimal, Task
from sensorium.correction.memo import Budget, Memo, Meter
from sensorium.correction.picture import Picture
from sensorium.correction.policy import Policy
from sensorium.correction.questions import pose
from sensorium.correction.records import STAGES, Claim, Evidence, Question, Report, Stage, Verdict, apply_edits
from sensorium.correction.verdicts import decide
from sensorium.correction.verifiers.base import BUDGET, UNREACHED, Verifier
from sensorium.errors import SensoriumError, did_you_mean

if TYPE_CHECKING:
    from sensorium.correction.speaking import Speaking
    from sensorium.engine import Engine


@dataclass
class Corrector:
    """verifiers: who looks at the picture; editor: who changes the text; policy: when.

    combination: how their scores become chances, by default what ships. memo: what was found out before. engine: ranks
    ways of wording (`minimal`) or rewrites (`rewrite`).
    """

    verifiers: Sequence[Verifier]
    editor: Editor = field(default_factory=Minimal)
    policy: Policy = field(default_factory=Policy)
    combination: Combination = field(default_factory=shipped)
    memo: Memo = field(default_factory=Memo)
    budget: Budget = field(default_factory=Budget)
    engine: Engine | None = None

    def correct(
        self,
        picture: Picture | Image | str | Path | bytes,
        text: str,
        question: str | None = None,
        earlier: Report | None = None,
        start: Stage = "claims",
        meter: Meter | None = None,
    ) -> Report:
        """The report on a text about a picture. question: what the text answers.

        earlier: a report whose stages before `start` are taken as they are. meter: counts the cost of more than this
        text. Raises SensoriumError when the picture does not open, the text is empty, too long or not English, or
        `earlier` is about something else.
        """
        picture = picture if isinstance(picture, Picture) else Picture(picture)
        picture.check()
        done = _stages_before(start, earlier, picture, text, question)
        meter = meter or Meter(self.budget)
        claims = done.claims if "claims" in done.has else find_claims(text, question, self.names)
        questions = done.questions if "questions" in done.has else tuple(filter(None, map(pose, claims)))
        evidence = done.evidence if "evidence" in done.has else self.look(picture, claims, questions, meter)
        verdicts = done.verdicts if "verdicts" in done.has else decide(claims, evidence, self.combination, self.policy)
        task = Task(text, question, picture, claims, verdicts, self.policy, meter, self.engine,
                    lambda other: self._judge(picture, other, question, meter))  # fmt: skip
        edits = self.editor.edit(task)
        edits += missing(task, self.verifiers) if self.policy.add_missing else []
        boxes = box_edits(task, edits) if self.policy.boxes else []
        return Report(
            picture=picture.digest, text=text, question=question, claims=claims, questions=questions,
            evidence=evidence, verdicts=verdicts, edits=tuple(edits), boxes=tuple(boxes), flags=_flags(task),
            output=apply_edits(text, edits), grounded=apply_edits(text, [*edits, *boxes]), cost=meter.cost(),
        )  # fmt: skip

    def correct_reply(
        self, picture: Picture | Image, reply: str, question: str | None = None, meter: Meter | None = None
    ) -> Report:
        """The same of what a model said: a reply that cannot be corrected stays as it is, and `notes` say why.

        Raises SensoriumError when the picture does not open.
        """
        picture = picture if isinstance(picture, Picture) else Picture(picture)
        picture.check()
        try:
            return self.correct(picture, reply, question, meter=meter)
        except SensoriumError as error:
            if error.where not in ("text", "question"):
                raise
            return Report(picture=picture.digest, text=reply, question=question, output=reply, grounded=reply,
                          notes=(str(error),))  # fmt: skip

    def listen(self, picture: Picture | Image | str | Path | bytes, question: str | None = None) -> Speaking:
        """A text about the picture that is still being said, for whoever is told it piece by piece."""
        from sensorium.correction.speaking import Speaking

        return Speaking(self, picture if isinstance(picture, Picture) else Picture(picture), question)

    def stream(
        self, picture: Picture | Image | str | Path | bytes, pieces: Iterable[str], question: str | None = None
    ) -> Generator[str, None, Report]:
        """The corrected text, sentence by sentence, while it is being said; returns the report at the end."""
        speaking = self.listen(picture, question)
        for piece in pieces:
            if said := speaking.hear(piece):
                yield said
        if said := speaking.end():
            yield said
        assert speaking.report is not None
        return speaking.report

    @property
    def names(self) -> frozenset[str]:
        """Everything that one of the verifiers knows."""
        return frozenset().union(*(verifier.names for verifier in self.verifiers))

    def look(
        self, picture: Picture, claims: Sequence[Claim], questions: Sequence[Question], meter: Meter
    ) -> tuple[Evidence, ...]:
        """Evidence of every verifier on every claim that it looks at; what is in the memo is not looked for again."""
        phrases = {question.claim: question.phrase for question in questions}
        found: list[Evidence] = []
        for verifier in self.verifiers:
            fresh: dict[str, Claim] = {}
            wanted = [claim for claim in claims if claim.id in phrases and verifier.can(claim)]
            for claim in wanted:
                phrase = phrases[claim.id]
                if self.memo.get(picture.digest, phrase, verifier.name, verifier.version) is None:
                    fresh.setdefault(phrase, claim)
                else:
                    meter.remembered += 1
            told = verifier.verify(picture, list(fresh.values()), meter) if fresh else []
            of_phrase = dict(zip(fresh, told, strict=True))
            for phrase, one in of_phrase.items():
                if one.reason == BUDGET:
                    meter.skipped += 1
                elif one.score is not None or not one.reason.startswith(UNREACHED):
                    self.memo.put(picture.digest, phrase, one)
            for claim in wanted:
                phrase = phrases[claim.id]
                known = of_phrase.get(phrase) or self.memo.get(
                    picture.digest, phrase, verifier.name, verifier.version)  # fmt: skip
                if known is not None:
                    found.append(known.model_copy(update={"claim": claim.id}))
        return tuple(found)

    def _judge(
        self, picture: Picture, text: str, question: str | None, meter: Meter
    ) -> tuple[tuple[Claim, ...], tuple[Verdict, ...]]:
        """Claims and verdicts of another text about the same picture."""
        claims = find_claims(text, question, self.names)
        questions = tuple(filter(None, map(pose, claims)))
        evidence = self.look(picture, claims, questions, meter)
        return claims, decide(claims, evidence, self.combination, self.policy)


@dataclass(frozen=True)
class _Done:
    has: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    questions: tuple[Question, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    verdicts: tuple[Verdict, ...] = ()


def _stages_before(start: Stage, earlier: Report | None, picture: Picture, text: str, question: str | None) -> _Done:
    if start not in STAGES:
        raise SensoriumError("start", f"`{start}` is no stage.", did_you_mean(start, STAGES))
    if earlier is None or start == "claims":
        return _Done()
    for what, ours, theirs in (("text", text, earlier.text), ("question", question, earlier.question),
                               ("picture", picture.digest, earlier.picture)):  # fmt: skip
        if ours != theirs:
            raise SensoriumError(f"report: {what}", "is another than the one to correct.", "Correct it from the start.")
    has = STAGES[: STAGES.index(start)]
    return _Done(has, earlier.claims, earlier.questions, earlier.evidence, earlier.verdicts)


def _flags(task: Task) -> tuple[str, ...]:
    """Claims for the reader to look at: doubtful ones where the policy says so, and refuted ones that no rule mends."""
    if task.policy.doubtful != "flag":
        return ()
    return tuple(
        verdict.claim for verdict in task.verdicts
        if verdict.value == "unknown" and verdict.probability is not None and verdict.probability <= task.policy.doubt
    )  # fmt: skip
