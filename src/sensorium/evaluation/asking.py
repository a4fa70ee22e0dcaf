"""Who answers the questions of a run, and what happens to a question that cannot be asked.

An asker takes jobs and gives each back with its replies. `Here` asks one engine in this process; `workers.RayWorkers`
asks several in others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sensorium.conversation import Conversation, Video, user
from sensorium.engine.base import Card, Engine, Reply, Sampling
from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks.base import Question
from sensorium.media.video import VideoLimits

TRIED = 3  # questions alone, before an engine that cannot even greet is given up


class EngineDied(SensoriumError):
    """The engine answers nothing any more."""


@dataclass(frozen=True)
class Refusal:
    """Why a question has no reply: a damaged picture, a prompt too long."""

    why: str


Said = Reply | Refusal


@dataclass
class Job:
    """Questions that are asked together. known: number of a question -> its reply from the cache; open_numbers and
    conversations: those to ask; keys: of the cache, one for each question; media: digests of what each shows."""

    questions: Sequence[Question]
    repeat: int
    sampling: Sampling
    keys: list[str] = field(default_factory=list)
    media: list[tuple[str, ...]] = field(default_factory=list)
    known: dict[int, Reply] = field(default_factory=dict)
    open_numbers: list[int] = field(default_factory=list)
    conversations: list[Conversation] = field(default_factory=list)


class Asker(Protocol):
    card: Card

    def times_s(self, video: Video) -> tuple[float, ...]:
        """Of the frames that the engine shows its model; looked up while jobs are made, and remembered for the answers.

        Raises SensoriumError when the video cannot be opened.
        """
        ...

    def ask(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, list[Said]]]:
        """Each job with what was said to its conversations, in any order of the jobs."""
        ...

    def close(self) -> None: ...


class Here:
    """One engine, in this process. limits: of the videos that it watches; None leaves it those it has."""

    def __init__(self, engine: Engine, limits: VideoLimits | None = None) -> None:
        self.engine, self.card = engine, engine.card
        if limits is not None:
            engine.watcher = engine.watcher.under(limits)

    def times_s(self, video: Video) -> tuple[float, ...]:
        return self.engine.watcher.watch(video).times_s

    def ask(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, list[Said]]]:
        for job in jobs:
            yield job, ask_together(self.engine, job.conversations, job.sampling)

    def close(self) -> None:
        pass


def ask_together(engine: Engine, conversations: Sequence[Conversation], sampling: Sampling) -> list[Said]:
    """Replies to all; where one of them cannot be asked, it alone is refused.

    Raises EngineDied when a plain greeting cannot be asked either, nor the first few of them alone: a server that is
    gone must not be waited for a thousand times.
    """
    if not conversations:
        return []
    try:
        return list(engine.answer(conversations, sampling))
    except SensoriumError as error:
        greeting = _alone(engine, Conversation((user("Hello"),)), Sampling(max_new_tokens=1))
        said: list[Said] = []
        for conversation in conversations:
            said.append(_alone(engine, conversation, sampling))
            is_last_try = len(said) == min(TRIED, len(conversations))
            if is_last_try and all(isinstance(one, Refusal) for one in [greeting, *said]):
                raise EngineDied(error.where, error.what, error.remedy) from error
        return said


def _alone(engine: Engine, conversation: Conversation, sampling: Sampling) -> Said:
    try:
        return engine.answer([conversation], sampling)[0]
    except SensoriumError as error:
        return Refusal(str(error))
