"""Questions about pictures as VQAv2, OK-VQA, TextVQA and GQA publish them; one sample a picture, all its questions.

VQAv2 and OK-VQA: a file of `questions` and one of `annotations`, joined by `question_id`. TextVQA: `data`, questions
and answers in one. GQA: an object of question id -> `{"imageId", "question", "answer"}`. Where ten people answered, the
answers are ordered by how many gave them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from sensorium.data.readers import fields
from sensorium.data.readers.base import Question, SourceSettings
from sensorium.data.readers.hub import local_path
from sensorium.data.readers.pictures import Facts, Gathering, Pictures, noting, numbered
from sensorium.data.readers.walk import JsonFile
from sensorium.errors import SensoriumError


class QuestionSettings(SourceSettings):
    """image_name: how a picture's file is called, with `{}` for its id."""

    image_name: str = "{}.jpg"

    def gathered(self, path: Path, rows: Iterable[tuple[str, Any]], key: str, read: _Read) -> Pictures:
        """rows: (where, row); key: of the picture's id in a row; read: a row's question."""
        gathering = Gathering()

        def ask(row: Any, where: str) -> None:
            shown = fields.name(row, key, where)
            found = gathering.facts.setdefault(shown, Facts(self._file_name(shown, where)))
            with noting(found):
                found.questions.append(read(row, where))

        gathering.each(rows, ask)
        return Pictures(path, self.folder(path), gathering)

    def _file_name(self, shown: int | str, where: str) -> str:
        try:
            return self.image_name.format(shown)
        except (ValueError, IndexError, KeyError) as error:
            raise SensoriumError(f"{where}: image_name", f"{self.image_name!r} does not fit {shown!r}.") from error


_Read = Callable[[Any, str], Question]


class VqaSettings(QuestionSettings):
    """format `vqa` (VQAv2, OK-VQA). path: the questions; annotations: the answers."""

    places = (*SourceSettings.places, "annotations")
    format: Literal["vqa"] = "vqa"
    annotations: str
    image_name: str = "COCO_train2014_{:012d}.jpg"

    def open(self) -> Pictures:
        path, answers = local_path(self.path), local_path(self.annotations)
        rows = (row for row in JsonFile(answers).items("annotations") if isinstance(row, dict))
        answered = {
            number: _voted(row, answers) for row in rows if isinstance(number := row.get("question_id"), int | str)
        }

        def read(row: Any, where: str) -> Question:
            number = fields.name(row, "question_id", where)
            if number not in answered:
                raise SensoriumError(f"{where}: question_id", f"{number} has no answer in {answers.name}.",
                                     "Are the two files of one split?")
            if isinstance(found := answered[number], SensoriumError):
                raise found
            return Question(fields.words(row, "question", where), found)

        return self.gathered(path, numbered(JsonFile(path).items("questions"), f"{path}: questions"), "image_id", read)


class TextVqaSettings(QuestionSettings):
    """format `textvqa`."""

    format: Literal["textvqa"] = "textvqa"

    def open(self) -> Pictures:
        path = local_path(self.path)

        def read(row: Any, where: str) -> Question:
            votes = [str(vote) for vote in fields.items(row, "answers", where)]
            return Question(fields.words(row, "question", where), _by_votes(votes, None, f"{where}: answers"))

        return self.gathered(path, numbered(JsonFile(path).items("data"), f"{path}: data"), "image_id", read)


class GqaSettings(QuestionSettings):
    """format `gqa`. full: the whole sentences (`fullAnswer`) instead of the short answers."""

    format: Literal["gqa"] = "gqa"
    full: bool = False

    def open(self) -> Pictures:
        path = local_path(self.path)
        key = "fullAnswer" if self.full else "answer"

        def read(row: Any, where: str) -> Question:
            return Question(fields.words(row, "question", where), (fields.words(row, key, where),))

        rows = ((f"{path}: {number}", row) for number, _, row in JsonFile(path).pairs())
        return self.gathered(path, rows, "imageId", read)


def _voted(row: dict[str, Any], path: Path) -> tuple[str, ...] | SensoriumError:
    """The answers of a row of annotations, or what is wrong with it, which is said when its question is met."""
    where = f"{path}: question_id {row.get('question_id')}"
    try:
        given = fields.items(row, "answers", where) if row.get("answers") else []
        votes = [fields.words(vote, "answer", where) for vote in given]
        return _by_votes(votes, row.get("multiple_choice_answer"), where)
    except SensoriumError as error:
        return error


def _by_votes(answers: list[str], first: Any, where: str) -> tuple[str, ...]:
    """Distinct answers, most frequent first, earlier ones first among equals; `first` before all if it is given."""
    counts = Counter(answer.strip() for answer in answers if answer.strip())
    if isinstance(first, str) and first.strip():
        counts[first.strip()] = len(answers) + 1
    if not counts:
        raise SensoriumError(where, "holds no answer.")
    return tuple(answer for answer, _ in counts.most_common())
