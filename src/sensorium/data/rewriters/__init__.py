"""Facts about a picture -> a conversation that teaches them: the instruct stage's rewriting of tasks into chat.

A picture with ten questions becomes one conversation of ten turns, so that it is encoded once; a picture with boxes
becomes questions in both directions. Which wordings and which turns depend on a seed, the sample's name and the pass
over the data alone: any worker rewrites any sample alike, and what one pass left out another may ask.

A task is a function of TASKS; an installed distribution adds one by an entry point of the group `sensorium.rewriters`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from sensorium.conversation import Conversation, Message, Text
from sensorium.data.readers.base import Annotated, Sample
from sensorium.data.rewriters.tasks import TASKS, Task, Turn
from sensorium.data.scenes.phrases import Phrases
from sensorium.errors import SensoriumError, did_you_mean
from sensorium.registry import callable_, with_added

__all__ = ["TASKS", "RewriteSettings", "Rewriter"]
PHRASES = Path(__file__).with_name("phrases.yaml")


@cache
def all_tasks() -> dict[str, Task]:
    """Our tasks and those that installed distributions add."""
    return with_added("sensorium.rewriters", TASKS, callable_)


class RewriteSettings(BaseModel):
    """tasks: which are asked, by default all of ours that the picture offers; added ones must be named. most_turns: of
    a conversation, chosen by lot.

    The lot goes over tasks first and turns then, so that a picture with fifty boxes still gets its caption.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[str, ...] = tuple(TASKS)
    most_turns: int = Field(default=10, ge=1)

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        for task in tasks:
            if task not in TASKS and task not in all_tasks():
                raise ValueError(f"there is no task `{task}`. {did_you_mean(task, all_tasks())}")
        return tasks


class Rewriter:
    """Makes the conversation of a sample; one that is a conversation already stays as it is."""

    def __init__(self, settings: RewriteSettings | None = None, seed: int = 0) -> None:
        self.settings, self.seed = settings or RewriteSettings(), seed
        self.phrases = Phrases.load(PHRASES)
        known = TASKS if TASKS.keys() >= set(self.settings.tasks) else all_tasks()
        self.tasks = [known[task] for task in self.settings.tasks]

    def __call__(self, sample: Sample, number: int = 0) -> Conversation:
        """number: of the pass. Raises SensoriumError where the annotations offer none of the tasks."""
        facts = sample.content
        if isinstance(facts, Conversation):
            return facts
        digest = hashlib.sha256(f"{self.seed} {number} {sample.id}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8]))
        turns = self._turns(facts, rng)
        if not turns:
            raise SensoriumError(sample.where, f"offers none of the tasks {', '.join(self.settings.tasks)}.")
        return _spoken(facts, turns)

    def _turns(self, facts: Annotated, rng: np.random.Generator) -> list[Turn]:
        of_task = [task(facts, rng, self.phrases) for task in self.tasks]
        waiting = [[(i, j) for j in rng.permutation(len(turns)).tolist()] for i, turns in enumerate(of_task) if turns]
        chosen: list[tuple[int, int]] = []
        while waiting and len(chosen) < self.settings.most_turns:
            task = waiting[int(rng.integers(len(waiting)))]
            chosen.append(task.pop())
            waiting = [task for task in waiting if task]
        return [of_task[i][j] for i, j in sorted(chosen)]


def _spoken(facts: Annotated, turns: Sequence[Turn]) -> Conversation:
    """The picture and hints where they are first needed: what was said once holds for the rest of the talk."""
    messages: list[Message] = []
    hint = ""
    for turn in turns:
        asked = f"{turn.question}\n{turn.hint}" if turn.hint and turn.hint != hint else turn.question
        hint = turn.hint
        shown = () if messages else (facts.image,)
        messages.append(Message("user", (*shown, Text(asked))))
        messages.append(Message("assistant", (Text(turn.answer),)))
    return Conversation(tuple(messages))
