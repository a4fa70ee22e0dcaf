"""What a stage draws: numbered samples of conversations, from a dataset folder or from a file of sources.

A sample is one conversation, or a few about one picture that share a row. Which conversation has which number is
settled when the samples are made, by a seed, so that everything after (packing, resuming, several processes) is
arithmetic on numbers. A sample is read when it is asked for, and one that cannot be read raises; nothing stands in for
it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol, overload

from sensorium.conversation import Conversation, Image
from sensorium.data.dataset import ConversationRow, Dataset
from sensorium.data.defects import reason_of
from sensorium.data.draw import passes
from sensorium.data.mixture import Mixture, shares
from sensorium.data.readers import SourceSettings
from sensorium.data.rewriters import PHRASES, Rewriter
from sensorium.data.sources import SourcesSettings
from sensorium.errors import SensoriumError
from sensorium.media import image_size
from sensorium.media.watching import Watcher

Drawn = tuple[str, int]  # a task and the number of one of its rows


@dataclass(frozen=True)
class Talk:
    """One conversation of a sample. id: for batches' messages; where: file and row it came from.

    faults: why parts of its annotations were left out.
    """

    id: str
    where: str
    conversation: Conversation
    faults: tuple[str, ...] = ()


class Samples(Protocol):
    """Numbered samples. titles: the sources they come from. max_bad: share of them that may be lost before it is an
    error. Picklable: a copy in another process reads the same.
    """

    @property
    def titles(self) -> Sequence[str]: ...
    @property
    def max_bad(self) -> float: ...
    def __len__(self) -> int: ...
    def __getitem__(self, number: int) -> list[Talk]: ...
    def source(self, number: int) -> int:
        """Which of the titles a sample comes from."""
        ...

    def fingerprint(self) -> str:
        """Of everything that decides what stands under each number."""
        ...


class SceneSamples:
    """Conversations of a dataset folder, each task its share.

    rows: the conversations of each task; tasks: their shares. conversations: how many are drawn; None: every row once.
    together: at most so many drawn conversations about one picture stand in one sample.
    Raises SensoriumError for a task without rows.
    """

    max_bad = 0.0  # the folder is our own build: a row that does not read is a broken build

    def __init__(
        self, rows: Mapping[str, Sequence[ConversationRow]], tasks: Mapping[str, float], conversations: int | None,
        seed: int, together: int = 1, title: str = "scenes",
    ) -> None:
        self.rows, self.titles = rows, (title,)
        drawn, scenes = _draw(rows, tasks, conversations, seed, together)
        self.groups = _together(drawn, scenes, together)

    @classmethod
    def of(
        cls, data: Dataset, split: str, tasks: Mapping[str, float], conversations: int | None, seed: int,
        together: int = 1,
    ) -> SceneSamples:
        """From a split of a dataset."""
        rows = {task: data.conversations(split, [task]) for task in tasks}
        return cls(rows, tasks, conversations, seed, together, f"{data.info.get('name', data.root.name)} {split}")

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, number: int) -> list[Talk]:
        rows = [self.rows[task][row] for task, row in self.groups[number]]
        return [Talk(row.id, row.where, _watched(row.conversation(), row.where)) for row in rows]

    def source(self, number: int) -> int:
        return 0

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for group in self.groups:
            digest.update(json.dumps([self.rows[task][row].messages for task, row in group]).encode())
        return digest.hexdigest()


class SourceSamples:
    """A mixture of sources, annotations rewritten into conversations, and films into their frames.

    samples: of the whole mixture; None where the sources say how much each gives, or all are taken once.
    tokens: mean tokens of a sample of each source, needed where the settings divide by shares of tokens.
    """

    def __init__(
        self, settings: SourcesSettings, samples: int | None, seed: int, tokens: Sequence[float] | None = None
    ) -> None:
        self._made_of = (settings, samples, seed, tokens)
        self.titles = _distinct([source.title for source in settings.sources])
        self.max_bad = settings.max_bad_rows
        self.sources = [source.open() for source in settings.sources]
        self.rewriter = Rewriter(settings.rewrite, seed)
        lengths = [len(source) for source in self.sources]
        counts = shares(settings.sources, lengths, samples, settings.temperature, tokens)
        self.mixture = Mixture.of(counts, lengths, seed, [getattr(source, "runs", None) for source in self.sources])

    def __len__(self) -> int:
        return len(self.mixture)

    def __getitem__(self, number: int) -> list[Talk]:
        source, row = self.mixture[number]
        sample = self.sources[source][row]
        conversation = _watched(self.rewriter(sample, int(self.mixture.lap[number])), sample.where)
        faults = tuple(reason_of(fault) for fault in sample.faults)
        return [Talk(f"{self.titles[source]}:{sample.id}", sample.where, conversation, faults)]

    def source(self, number: int) -> int:
        return int(self.mixture.source[number])

    def fingerprint(self) -> str:
        """Files count by size and time of change: to hash a terabyte would take longer than to train on it."""
        settings, samples, seed, tokens = self._made_of
        digest = hashlib.sha256(f"{settings.model_dump_json()} {samples} {seed} {tokens}".encode())
        for source in settings.sources:
            for file in row_files(source):
                found = file.stat() if file.exists() else None
                digest.update(f"{file} {found and (found.st_size, found.st_mtime_ns)}".encode())
        for opened in self.sources:
            digest.update(getattr(opened, "fingerprint", "").encode())
        digest.update(PHRASES.read_bytes())
        digest.update(self.mixture.source.tobytes() + self.mixture.row.tobytes())
        return digest.hexdigest()


class SamplePictures(Sequence[Image]):
    """Every picture that some samples show, each time it is shown; opened when asked for.

    Samples that cannot be read show none, and neither do those whose pictures are not there: see `measure`.
    """

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
        self._places = [(number, place) for number in range(len(samples)) for place in _readable(samples, number)]

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> list[Image]: ...
    def __getitem__(self, index: int | slice) -> Image | list[Image]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number, place = self._places[index]
        return _shown(self.samples[number])[place]


def _shown(talks: Sequence[Talk]) -> list[Image]:
    return [image for talk in talks for image in talk.conversation.images]


def _readable(samples: Samples, number: int) -> range:
    """The pictures of a sample, if all of them can be read."""
    try:
        images = _shown(samples[number])
        for image in images:
            image_size(image)
    except SensoriumError:
        return range(0)
    return range(len(images))


def row_files(source: SourceSettings) -> list[Path]:
    """The files on this machine that hold a source's rows: those it names, and tables and archives in its folders.

    Not its pictures: whether they are there is looked at when samples are measured.
    """
    places = [getattr(source, key, None) for key in source.places if key != "images"]
    local = [Path(place) for place in places if isinstance(place, str) and not place.startswith("hf://")]
    kinds = (".parquet", ".tar", ".json", ".jsonl", ".csv")
    return [
        file
        for place in local
        for file in (sorted(f for f in place.rglob("*") if f.suffix in kinds) if place.is_dir() else [place])
    ]


def _distinct(titles: Sequence[str]) -> tuple[str, ...]:
    """Two sources of one name are told apart by a number."""
    numbers = [titles[:i].count(title) + 1 for i, title in enumerate(titles)]
    return tuple(
        f"{title} #{number}" if titles.count(title) > 1 else title
        for title, number in zip(titles, numbers, strict=True)
    )


def _watched(conversation: Conversation, where: str) -> Conversation:
    """With its videos as pictures and times. Raises SensoriumError naming file, row and the video."""
    try:
        return _watcher().shown(conversation)
    except SensoriumError as error:
        raise SensoriumError(f"{where}: video ({error.where})", error.what, error.remedy) from error


@cache
def _watcher() -> Watcher:
    """Turns videos into pictures and times, as every engine does; one for the process, which remembers what it saw."""
    return Watcher()


def _draw(
    rows: Mapping[str, Sequence[ConversationRow]], tasks: Mapping[str, float], count: int | None, seed: int,
    together: int,
) -> tuple[list[Drawn], list[str | None]]:
    """`count` conversations, each task its share, and the picture of each.

    Alone, a task's rows come in whole shuffled passes. Where several are to stand together, the passes go over
    pictures, in the same order for every task, so that conversations about one picture are drawn at the same time.
    """
    whole = sum(tasks.values())
    drawn: list[Drawn] = []
    shown: list[str | None] = []
    for number, (task, share) in enumerate(sorted(tasks.items())):
        if not rows.get(task):
            raise SensoriumError(f"tasks.{task}", "the data has no conversation of this task.",
                                 "Build the data with it, or leave the task out.")
        of_task = len(rows[task]) if count is None else max(1, round(count * share / whole))
        if together == 1:
            chosen = passes(len(rows[task]), of_task, seed + number).tolist()
            scenes: list[str | None] = [None] * of_task
        else:
            pictures = [_opening_picture(row) for row in rows[task]]
            order = _by_picture(pictures, together - 1, seed)
            chosen = [order[i % len(order)] for i in range(of_task)]
            scenes = [pictures[row] for row in chosen]
        drawn += [(task, row) for row in chosen]
        shown += scenes
    return drawn, shown


def _opening_picture(row: ConversationRow) -> str | None:
    """The scene of a conversation that opens with its picture or film: words before it leave nothing to share."""
    content = next((m["content"] for m in row.messages if m["role"] == "user"), None)
    opens = isinstance(content, list) and bool(content) and content[0].get("type", "").startswith(("image", "video"))
    return row.scene if opens else None


def _by_picture(pictures: Sequence[str | None], at_once: int, seed: int) -> list[int]:
    """Row numbers in rounds over the shuffled pictures, `at_once` rows of each a round; rows without one are alone.

    A picture's place depends on its name and the seed only, so that it is the same for every task.
    """
    of_picture: dict[str, list[int]] = {}
    for row, picture in enumerate(pictures):
        of_picture.setdefault(picture if picture is not None else f"row {row}", []).append(row)
    places = {p: hashlib.sha256(f"{seed} {p}".encode()).digest() for p in of_picture}
    shuffled = sorted(of_picture, key=places.__getitem__)
    rounds = max(len(numbers) for numbers in of_picture.values())
    return [
        row
        for start in range(0, rounds, at_once)
        for picture in shuffled
        for row in of_picture[picture][start : start + at_once]
    ]


def _together(drawn: Sequence[Drawn], scenes: Sequence[str | None], most: int) -> list[list[Drawn]]:
    """Group what was drawn by picture, at most `most` different conversations a group; what has no picture is alone."""
    open_groups: dict[str, list[list[Drawn]]] = {}
    groups: list[list[Drawn]] = []
    for item, scene in zip(drawn, scenes, strict=True):
        fitting = open_groups.setdefault(scene, []) if scene is not None else []
        group = next((g for g in fitting if len(g) < most and item not in g), None)
        if group is None:
            group = []
            groups.append(group)
            fitting.append(group)
        group.append(item)
    return groups
