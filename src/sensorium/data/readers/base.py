"""What every reader of a dataset gives: numbered samples, found at once, opened when asked for.

A *source* is one dataset on disk. It knows how many samples it has without opening a picture, and hands out any of
them by number, so that shuffling, mixing and resuming are arithmetic on numbers and nothing else. A sample holds a
`Conversation`, or, where the dataset holds facts about a picture rather than words to learn, an `Annotated` picture
that `sensorium.data.rewriters` turns into one.

Each format is one file with a settings class, which is also what a recipe writes, and an `open` that makes the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sensorium.conversation import Conversation, Image
from sensorium.data.readers.hub import local_path
from sensorium.errors import SensoriumError
from sensorium.grounding import Box


@dataclass(frozen=True)
class Question:
    """A question with its accepted answers, best first; choices where one of them is to be picked."""

    text: str
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Region:
    """What a box shows, in words: a class name or a phrase. is_class: whether other regions may share the name."""

    name: str
    box: Box
    is_class: bool = True


@dataclass(frozen=True)
class Annotated:
    """A picture and what people wrote down about it; any of it may be missing.

    crowds: classes of which there are more than `regions` shows. words: text that can be read in the picture, line by
    line. label: the class of the whole picture. size: (width, height) in pixels that its boxes were drawn in, (0, 0)
    where nobody says.
    """

    image: Image
    captions: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    regions: tuple[Region, ...] = ()
    crowds: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    label: str | None = None
    size: tuple[int, int] = (0, 0)

    @property
    def is_empty(self) -> bool:
        return not (self.captions or self.questions or self.regions or self.words or self.label)


@dataclass(frozen=True)
class Sample:
    """One row of a dataset. where: file and row, for messages; faults: what was wrong with annotations left out."""

    id: str
    where: str
    content: Conversation | Annotated
    faults: tuple[SensoriumError, ...] = ()


class Source(Protocol):
    """The samples of one dataset, by number. Asking for a damaged one raises SensoriumError naming file, row, field.

    A source may have a `fingerprint` of what it holds, where that cannot be told from its files on this machine, and
    `runs`: how many samples are fetched together, run by run, where fetching them is dear.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Sample: ...


class SourceSettings(BaseModel):
    """What a recipe says about any source: its format, and where it lies.

    path: of the annotations, local or `hf://datasets/owner/name@revision/file`. images: the folder that pictures' names
    are relative to; the annotations' own folder when not given. name: in reports; the path's last part when not given.
    How much of it a mixture takes: `samples`, so many; or `epochs`, so many passes; or else its share of what is left
    by `weight` (its number of samples when not given).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    places: ClassVar[tuple[str, ...]] = ("path", "images")  # the settings that name files

    path: str
    images: str | None = None
    name: str = ""
    weight: float | None = Field(default=None, gt=0)
    samples: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_measure(self) -> SourceSettings:
        given = [key for key in ("weight", "samples", "epochs") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} say the same thing twice: give one of them")
        return self

    def open(self) -> Source:
        """The source. Raises SensoriumError when its files are not there or cannot be read at all."""
        raise NotImplementedError

    def shows_films(self) -> bool:
        """Whether its conversations hold videos, of whose frames nothing is kept from one pass to the next."""
        return False

    def folder(self, path: Path) -> Path:
        """Where pictures lie: `images`, or beside the annotations at `path`."""
        return local_path(self.images) if self.images else path.parent

    @property
    def title(self) -> str:
        """What the source is called in reports."""
        return self.name or self.path.rstrip("/").rpartition("/")[2]


def picture(name: object, folder: Path, where: str) -> Image:
    """The picture that a row names, by a path below `folder`.

    Raises SensoriumError for a name that is none, an absolute one, or one that climbs out: a dataset from elsewhere
    must not make us read whatever lies on this machine. That the file is there is found out when it is opened.
    """
    if not isinstance(name, str) or not name:
        raise SensoriumError(where, f"expected a picture's file name, found {name!r}.")
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts or "\0" in name:
        raise SensoriumError(where, f"{name!r} points out of the folder of pictures.",
                             "Name pictures relative to `images`.")
    return Image(str(folder / relative))


def pixel_box(corners: tuple[float, float, float, float], size: tuple[int, int], where: str) -> Box:
    """A box from pixel corners. Raises SensoriumError for one that is empty or lies outside the picture.

    A hundredth of a side beyond the edge is annotators' haste; more is a box of another picture or another size.
    """
    (x1, y1, x2, y2), (width, height) = corners, size
    if width < 1 or height < 1:
        raise SensoriumError(where, f"the picture's size is {width} x {height}; boxes need it.")
    if not (x1 < x2 and y1 < y2):
        raise SensoriumError(where, f"box {corners} is empty.")
    across, down = 1 + width / 100, 1 + height / 100
    if x1 < -across or y1 < -down or x2 > width + across or y2 > height + down:
        raise SensoriumError(where, f"box {corners} lies outside the picture of {width} x {height}.")
    return Box.from_pixels(max(x1, 0), max(y1, 0), min(x2, width) - 0.01, min(y2, height) - 0.01, width, height)
