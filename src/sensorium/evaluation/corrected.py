"""A finished run with its replies corrected: a run of its own, scored and compared like any other.

A bare yes or no is made a sentence first, as Woodpecker's authors did for POPE and MME, so that there is something to
correct; the corrected sentence is the new reply.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from sensorium.conversation import Image
from sensorium.correction.answers import whole_sentence
from sensorium.correction.records import Report
from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks import BENCHMARKS, Answer, Data, Question
from sensorium.evaluation.run_folder import RunFolder, read_run

REPORTS = "reports.jsonl"


class Corrects(Protocol):
    """`correction.Corrector`, or `correction.woodpecker.Woodpecker`."""

    def correct(self, picture: Image, text: str, question: str | None = None) -> Report: ...


def correct_run(
    run: Path, data: Data, corrector: Corrects, name: str, out: Path,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Answer]:  # fmt: skip
    """The corrected answers of a run, in a run folder at `out`; goes on where it was stopped.

    data: what the run asked about, for its pictures. name: what the corrector is, for the header. Replies that cannot
    be corrected (in another language, empty) stay as they are. Raises SensoriumError when the data is another.
    """
    header, answers = read_run(run)
    benchmark = BENCHMARKS[header["benchmark"]]
    if data.sha256 != header["data"]:
        raise SensoriumError(data.path, f"is not the data that {run} asked about.", "Name the same --data.")
    questions = {question.id: question for question in benchmark.read(data, header["prompt"])}
    identity = {key: header[key] for key in ("benchmark", "prompt", "data", "split", "engine", "sampling")}
    folder = RunFolder(out, identity | {"engine": f"{identity['engine']}, corrected by {name}"})
    for number, answer in enumerate(answers, start=1):
        if (answer.id, answer.repeat) not in folder.known:
            text, report = _corrected(questions[answer.id], answer, corrector)
            _note(out / REPORTS, answer, report)
            folder.add([replace(answer, reply=text)])
        if progress is not None:
            progress("correcting", number, len(answers))
    about = {**_about(header), "corrected": name}
    about["model"] = {**header["model"], "name": f"{header['model']['name']}, corrected by {name}"}
    return folder.finish([(answer.id, answer.repeat) for answer in answers], about)


def _corrected(question: Question, answer: Answer, corrector: Corrects) -> tuple[str, Report | None]:
    asked = question.text.partition("?")[0].strip() + "?" if "?" in question.text else question.text
    sentence = whole_sentence(asked, answer.reply)
    picture = question.media()[-1]
    assert isinstance(picture, Image)
    try:
        report = corrector.correct(picture, sentence, asked)
    except SensoriumError as error:
        if error.where not in ("text", "question"):
            raise
        return answer.reply, None
    return report.output, report


def _note(path: Path, answer: Answer, report: Report | None) -> None:
    """Why a reply is what it is; of a run that was stopped, its last one may stand here twice."""
    row = {"id": answer.id, "repeat": answer.repeat, "reply": answer.reply, "report": report and report.to_json()}
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        raise SensoriumError(path, f"cannot be written ({error.strerror}).", "Make room, and run it again.") from error


def _about(header: Mapping[str, Any]) -> dict[str, Any]:
    """What the header of the run says beside its identity."""
    kept = ("model", "limit", "data_about", "planned", "repeats", "unasked")
    return {key: header[key] for key in kept if key in header}
