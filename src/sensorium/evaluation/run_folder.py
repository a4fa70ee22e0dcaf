"""The folder of a run: raw replies first, so that nothing that a model said is lost and everything can be scored again.

`journal.jsonl` grows by one line a batch while the run goes on: a kill, a crash or a full disk costs the batch in
flight, and a line that was cut off is dropped. `replies.jsonl` takes its place when all is answered: a header, then a
line an answer in the order of the data, whatever the order in which they came. Who answered, and on how many workers,
leaves no trace in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks.base import Answer
from sensorium.files import write_whole

FORMAT = "sensorium-run-1"
REPLIES, JOURNAL = "replies.jsonl", "journal.jsonl"

Key = tuple[str, int]  # question, repeat


class RunFolder:
    """identity: what the replies are replies to and whose; a folder of another one is refused rather than mixed."""

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self.identity = {"format": FORMAT, **identity}
        self.known: dict[Key, Answer] = {}
        if (path / REPLIES).is_file():
            header, answers = _read(path)
            self._check(path / REPLIES, header)
            self._keep(answers)
        self._open_journal()

    def add(self, answers: Sequence[Answer]) -> None:
        """Append a batch; it is on the disk when this returns. Raises SensoriumError when the disk refuses."""
        line = json.dumps({"answers": [answer.to_json() for answer in answers]}, ensure_ascii=False) + "\n"
        try:
            with (self.path / JOURNAL).open("ab") as file:
                file.write(line.encode("utf-8", "surrogatepass"))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            kept = f"{len(self.known)} replies are kept; make room and run the same command again."
            what = f"cannot be written ({error.strerror or error})."
            raise SensoriumError(self.path / JOURNAL, what, kept) from error
        self._keep(answers)

    def finish(self, order: Iterable[Key], about: Mapping[str, Any]) -> list[Answer]:
        """Write replies.jsonl and end the journal; returns the answers of `order` that there are, in that order.

        about: what the header says beside the identity. Answers outside of `order` (a larger --limit before) are kept
        behind the others.
        """
        wanted = [self.known[key] for key in order if key in self.known]
        chosen = {(answer.id, answer.repeat) for answer in wanted}
        others = [answer for key, answer in self.known.items() if key not in chosen]
        header = {**self.identity, **about, "answers": len(wanted), "others": len(others)}
        # Numbered, so that lines may be put in another order by whatever copies them.
        rows = [header, *({"number": i, **answer.to_json()} for i, answer in enumerate([*wanted, *others]))]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_whole(self.path / REPLIES, text.encode("utf-8", "surrogatepass"))
        (self.path / JOURNAL).unlink(missing_ok=True)
        return wanted

    def _open_journal(self) -> None:
        path = self.path / JOURNAL
        try:
            data = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise SensoriumError(path, f"cannot be read ({error.strerror or error}).") from error
        whole, _, torn = data.rpartition(b"\n")
        if not whole:
            write_whole(path, json.dumps(self.identity) + "\n")
            return
        if torn:
            write_whole(path, whole + b"\n")
        for number, line in enumerate(whole.split(b"\n"), start=1):
            row = _parsed(line, path, number)
            if number == 1:
                self._check(path, row)
            else:
                self._keep(_answer(one, f"{path} line {number}") for one in row.get("answers", ()))

    def _check(self, path: Path, header: Mapping[str, Any]) -> None:
        differing = [key for key, value in self.identity.items() if header.get(key) != value]
        if differing:
            told = (f"{key} was {_short(header.get(key))}, is {_short(self.identity[key])}" for key in differing)
            raise SensoriumError(path, f"holds replies of another run ({'; '.join(told)}).",
                                 "Choose another --out, or remove the folder.")

    def _keep(self, answers: Iterable[Answer]) -> None:
        self.known |= {(answer.id, answer.repeat): answer for answer in answers}


def read_run(path: Path) -> tuple[dict[str, Any], list[Answer]]:
    """The header and the answers of a finished run, those that its scores are of.

    Raises SensoriumError for a folder that is none or not finished, and naming the line that is damaged or there twice;
    also for lines that are missing.
    """
    header, answers = _read(path)
    return header, answers[: header["answers"]]


def read_header(path: Path) -> dict[str, Any]:
    """What a finished run is of, its answers left unread. Raises SensoriumError for a folder that is none."""
    file = path / REPLIES
    if not file.is_file():
        again = " again to finish it." if (path / JOURNAL).is_file() else "."
        remedy = f"Run `sensorium evaluate` with this --out{again}"
        raise SensoriumError(path, f"holds no {REPLIES}.", remedy)
    try:
        with file.open("rb") as lines:
            header = _parsed(lines.readline().rstrip(b"\n"), file, 1)
    except OSError as error:
        raise SensoriumError(file, f"cannot be read ({error.strerror or error}).") from error
    if header.get("format") != FORMAT:
        raise SensoriumError(file, f"is not a file of the format {FORMAT}.")
    return header


def _read(path: Path) -> tuple[dict[str, Any], list[Answer]]:
    """The header and all answers, those that the scores are not of behind the others."""
    header, file = read_header(path), path / REPLIES
    try:
        lines = file.read_bytes().rstrip(b"\n").split(b"\n")
    except OSError as error:
        raise SensoriumError(file, f"cannot be read ({error.strerror or error}).") from error
    answers: dict[int, Answer] = {}
    seen: dict[Key, int] = {}
    for number, line in enumerate(lines[1:], start=2):
        row = _parsed(line, file, number)
        place = row.pop("number", None)
        answer = _answer(row, f"{file} line {number}")
        first = seen.setdefault((answer.id, answer.repeat), number)
        if first != number:
            raise SensoriumError(f"{file} line {number}", f"{answer.id!r} was answered before, in line {first}.",
                                 "Keep one of them.")
        if not isinstance(place, int):
            raise SensoriumError(f"{file} line {number}", "is no answer (its `number` is missing).")
        answers[place] = answer
    expected = header.get("answers", 0) + header.get("others", 0)
    if len(answers) != expected:
        raise SensoriumError(file, f"holds {len(answers)} answers where its header says {expected}.",
                             "It was cut off or edited; run `sensorium evaluate` again, it asks only what is missing.")
    return header, [answers[place] for place in sorted(answers)]


def _parsed(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        remedy = "Remove the damaged line; `sensorium evaluate` asks again what is missing."
        raise SensoriumError(f"{path} line {number}", f"is not JSON ({error}).", remedy) from error
    if not isinstance(row, dict):
        raise SensoriumError(f"{path} line {number}", f"expected an object, found {type(row).__name__}.")
    return row


def _answer(row: Mapping[str, Any], where: str) -> Answer:
    try:
        return Answer(**{**row, "media": tuple(row.get("media", ()))})
    except (TypeError, AttributeError) as error:
        raise SensoriumError(where, f"is no answer ({error}).", "Was the file edited?") from error


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:60] + "…"
