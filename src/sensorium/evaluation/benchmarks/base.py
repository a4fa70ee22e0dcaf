"""What a benchmark is: how its questions are read, what is asked of a model, and how replies are scored and judged.

A benchmark is data: one `Benchmark` with functions in it, in a file of its own. Questions hold no pictures; they know
how to fetch theirs when they are asked. Answers hold all that scoring needs, so that a run is scored again years later
without its data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sensorium.conversation import Conversation, Image, Video, user
from sensorium.errors import SensoriumError, did_you_mean
from sensorium.evaluation.scorers.outcome import Outcome

if TYPE_CHECKING:
    from sensorium.evaluation.benchmarks.layouts import Data

TimesOf = Callable[[Video], Sequence[float]]  # of the frames that whoever is asked is shown of a video
SHORT_ANSWER = "\nAnswer the question using a single word or phrase."  # LLaVA-1.5's line, which all harnesses took over


@dataclass(frozen=True)
class Question:
    """One question. cluster: its picture or video, whose questions belong together; task: a part of the benchmark that
    is scored by itself; text: what is said after the media; truth: what scoring needs, as JSON; where: file and row;
    said: what a video's subtitles add before the text, found out when the question is asked; None where they are not
    told or there are none.

    media and said raise SensoriumError when a file is not there or cannot be opened.
    """

    id: str
    cluster: str
    task: str
    text: str
    truth: Mapping[str, Any]
    media: Callable[[], tuple[Image | Video, ...]] = field(repr=False, compare=False)
    where: str = field(default="", compare=False)
    said: Callable[[TimesOf], str] | None = field(default=None, repr=False, compare=False)

    def conversation(self, times_of: TimesOf) -> Conversation:
        """What is asked. times_of: of the engine that is asked, as subtitles are told for the frames that it sees."""
        said = "" if self.said is None else self.said(times_of)
        return Conversation((user(*self.media(), said + self.text),))


@dataclass(frozen=True)
class Answer:
    """A question's record with one reply. repeat: which of several samples; media: digests of what was shown; n_prompt:
    tokens of the prompt, visual ones too, 0 where nobody counted them."""

    id: str
    cluster: str
    task: str
    question: str
    truth: Mapping[str, Any]
    reply: str
    repeat: int = 0
    finish: str = "stop"
    n_tokens: int = 0
    media: tuple[str, ...] = ()
    n_prompt: int = 0

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "media": list(self.media)}


@dataclass(frozen=True)
class Judged:
    """One reply by the rules of a variant. worth: what it adds to the mean, 0-1 as a rule; said: how it was read, ""
    where the rules read nothing. is_binary: worth is right or wrong and nothing between."""

    worth: float
    said: str
    is_binary: bool = True


def judge_yes_no(answers: Sequence[Answer], label: Callable[[str], str]) -> list[Judged]:
    """label: a variant's rule from a reply to "yes", "no" or "other", which is not read and wrong."""
    labels = [label(answer.reply) for answer in answers]
    return [
        Judged(float(said == answer.truth["answer"]), "" if said == "other" else said)
        for answer, said in zip(answers, labels, strict=True)
    ]


@dataclass(frozen=True)
class Benchmark:
    """prompts: protocols of asking, the first is what is used if none is named; variants: of scoring, likewise.

    read: the questions of some data, asked as a protocol does. score: the official numbers. judge: each answer alone,
    in their order; its mean over a task's questions is what two runs are compared by. scored_by: prompt -> variant,
    where replies to a prompt can be read by no other.
    """

    name: str
    title: str
    prompts: tuple[str, ...]
    variants: tuple[str, ...]
    max_new_tokens: int
    read: Callable[[Data, str], Iterable[Question]]
    score: Callable[[Sequence[Answer], str], Outcome]
    judge: Callable[[Sequence[Answer], str], list[Judged]]
    modality: str = "image"
    scored_by: Mapping[str, str] = field(default_factory=dict)

    def known_prompt(self, name: str | None) -> str:
        """The protocol of asking. Raises SensoriumError for one that this benchmark does not have."""
        return _known(name, self.prompts, f"--prompt {name!r}")

    def known_variant(self, name: str | None, prompt: str) -> str:
        """The variant of scoring. Raises SensoriumError for one that this benchmark does not have."""
        return _known(name or self.scored_by.get(prompt), self.variants, f"--variant {name!r}")


def _known(name: str | None, names: tuple[str, ...], where: str) -> str:
    if name is None:
        return names[0]
    if name not in names:
        raise SensoriumError(where, "is not known here.", did_you_mean(name, names))
    return name
