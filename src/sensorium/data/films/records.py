"""What truly happens in a film: who is in it, when, and what is shown, said and asked. To JSON and back.

A film is its truth: `stage` draws from it what is on the screen at any time, `asking` and `choices` ask about it, and
nothing else is remembered. Times are in seconds from the start, places shares of the picture's width and height.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from sensorium.errors import SensoriumError

Span = tuple[float, float]
Kind = Literal["moves", "enters", "leaves", "jumps", "turns", "card", "shows"]
Source = Literal["seen", "said", "whole"]


@dataclass(frozen=True)
class Actor:
    """A thing in a film. name: the vocabulary's; drawing, style: where it came from; side: its long side, as a share of
    the picture's height; mirrored: drawn the other way round.

    path: (time, x, y) of its centre, straight lines between; before the first and after the last it stands still.
    seen: when it is there. colours: (from when, which); None is the drawing's own. jumps: when each begins.
    """

    name: str
    drawing: str
    style: str
    side: float
    mirrored: bool
    path: tuple[tuple[float, float, float], ...]
    seen: tuple[Span, ...]
    colours: tuple[tuple[float, str | None], ...] = ((0.0, None),)
    jumps: tuple[float, ...] = ()


@dataclass(frozen=True)
class Set:
    """Where a film plays for a while: a background, of which a window of share `zoom` wanders from one place to the
    other; places are shares of the room that the window has.
    """

    background: str
    span: Span
    zoom: float
    start: tuple[float, float]
    end: tuple[float, float]


@dataclass(frozen=True)
class Happening:
    """Something that happens once. name: who does it; of a card its word.

    detail: of moves the direction, of enters and leaves the side (left, right, up, down), of jumps how many, of turns
    the colours before and after.
    """

    kind: Kind
    span: Span
    name: str
    detail: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.name


@dataclass(frozen=True)
class Line:
    """What the narrator says. fact: (of what, what), where it tells something that no picture shows."""

    span: Span
    text: str
    fact: tuple[str, str] | None = None


@dataclass(frozen=True)
class Film:
    """A video and the truth about it.

    video, subtitles: relative to the split's folder while a builder holds them, absolute once a `Dataset` has read it.
    minutes: 0 of a clip, else how long it was meant to be.
    """

    id: str
    video: str
    width: int
    height: int
    fps: int
    duration_s: float
    minutes: int
    sets: tuple[Set, ...]
    actors: tuple[Actor, ...]
    happenings: tuple[Happening, ...]
    lines: tuple[Line, ...] = ()
    subtitles: str | None = None

    def of(self, kind: Kind) -> tuple[Happening, ...]:
        return tuple(one for one in self.happenings if one.kind == kind)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all that is ever there, each once."""
        return tuple(dict.fromkeys(actor.name for actor in self.actors))

    @property
    def whole(self) -> Span:
        return (0.0, self.duration_s)

    def to_json(self) -> dict[str, Any]:
        return _FILM.dump_python(self, mode="json")


@dataclass(frozen=True)
class FilmQuestion:
    """Multiple choice about a film. options: four, without letters; answer: A to D.

    spans: its certificate, the stretches that one must see (or hear) to know the answer. source: whether these are
    moments that are seen, words that are said, or the film as a whole. task_type: as Video-MME calls it.
    """

    id: str
    film: str
    kind: str
    task_type: str
    source: Source
    question: str
    options: tuple[str, ...]
    answer: Literal["A", "B", "C", "D"]
    spans: tuple[Span, ...]
    where: str = field(default="question", compare=False)

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in _QUESTION.dump_python(self, mode="json").items() if key != "where"}


_FILM = TypeAdapter(Film)
_QUESTION = TypeAdapter(FilmQuestion)
_CERTIFICATES = TypeAdapter(list[tuple[Span, ...]])


def film_from_json(row: Mapping[str, Any], where: str, folder: Path | None = None) -> Film:
    """A row of `films.jsonl`. Raises SensoriumError naming the field at fault."""
    if folder is not None:
        places = {key: str(folder / row[key]) for key in ("video", "subtitles") if isinstance(row.get(key), str)}
        row = {**row, **places}
    return _read(_FILM, row, where)


def question_from_json(row: Mapping[str, Any], where: str) -> FilmQuestion:
    """A row of `questions.jsonl`. Raises SensoriumError naming the field at fault."""
    question: FilmQuestion = _read(_QUESTION, {**row, "where": where}, where)
    if len(question.options) != 4 or len(set(question.options)) != 4:
        raise SensoriumError(f"{where}: options", "are not four different ones.", "Build the dataset again.")
    return question


def certificates_from_json(row: Mapping[str, Any], where: str) -> list[tuple[Span, ...]]:
    """The `spans` of a row of `conversations.jsonl`, those of one question after the other. Raises SensoriumError."""
    found: list[tuple[Span, ...]] = _read(_CERTIFICATES, row.get("spans", []), f"{where}: spans")
    return found


def _read(kind: TypeAdapter[Any], row: Any, where: str) -> Any:
    try:
        return kind.validate_python(row)
    except ValidationError as error:
        first = error.errors()[0]
        place = ": ".join([where, ".".join(map(str, first["loc"]))] if first["loc"] else [where])
        raise SensoriumError(place, f"{first['msg']}.", "Build the dataset again.") from error
