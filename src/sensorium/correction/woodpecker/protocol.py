"""The protocol from a passage to its correction: `Woodpecker.correct` is the story.

Cost, for S sentences: 2S + 2 calls of the language model, S passes of the detector, and a question answered for each
attribute of each thing. A language model that does not keep to a form is asked again a few times, then its sentence is
left out; one that cannot be reached is not asked again, and the passage stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from sensorium.conversation import Conversation, Image, system, user
from sensorium.correction.language import check_language, read
from sensorium.correction.memo import Budget, Meter
from sensorium.correction.picture import Picture
from sensorium.correction.verifiers.base import Found
from sensorium.correction.woodpecker import prompts
from sensorium.correction.woodpecker.records import (
    WOODPECKER_STAGES,
    Asked,
    Seen,
    Sentence,
    Stages,
    Step,
    Told,
    WoodpeckerReport,
)
from sensorium.correction.woodpecker.replies import read_entities, read_passage, read_questions
from sensorium.correction.woodpecker.sight import claims_of, crop, look
from sensorium.correction.woodpecker.told import report_of
from sensorium.engine import Engine, Sampling
from sensorium.errors import SensoriumError, did_you_mean

Read = TypeVar("Read")


class Together(Protocol):
    """A detector that looks for several phrases in one pass; see `verifiers.open_vocabulary`."""

    name: str

    def together(
        self, picture: Picture, names: Sequence[str], threshold: float, text_threshold: float
    ) -> list[tuple[str, Found]]: ...


@dataclass
class Woodpecker:
    """llm: reads, asks and rewrites; detector: finds things; vqa: answers questions about them.

    The thresholds are the original's: of boxes and of the words of their phrases, and the least area of a box, of the
    picture's. tries: how often a form is asked for before it is given up.
    """

    llm: Engine
    detector: Together
    vqa: Engine
    box_threshold: float = 0.35
    text_threshold: float = 0.25
    least_area: float = 0.001
    tries: int = 3
    budget: Budget = field(default_factory=Budget)

    def correct(
        self,
        picture: Picture | Image | str | Path | bytes,
        text: str,
        question: str | None = None,
        earlier: WoodpeckerReport | None = None,
        start: Step = "sentences",
    ) -> WoodpeckerReport:
        """The report on a text about a picture. question: what the text answers.

        earlier: a report whose stages before `start` are taken as they are. Raises SensoriumError when the picture does
        not open, the text is empty, too long or not English, or `earlier` is about something else.
        """
        picture = picture if isinstance(picture, Picture) else Picture(picture)
        picture.check()
        check_language(text)
        before = _before(start, earlier, picture, text, question)
        run = _Run(self, picture, Meter(self.budget))
        stages, notes = earlier.stages if earlier and before else Stages(), run.notes
        sentences = stages.sentences if "sentences" in before else run.resolve(text)
        if "concepts" not in before:
            sentences = tuple(run.concepts(sentence) for sentence in sentences)
        seen = stages.seen if "detections" in before else look(self, picture, sentences, run.meter, notes)
        if "questions" not in before:
            sentences = tuple(run.questions(sentence, seen) for sentence in sentences)
        answers = stages.answers if "answers" in before else run.answers(sentences, seen)
        told = stages.told if "claims" in before else claims_of(seen, answers)
        correction = run.refine(told, question, text)
        done = Stages(sentences=sentences, seen=seen, answers=answers, told=told, correction=correction)
        unique = tuple(dict.fromkeys(notes))
        return report_of(picture, text, question, done, self.detector.name, unique, run.meter.cost())


@dataclass
class _Run:
    """The calls about one text, and what went wrong with them."""

    protocol: Woodpecker
    picture: Picture
    meter: Meter
    notes: list[str] = field(default_factory=list)
    is_dead: bool = False

    def resolve(self, text: str) -> tuple[Sentence, ...]:
        """The sentences with things in the place of pronouns; as they are where that cannot be had."""
        passage = self._ask("pronouns", prompts.resolve(text), lambda reply: read_passage(reply, text)) or text
        return tuple(Sentence(text=s.text.strip()) for s in read(passage).sents if s.text.strip())

    def concepts(self, sentence: Sentence) -> Sentence:
        entities = self._ask("things", prompts.concepts(sentence.text), read_entities)
        return sentence.model_copy(update={"entities": entities})

    def questions(self, sentence: Sentence, seen: Sequence[Seen]) -> Sentence:
        """With its questions: about things that were found, since of others there is nothing to ask."""
        there = {one.name for one in seen if one.boxes}
        entities = tuple(name for name in sentence.entities or () if name in there)
        if not entities:
            return sentence.model_copy(update={"questions": ()})
        asked = self._ask("questions", prompts.questions(sentence.text, entities),
                          lambda reply: read_questions(reply, entities))  # fmt: skip
        return sentence.model_copy(update={"questions": asked})

    def answers(self, sentences: Sequence[Sentence], seen: Sequence[Seen]) -> tuple[Asked, ...]:
        """Each question answered: about one thing from each of its boxes, about several or a place from the whole."""
        boxes = {one.name: one.boxes for one in seen}
        asked: list[tuple[Asked, Image]] = []
        for question in dict.fromkeys(q for sentence in sentences for q in sentence.questions or ()):
            is_whole = len(question.entities) > 1 or "where" in question.text.lower().split()
            if is_whole:
                asked.append((question, self.picture.image))
            for number, box in enumerate(() if is_whole else boxes.get(question.entities[0], ()), start=1):
                asked.append((question.model_copy(update={"instance": number}), crop(self.picture, box)))
        found: list[Asked] = []
        for question, shown in asked:
            found.append(question.model_copy(update={"answer": self._answer(question.text, shown)}))
        return tuple(found)

    def refine(self, told: Told, question: str | None, text: str) -> str | None:
        """The corrected passage; without any claim there is nothing to correct it by."""
        if not (told.counting or told.specific or told.overall):
            return None
        request = prompts.refine(told, question, text)
        return self._ask("correction", request, lambda reply: read_passage(reply, text), temperature=0.1, most=4096)

    def _answer(self, question: str, shown: Image) -> str | None:
        if not self.meter.allows():
            self.notes.append("the budget was spent before all questions were answered")
            return None
        self.meter.count("vqa")
        short = f"{question} Answer in a few words."
        try:
            reply = self.protocol.vqa.answer([Conversation((user(shown, short),))], Sampling(max_new_tokens=24))[0]
        except SensoriumError as error:
            self.notes.append(f"questions could not be answered ({error.what.rstrip('.')})")
            return None
        return " ".join(reply.text.split()).rstrip(".") or None

    def _ask(
        self, what: str, request: str, read_reply: Callable[[str], Read], temperature: float = 0.2, most: int = 1024
    ) -> Read | None:
        """What the language model says, once it keeps to the form; None where it does not, or cannot be asked."""
        for attempt in range(self.protocol.tries):
            if self.is_dead:
                return None
            if not self.meter.allows():
                self.notes.append(f"the budget was spent before the {what}")
                return None
            self.meter.count("llm")
            sampling = Sampling(max_new_tokens=most, temperature=temperature, seed=attempt)
            asked = Conversation((system(prompts.ROLE), user(request)))
            try:
                reply = self.protocol.llm.answer([asked], sampling)[0]
            except SensoriumError as error:
                self.is_dead = True
                self.notes.append(f"the language model could not be asked ({error.what.rstrip('.')})")
                return None
            try:
                if reply.finish == "stop":
                    return read_reply(reply.text)
            except ValueError:
                continue
        self.notes.append(f"the language model's {what} could not be read in {self.protocol.tries} tries")
        return None


def _before(
    start: Step, earlier: WoodpeckerReport | None, picture: Picture, text: str, question: str | None
) -> tuple[Step, ...]:
    """The stages that are taken from an earlier report. Raises SensoriumError when it is about something else."""
    if start not in WOODPECKER_STAGES:
        raise SensoriumError("start", f"`{start}` is no stage.", did_you_mean(start, WOODPECKER_STAGES))
    if earlier is None:
        return ()
    for what, ours, theirs in (("text", text, earlier.text), ("question", question, earlier.question),
                               ("picture", picture.digest, earlier.picture)):  # fmt: skip
        if ours != theirs:
            raise SensoriumError(f"report: {what}", "is another than the one to correct.", "Correct it from the start.")
    return WOODPECKER_STAGES[: WOODPECKER_STAGES.index(start)]
