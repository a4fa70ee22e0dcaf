"""A dataset folder of ours as one source among others: composed scenes, or films, beside other people's pictures.

What `sensorium data build` makes needs no rewriting: its conversations are samples as they stand. Those of films hold
videos, which whoever trains on them turns into frames.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from sensorium.data.dataset import TASKS, ConversationRow, Dataset, Rows
from sensorium.data.readers.base import Sample, SourceSettings
from sensorium.data.readers.hub import local_path
from sensorium.errors import SensoriumError, did_you_mean


class OwnConversations:
    """The conversations of a split, those of some tasks only if any are named.

    Raises SensoriumError for a folder that is none of ours, a split that it does not have, or one without such
    conversations.
    """

    def __init__(self, dataset: Dataset, split: str, tasks: tuple[str, ...] | None) -> None:
        self.rows: Rows[ConversationRow] = dataset.conversations(split, tasks)
        if not self.rows:
            wanted = f" of {', '.join(tasks)}" if tasks else ""
            raise SensoriumError(self.rows.path, f"holds no conversation{wanted}.",
                                 "Build the dataset with some, or change the source's `tasks` or `split`.")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Sample:
        row = self.rows[number]
        return Sample(row.id, row.where, row.conversation())


class OwnSettings(SourceSettings):
    """format `sensorium`. path: the dataset folder; split: of it; tasks: of its conversations, all if left out.

    How much of each task: the folder named twice, with tasks and a weight each time.
    """

    format: Literal["sensorium"] = "sensorium"
    places: ClassVar[tuple[str, ...]] = ("path",)
    split: str = "train"
    tasks: tuple[str, ...] | None = Field(default=None, min_length=1)

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for task in tasks or ():
            if task not in TASKS:
                raise ValueError(f"there is no task `{task}`. {did_you_mean(task, TASKS)}")
        return tasks

    @model_validator(mode="after")
    def _pictures_in_it(self) -> OwnSettings:
        if self.images is not None:
            raise ValueError("`images` is for other formats: a dataset folder holds its own pictures and films")
        return self

    def open(self) -> OwnConversations:
        return OwnConversations(self._dataset(), self.split, self.tasks)

    def shows_films(self) -> bool:
        return self._dataset().has_films(self.split)

    def _dataset(self) -> Dataset:
        return Dataset(local_path(self.path))

    @property
    def title(self) -> str:
        return self.name or f"{super().title} {self.split}"
