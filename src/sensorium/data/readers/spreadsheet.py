"""A folder of pictures and a CSV (or TSV) about them, with a heading line.

Columns by their headings: `image` (or `file`, `filename`, `path`), and of `caption` (or `text`), `question` with
`answer`, `label` (or `class`), `words` (what can be read in the picture) what there is. Where there are columns `A`,
`B`, …, a question's choices stand in them, and its answer is the letter or the choice. Rows about one picture that
follow one another are one sample.
"""

from __future__ import annotations

import csv
from itertools import groupby
from pathlib import Path
from typing import Literal

from sensorium.data.readers.base import Annotated, Question, Sample, SourceSettings, picture
from sensorium.data.readers.hub import local_path
from sensorium.errors import SensoriumError

_HEADINGS = {
    "image": ("image", "file", "filename", "file_name", "path"),
    "caption": ("caption", "text"),
    "question": ("question",),
    "answer": ("answer",),
    "label": ("label", "class"),
    "words": ("words", "ocr"),
    **{letter: (letter,) for letter in "abcdefgh"},
}
_CHOICES = "abcdefgh"


class Spreadsheet:
    """The samples of one file; it is read whole, since such files are written by hand."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder = path, folder
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True))
        except (OSError, csv.Error, UnicodeDecodeError) as error:
            remedy = "It is CSV in UTF-8 with a heading line."
            raise SensoriumError(path, f"cannot be read ({error}).", remedy) from error
        headings = {name.strip().lower(): name for name in (rows[0] if rows else {}) if name}
        self.columns = {
            kind: headings[found]
            for kind, names in _HEADINGS.items()
            if (found := next((name for name in names if name in headings), None))
        }
        has_half = ("question" in self.columns) != ("answer" in self.columns)
        if "image" not in self.columns or len(self.columns) < 2 or has_half:
            raise SensoriumError(path, f"has the columns {', '.join(headings) or 'of nothing'}.",
                                 "It needs `image`, and `caption`, `question` with `answer`, or `label`.")
        named = [(number, {kind: (row[name] or "").strip() for kind, name in self.columns.items()})
                 for number, row in enumerate(rows, start=2)]  # the heading is line 1
        self.groups = [list(group) for _, group in groupby(named, key=lambda pair: pair[1]["image"])]

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, number: int) -> Sample:
        group = self.groups[number]
        first, row = group[0]
        where = f"{self.path} row {first}"
        questions, faults = [], []
        for line, values in group:
            try:
                questions += _question(values, f"{self.path} row {line}")
            except SensoriumError as error:
                faults.append(error)
        said = {kind: [v[kind] for _, v in group if v.get(kind)] for kind in ("caption", "label", "words")}
        content = Annotated(
            picture(row["image"], self.folder, f"{where}: {self.columns['image']}"),
            tuple(said["caption"]), tuple(questions), words=tuple(said["words"]), label=next(iter(said["label"]), None),
        )  # fmt: skip
        if content.is_empty:
            raise faults[0] if faults else SensoriumError(where, "says nothing: its other columns are empty.")
        return Sample(row["image"], where, content, tuple(faults))


def _question(row: dict[str, str], where: str) -> list[Question]:
    """The question of a row, if it asks one. Raises SensoriumError where its answer is missing or no choice."""
    if not row.get("question"):
        return []
    answer = row["answer"]
    if not answer:
        raise SensoriumError(f"{where}: answer", "is empty.")
    choices = {letter: row[letter] for letter in _CHOICES if row.get(letter)}
    if not choices:
        return [Question(row["question"], (answer,))]
    chosen = choices.get(answer.lower(), answer)
    if chosen not in choices.values():
        raise SensoriumError(f"{where}: answer", f"{answer!r} is neither a choice nor the letter of one.")
    return [Question(row["question"], (chosen,), tuple(choices.values()))]


class SpreadsheetSettings(SourceSettings):
    """format `csv`."""

    format: Literal["csv"] = "csv"

    def open(self) -> Spreadsheet:
        path = local_path(self.path)
        return Spreadsheet(path, self.folder(path))
