"""Questions about pictures as VQAv2, OK-VQA, TextVQA and GQA publish them; one sample a picture, all its questions.

VQAv2 and OK-VQA: a file of `questions` and one of `annotations`, joined by `question_id`. TextVQA: `data`, questions
and answers in one. GQA: an object of question id -> `{"imageId", "question", "answer"}`. Where ten people answered, the
answers are ordered by how many gave them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sensorium.data.readers.base import Annotated, Question, Sample, SourceSettings, need, picture
from sensorium.data.readers.coco import read_json
from sensorium.data.readers.hub import local_path
from sensorium.errors import SensoriumError

Asked = tuple[Any, Question]  # the id of a picture, and what is asked about it


class Questions:
    """name: how a picture's file is called, with `{}` for its id (`COCO_train2014_{:012d}.jpg`)."""

    def __init__(self, path: Path, asked: Iterator[Asked], folder: Path, name: str) -> None:
        self.path, self.folder, self.name = path, folder, name
        self.of_picture: dict[Any, list[Question]] = {}
        for shown, question in asked:
            self.of_picture.setdefault(shown, []).append(question)
        self.ids = list(self.of_picture)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> Sample:
        shown = self.ids[number]
        where = f"{self.path} image {shown}"
        try:
            file_name = self.name.format(shown)
        except (ValueError, IndexError, KeyError) as error:
            raise SensoriumError(f"{where}: image_name", f"{self.name!r} does not fit the id {shown!r}.") from error
        image = picture(file_name, self.folder, where)
        return Sample(str(shown), where, Annotated(image, questions=tuple(self.of_picture[shown])))


class VqaSettings(SourceSettings):
    """format `vqa` (VQAv2, OK-VQA). path: the questions; annotations: the answers."""

    format: Literal["vqa"] = "vqa"
    annotations: str
    image_name: str = "COCO_train2014_{:012d}.jpg"

    def open(self) -> Questions:
        path, answers = local_path(self.path), local_path(self.annotations)
        folder = local_path(self.images) if self.images else path.parent
        return Questions(path, _vqa(path, answers), folder, self.image_name)


class TextVqaSettings(SourceSettings):
    """format `textvqa`."""

    format: Literal["textvqa"] = "textvqa"
    image_name: str = "{}.jpg"

    def open(self) -> Questions:
        path = local_path(self.path)
        return Questions(path, _textvqa(path), local_path(self.images) if self.images else path.parent, self.image_name)


class GqaSettings(SourceSettings):
    """format `gqa`. full: the whole sentences (`fullAnswer`) instead of the short answers."""

    format: Literal["gqa"] = "gqa"
    image_name: str = "{}.jpg"
    full: bool = False

    def open(self) -> Questions:
        path = local_path(self.path)
        folder = local_path(self.images) if self.images else path.parent
        return Questions(path, _gqa(path, "fullAnswer" if self.full else "answer"), folder, self.image_name)


def _vqa(path: Path, annotations: Path) -> Iterator[Asked]:
    answered = {row["question_id"]: row for row in _list(read_json(annotations), "annotations", annotations)}
    for i, row in enumerate(_list(read_json(path), "questions", path)):
        where = f"{path}: questions[{i}]"
        need(row, ["question_id", "image_id", "question"], where)
        found = answered.get(row["question_id"])
        if found is None:
            raise SensoriumError(f"{where}: question_id", f"{row['question_id']} has no answer in {annotations.name}.",
                                 "The two files are not of one split.")
        answers = [answer["answer"] for answer in found.get("answers", ())]
        yield row["image_id"], Question(row["question"], _by_votes(answers, found.get("multiple_choice_answer")))


def _textvqa(path: Path) -> Iterator[Asked]:
    for i, row in enumerate(_list(read_json(path), "data", path)):
        need(row, ["image_id", "question", "answers"], f"{path}: data[{i}]")
        yield row["image_id"], Question(row["question"], _by_votes(row["answers"]))


def _gqa(path: Path, key: str) -> Iterator[Asked]:
    content = read_json(path)
    if not isinstance(content, Mapping):
        raise SensoriumError(path, "is no GQA file: expected an object of questions by id.")
    for number, row in content.items():
        need(row, ["imageId", "question", key], f"{path}: {number}")
        yield row["imageId"], Question(row["question"], (row[key],))


def _by_votes(answers: Sequence[str], first: str | None = None) -> tuple[str, ...]:
    """Distinct answers, most frequent first, earlier ones first among equals; `first` before all if it is given."""
    counts = Counter(answer.strip() for answer in answers if answer.strip())
    if first:
        counts[first] = len(answers) + 1
    return tuple(answer for answer, _ in counts.most_common())


def _list(content: Any, key: str, path: Path) -> list[Any]:
    if not isinstance(content, Mapping) or not isinstance(content.get(key), list):
        raise SensoriumError(f"{path}: {key}", "is missing or no list.", "Check that the source's `format` is right.")
    found: list[Any] = content[key]
    return found
