"""The rows of the dataset format `sensorium-conversations-1`: scenes, conversations, probes, to JSON and back.

Builders write these types and `dataset` reads them. A row that is wrong is named by file, number and field, because a
hundred thousand rows cannot be searched by eye.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sensorium.conversation import Conversation
from sensorium.errors import SensoriumError, did_you_mean
from sensorium.grounding import Box

FORMAT = "sensorium-conversations-1"
TEST_SPLITS = ("test_seen", "test_objects", "test_style")
SPLITS = ("train", "val", *TEST_SPLITS)
# The basic colour terms (Berlin and Kay) with the spellings that MME uses; the order is that of indices into it.
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray")
TASKS = ("caption", "chat", "drill", "places", "several", "video", "text", "small", "reading")
# What a picture is: of things in ordinary size, of small things, with printed cards among things, or a printed page.
KINDS = ("plain", "small", "cards", "page")
QUESTION_SUBSETS = ("existence", "count", "position", "color")
PAIR_SUBSETS = (*QUESTION_SUBSETS, "small_existence", "small_count", "reading_find")  # asked twice: Yes, then No
BOX_SUBSETS = ("grounding", "reading_box")
SEVERAL_SUBSETS = (
    "several_both", "several_same", "several_which", "several_odd", "several_sum", "several_larger", "several_more",
    "several_order",
)  # fmt: skip
ANSWER_SUBSETS = ("reading_card", "reading_page", *SEVERAL_SUBSETS)  # a short answer each
SUBSETS = (
    *QUESTION_SUBSETS, "caption", "grounding", "small_existence", "small_count", "reading_card", "reading_page",
    "reading_find", "reading_box", *SEVERAL_SUBSETS,
)  # fmt: skip


@dataclass(frozen=True)
class SceneObject:
    """One thing in a picture: its vocabulary name, its box, its colour where that is clear, and where it came from."""

    name: str
    box: Box
    colour: str | None
    drawing: str
    style: str

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "box": list(self.box.corners),
            "colour": self.colour,
            "drawing": self.drawing,
            "style": self.style,
        }


@dataclass(frozen=True)
class PrintedWord:
    """A word as it is printed, and where its ink is."""

    text: str
    box: Box


@dataclass(frozen=True)
class Printed:
    """Words that belong together. carrier: card, sign or page; colour: of the carrier, where it has one.

    box: of the carrier (of a page: of the words); font: the face's name; pixels: its em; lines: words in reading order.
    """

    carrier: str
    colour: str | None
    box: Box
    font: str
    pixels: int
    lines: tuple[tuple[PrintedWord, ...], ...]

    @property
    def words(self) -> tuple[PrintedWord, ...]:
        return tuple(word for line in self.lines for word in line)

    def to_json(self) -> dict[str, Any]:
        lines = [[{"text": word.text, "box": list(word.box.corners)} for word in line] for line in self.lines]
        return {"carrier": self.carrier, "colour": self.colour, "box": list(self.box.corners), "font": self.font,
                "pixels": self.pixels, "lines": lines}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """A picture and the truth about it. kind: one of KINDS; printed: the words in it, for cards and pages.

    image: relative to the split's folder while a builder holds it, absolute once a `Dataset` has read it.
    """

    id: str
    image: str
    width: int
    height: int
    background: str
    objects: tuple[SceneObject, ...]
    kind: str = "plain"
    printed: tuple[Printed, ...] = ()

    def of(self, name: str) -> tuple[SceneObject, ...]:
        """The instances of one name."""
        return tuple(thing for thing in self.objects if thing.name == name)

    @property
    def counts(self) -> dict[str, int]:
        """Name -> how many, in the order in which the names first appear."""
        counts: dict[str, int] = {}
        for thing in self.objects:
            counts[thing.name] = counts.get(thing.name, 0) + 1
        return counts

    @property
    def words(self) -> tuple[PrintedWord, ...]:
        return tuple(word for block in self.printed for word in block.words)

    def to_json(self) -> dict[str, Any]:
        """Without `kind` and `printed` where there is nothing to say, as rows were before there were any."""
        row = {
            "id": self.id,
            "image": self.image,
            "width": self.width,
            "height": self.height,
            "background": self.background,
            "objects": [thing.to_json() for thing in self.objects],
        }
        if self.kind != "plain":
            row["kind"] = self.kind
        if self.printed:
            row["printed"] = [block.to_json() for block in self.printed]
        return row


@dataclass(frozen=True)
class ConversationRow:
    """A conversation as it stands in the file; `conversation()` parses it and makes its picture paths absolute."""

    id: str
    scene: str | None
    task: str
    messages: list[dict[str, Any]]
    folder: Path | None = field(default=None, compare=False)
    where: str = field(default="conversation", compare=False)

    def conversation(self) -> Conversation:
        """Raises SensoriumError naming file, row, message and part at fault."""
        parsed = Conversation.from_json(self.messages, self.where)
        folder = self.folder
        if folder is None:
            return parsed
        return Conversation(
            tuple(
                replace(message, parts=tuple(_in_folder(part, folder) for part in message.parts)) for message in parsed
            )
        )

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "scene": self.scene, "task": self.task, "messages": self.messages}


@dataclass(frozen=True)
class Probe:
    """One measurement on one picture, or on several.

    PAIR_SUBSETS: `questions`, two (question, answer) pairs, Yes first, as MME has them. caption: `objects`, the names
    that a caption should give. BOX_SUBSETS: `name`, which occurs once, and its `box`. ANSWER_SUBSETS: `questions`, each
    with its short answer. others: the pictures after the first, where the questions are about several.
    """

    id: str
    scene: str
    image: str
    subset: str
    questions: tuple[tuple[str, str], ...] = ()
    objects: tuple[str, ...] = ()
    name: str | None = None
    box: Box | None = None
    others: tuple[str, ...] = ()

    @property
    def images(self) -> tuple[str, ...]:
        """All pictures, in the order in which they are shown."""
        return self.image, *self.others

    def to_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {"id": self.id, "scene": self.scene, "image": self.image, "subset": self.subset}
        if self.subset == "caption":
            return {**row, "objects": list(self.objects)}
        if self.subset in BOX_SUBSETS:
            return {**row, "name": self.name, "box": list(self.box.corners) if self.box else None}
        if self.others:
            row["others"] = list(self.others)
        return {**row, "questions": [{"question": q, "answer": a} for q, a in self.questions]}


def scene_from_json(row: Mapping[str, Any], where: str, folder: Path | None = None) -> Scene:
    """A row of `scenes.jsonl`. Raises SensoriumError naming the field at fault."""
    objects = tuple(
        SceneObject(
            name=_field(item, "name", str, f"{where}: objects[{i}]"),
            box=_box(item, f"{where}: objects[{i}]"),
            colour=_field(item, "colour", (str, type(None)), f"{where}: objects[{i}]"),
            drawing=_field(item, "drawing", str, f"{where}: objects[{i}]"),
            style=_field(item, "style", str, f"{where}: objects[{i}]"),
        )
        for i, item in enumerate(_field(row, "objects", list, where))
    )
    return Scene(
        id=_field(row, "id", str, where),
        image=_image(row, where, folder),
        width=_field(row, "width", int, where),
        height=_field(row, "height", int, where),
        background=_field(row, "background", str, where),
        objects=objects,
        kind=_known_kind(row, where),
        printed=tuple(
            _printed(item, f"{where}: printed[{i}]")
            for i, item in enumerate(_field(row, "printed", list, where) if "printed" in row else ())
        ),
    )


def conversation_from_json(row: Mapping[str, Any], where: str, folder: Path | None = None) -> ConversationRow:
    """A row of `conversations.jsonl`; its messages are parsed later. Raises SensoriumError naming the field."""
    task = _field(row, "task", str, where)
    if task not in TASKS:
        raise SensoriumError(f"{where}: task", f"unknown task {task!r}.", did_you_mean(task, TASKS))
    return ConversationRow(
        id=_field(row, "id", str, where),
        scene=_field(row, "scene", (str, type(None)), where),
        task=task,
        messages=_field(row, "messages", list, where),
        folder=folder,
        where=where,
    )


def probe_from_json(row: Mapping[str, Any], where: str, folder: Path | None = None) -> Probe:
    """A row of `probes.jsonl`. Raises SensoriumError naming the field at fault."""
    subset = _field(row, "subset", str, where)
    if subset not in SUBSETS:
        raise SensoriumError(f"{where}: subset", f"unknown subset {subset!r}.", did_you_mean(subset, SUBSETS))
    probe = Probe(_field(row, "id", str, where), _field(row, "scene", str, where), _image(row, where, folder), subset)
    if subset == "caption":
        return replace(probe, objects=tuple(_field(row, "objects", list, where)))
    if subset in BOX_SUBSETS:
        return replace(probe, name=_field(row, "name", str, where), box=_box(row, where))
    questions = tuple(
        (
            _field(item, "question", str, f"{where}: questions[{i}]"),
            _field(item, "answer", str, f"{where}: questions[{i}]"),
        )
        for i, item in enumerate(_field(row, "questions", list, where))
    )
    if subset in PAIR_SUBSETS and tuple(answer for _, answer in questions) != ("Yes", "No"):
        raise SensoriumError(f"{where}: questions", "expected two, answered Yes and then No.")
    if not all(answer for _, answer in questions) or not questions:
        raise SensoriumError(f"{where}: questions", "expected at least one, each with an answer.")
    others = tuple(
        _image({"image": image}, f"{where}: others", folder)
        for image in (_field(row, "others", list, where) if "others" in row else ())
    )
    return replace(probe, questions=questions, others=others)


def _known_kind(row: Mapping[str, Any], where: str) -> str:
    kind: str = _field(row, "kind", str, where) if "kind" in row else "plain"
    if kind not in KINDS:
        raise SensoriumError(f"{where}: kind", f"unknown kind {kind!r}.", did_you_mean(kind, KINDS))
    return kind


def _printed(item: Any, where: str) -> Printed:
    return Printed(
        carrier=_field(item, "carrier", str, where),
        colour=_field(item, "colour", (str, type(None)), where),
        box=_box(item, where),
        font=_field(item, "font", str, where),
        pixels=_field(item, "pixels", int, where),
        lines=tuple(
            tuple(PrintedWord(_field(word, "text", str, where), _box(word, where)) for word in line)
            for line in _field(item, "lines", list, where)
        ),
    )


def _in_folder(part: Any, folder: Path) -> Any:
    """A medium with its relative path made absolute; anything else as it is."""
    source = getattr(part, "source", None)
    if not isinstance(source, str) or "://" in source or source.startswith("data:"):
        return part
    return replace(part, source=str(folder / source))


def _image(row: Mapping[str, Any], where: str, folder: Path | None) -> str:
    image: str = _field(row, "image", str, where)
    return image if folder is None else str(folder / image)


def _box(row: Any, where: str) -> Box:
    corners = _field(row, "box", list, where)
    if len(corners) != 4 or not all(type(v) is int for v in corners):
        raise SensoriumError(f"{where}: box", f"{corners} is not four integers.")
    try:
        return Box(*corners)
    except SensoriumError as error:
        raise SensoriumError(f"{where}: box", error.what) from error


def _field(row: Any, name: str, kind: type | tuple[type, ...], where: str) -> Any:
    if not isinstance(row, Mapping) or name not in row:
        raise SensoriumError(f"{where}: {name}", "is missing.", "Build the dataset again.")
    value = row[name]
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        expected = " or ".join("null" if k is type(None) else k.__name__ for k in kinds)
        raise SensoriumError(f"{where}: {name}", f"expected {expected}, found {type(value).__name__}.")
    return value
