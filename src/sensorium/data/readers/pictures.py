"""Facts gathered picture by picture: what the readers of COCO, VQA, RefCOCO and Visual Genome share.

Such datasets are a table of pictures and tables of annotations that point at them. What is wrong with an annotation is
kept with its picture and said when the picture is asked for, so that one bad line costs one sample and not the dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sensorium.data.readers import fields
from sensorium.data.readers.base import Annotated, Question, Region, Sample, picture, pixel_box
from sensorium.errors import SensoriumError

Corners = tuple[float, float, float, float]


@dataclass(slots=True)  # there may be a million
class Facts:
    """Of one picture. boxes: (name, pixel corners, is a class); faults: what was wrong with annotations left out."""

    name: str
    size: tuple[int, int] = (0, 0)
    captions: list[str] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    boxes: list[tuple[str, Corners, bool]] = field(default_factory=list)
    crowds: list[str] = field(default_factory=list)
    faults: list[SensoriumError] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.captions or self.questions or self.boxes or self.faults)


class Gathering:
    """Facts while they are gathered. orphans: what is wrong with rows that belong to no picture."""

    def __init__(self) -> None:
        self.facts: dict[Hashable, Facts] = {}
        self.orphans: list[SensoriumError] = []

    def add_image(self, image: Any, where: str) -> None:
        """A row of COCO's `images`; one that is there already stays."""
        found = Facts(fields.words(image, "file_name", where), fields.size(image, where))
        self.facts.setdefault(fields.name(image, "id", where), found)

    def each(self, rows: Iterable[tuple[str, Any]], read: Callable[[Any, str], None]) -> None:
        """`read(row, where)` for every (where, row); what goes wrong with one is an orphan more and costs no other."""
        for where, row in rows:
            try:
                read(row, where)
            except SensoriumError as error:
                self.orphans.append(error)

    def of(self, row: Any, where: str, among: str) -> Facts:
        """The facts of the picture that `image_id` names. among: where it should be. Raises SensoriumError for none."""
        key = fields.name(row, "image_id", where)
        if key not in self.facts:
            raise SensoriumError(f"{where}: image_id", f"{key!r} is not {among}.")
        return self.facts[key]


def numbered(rows: Iterable[Any], place: object) -> Iterator[tuple[str, Any]]:
    """(where, row) for every row of a list."""
    return ((f"{place}[{i}]", row) for i, row in enumerate(rows))


@contextmanager
def noting(found: Facts) -> Iterator[None]:
    """What goes wrong inside is noted with the picture, which loses that annotation and stays."""
    try:
        yield
    except SensoriumError as error:
        found.faults.append(error)


class Pictures:
    """The pictures that have annotations, in the order of the file; then, as bad samples, annotations of no picture."""

    def __init__(self, path: Path, folder: Path, gathering: Gathering) -> None:
        self.path, self.folder, self.orphans = path, folder, gathering.orphans
        self.facts = {key: found for key, found in gathering.facts.items() if not found.is_empty}
        self._keys = list(self.facts)

    def __len__(self) -> int:
        return len(self._keys) + len(self.orphans)

    def __getitem__(self, number: int) -> Sample:
        number = range(len(self))[number]
        if number >= len(self._keys):
            raise self.orphans[number - len(self._keys)]
        key = self._keys[number]
        found, where = self.facts[key], f"{self.path} image {key}"
        regions, faults = [], list(found.faults)
        for i, (name, box, is_class) in enumerate(found.boxes):
            try:
                regions.append(Region(name, pixel_box(box, found.size, f"{where}: box {i + 1}"), is_class))
            except SensoriumError as error:
                faults.append(error)
        image = picture(found.name, self.folder, f"{where}: file name")
        content = Annotated(
            image, tuple(found.captions), tuple(found.questions), tuple(regions), tuple(found.crowds),
            size=found.size,
        )
        if content.is_empty:
            raise faults[0]
        return Sample(str(key), where, content, tuple(faults))
