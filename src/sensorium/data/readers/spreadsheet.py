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
_Row = tuple[int, dict[str, str]]  # its line, values by heading


class Spreadsheet:
    """The samples of one file, and last, as bad ones, its lines that are no rows.

    It is read whole, since such files are written by hand.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder = path, folder
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                lines = file.readlines()
        except (OSError, UnicodeDecodeError) as error:
            remedy = "It is CSV in UTF-8 with a heading line."
            raise SensoriumError(path, f"cannot be read ({error}).", remedy) from error
        heading, rows, self.bad = _rows(lines, path, "\t" if path.suffix == ".tsv" else ",")
        headings = {name.strip().lower(): name for name in heading if name}
        self.columns = {
            kind: headings[found]
            for kind, names in _HEADINGS.items()
            if (found := next((name for name in names if name in headings), None))
        }
        has_half = ("question" in self.columns) != ("answer" in self.columns)
        if "image" not in self.columns or len(self.columns) < 2 or has_half:
            raise SensoriumError(path, f"has the columns {', '.join(headings) or 'of nothing'}.",
                                 "It needs `image`, and `caption`, `question` with `answer`, or `label`.")
        named = [(number, {kind: row[name].strip() for kind, name in self.columns.items()})
                 for number, row in rows]
        self.groups = [list(group) for _, group in groupby(named, key=lambda pair: pair[1]["image"])]

    def __len__(self) -> int:
        return len(self.groups) + len(self.bad)

    def __getitem__(self, number: int) -> Sample:
        number = range(len(self))[number]
        if number >= len(self.groups):
            raise self.bad[number - len(self.groups)]
        group = self.groups[number]
        first, row = group[0]
        where = f"{self.path} line {first}"
        questions, faults = [], []
        for line, values in group:
            try:
                questions += _question(values, f"{self.path} line {line}")
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


def _rows(lines: list[str], path: Path, delimiter: str) -> tuple[list[str], list[_Row], list[SensoriumError]]:
    """The headings, the rows with their lines, and what is wrong with lines that are none.

    A quote that nothing closes would swallow the lines after it. Where what comes out is no row, the line that it
    stands in is left out and the next one is a row of its own again.
    """
    rows: list[_Row] = []
    bad: list[SensoriumError] = []
    headings: list[str] = []
    at = 0
    while at < len(lines):
        reader = csv.reader((lines[i] for i in range(at, len(lines))), delimiter=delimiter, strict=True)
        where, n_lines = f"{path} line {at + 1}", 1
        try:
            values = next(reader)
            if headings and values:
                rows.append((at + 1, _row(values, headings, where)))
            headings = headings or values
            n_lines = reader.line_num
        except csv.Error as error:
            if not headings:
                raise SensoriumError(path, f"has no heading line ({error}).", "It is CSV in UTF-8.") from error
            what = f"its quotes do not fit ({error})." if '"' in lines[at] else f"is no row ({error})."
            bad.append(SensoriumError(where, what, 'Write a quote inside quotes twice: "".'))
        except SensoriumError as error:
            bad.append(error)
        at += n_lines
    return headings, rows, bad


def _row(values: list[str], headings: list[str], where: str) -> dict[str, str]:
    """Values by their headings; blank ones beyond the last are what spreadsheets write.

    Raises SensoriumError where there are more than headings, or fewer.
    """
    n, most = len(values), len(headings)
    if n < most:
        raise SensoriumError(f"{where}: {headings[n]}", f"is missing: the row has {n} fields, the heading {most}.")
    if surplus := next((value for value in values[most:] if value.strip()), None):
        what = f"{surplus!r} has no column: the row has {n} fields, the heading {most}."
        raise SensoriumError(f"{where}: after {headings[-1]}", what, "Put words that hold the separator in quotes.")
    return dict(zip(headings, values[:most], strict=True))


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
