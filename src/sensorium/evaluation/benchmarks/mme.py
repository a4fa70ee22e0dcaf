"""MME: fourteen subtasks of yes and no, two questions a picture. MME's content may not be redistributed.

Official layout: a folder a subtask, in it pictures and a text of the same name beside each (or `images/` and
`questions_answers_YN/`), two lines of question, tab, Yes or No.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sensorium.conversation import Image
from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks.base import SHORT_ANSWER, Answer, Benchmark, Judged, Question, judge_yes_no
from sensorium.evaluation.benchmarks.cells import one_of, require_columns, words
from sensorium.evaluation.benchmarks.layouts import Data, MissingMedia
from sensorium.evaluation.scorers import mme
from sensorium.evaluation.scorers.outcome import Outcome
from sensorium.evaluation.scorers.yes_no import MME_RULES

_REQUEST = " Please answer yes or no."
_TEXTS = "questions_answers_YN"
_SUFFIXES = (".jpg", ".png", ".jpeg")


def read(data: Data, prompt: str) -> Iterator[Question]:
    return _official(data, prompt) if data.layout == "official" else _table(data, prompt)


def _table(data: Data, prompt: str) -> Iterator[Question]:
    table = data.table()
    require_columns(table, "question", "answer", "category")
    asked: dict[tuple[str, str], int] = {}
    for number in range(len(table)):
        row, where = table.row(number), table.where(number)
        task = one_of(words(row, where, "category"), list(mme.PICTURES), where, "category")
        picture = str(row["question_id"]) if row.get("question_id") is not None else table.picture_id(number)
        turn = asked.get((task, picture), 0)
        asked[task, picture] = turn + 1
        # One picture may be asked about twice over; its questions are pairs in their order.
        pair = f"{task}/{picture}" + (f"/{turn // 2 + 1}" if turn >= 2 else "")
        yield _question(task, pair, turn % 2, words(row, where, "question"), words(row, where, "answer"), prompt, where,
                        partial(table.images, number))  # fmt: skip


def _official(data: Data, prompt: str) -> Iterator[Question]:
    tasks = [task for task in mme.PICTURES if (data.path / task).is_dir()]
    if not tasks:
        raise SensoriumError(data.path, "holds no folder of a subtask (existence, count, …).", "Check --data.")
    for task in tasks:
        folder = data.path / task
        texts = folder / _TEXTS if (folder / _TEXTS).is_dir() else folder
        for path in sorted(texts.glob("*.txt")):
            for turn, (question, answer) in enumerate(_lines(path)):
                yield _question(task, f"{task}/{path.stem}", turn, question, answer, prompt, f"{path} line {turn + 1}",
                                partial(_picture, folder, path.stem))  # fmt: skip


def _lines(path: Path) -> list[tuple[str, str]]:
    try:
        lines = [line.rstrip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise SensoriumError(path, f"cannot be read ({error}).") from error
    rows = [(question, answer) for question, _, answer in (line.rpartition("\t") for line in lines if line)]
    if len(rows) != 2 or not all(question for question, _ in rows):
        raise SensoriumError(path, f"has {len(rows)} lines of question, tab, answer; each picture has two.")
    return rows


def _picture(folder: Path, stem: str) -> tuple[Image, ...]:
    for place in (folder / "images", folder):
        for suffix in _SUFFIXES:
            if (path := place / f"{stem}{suffix}").is_file():
                return (Image(str(path)),)
    raise MissingMedia(folder / stem, "this picture is not there.")


def asked(question: str, prompt: str) -> str:
    """The question as a protocol puts it."""
    return question.replace(_REQUEST, "") + SHORT_ANSWER if prompt == "lmms-eval" else question


def _question(
    task: str, pair: str, turn: int, question: str, answer: str, prompt: str, where: str, media: Any
) -> Question:
    truth = one_of(answer.strip().lower(), ("yes", "no"), where, "answer")
    about = {"answer": truth, "question": question}
    return Question(f"{pair}#{turn}", pair, task, asked(question, prompt), about, media, where)


def score(answers: Sequence[Answer], variant: str) -> Outcome:
    """Pictures of which one question has no answer are left out, and counted in the notes."""
    replies, lost = in_pairs(answers)
    outcome = mme.score(replies, variant)
    return Outcome("mme", variant, outcome.values, outcome.intervals, (*lost, *outcome.notes))


def in_pairs(answers: Sequence[Answer]) -> tuple[dict[str, list[mme.MmeReply]], tuple[str, ...]]:
    """subtask -> replies, the two about one picture side by side; and what must be noted of pictures left out.

    Raises SensoriumError when no picture has both.
    """
    pairs: dict[tuple[str, str], list[Answer]] = {}
    for answer in answers:
        pairs.setdefault((answer.task, answer.cluster), []).append(answer)
    whole = {key: pair for key, pair in pairs.items() if len(pair) == 2}
    replies: dict[str, list[mme.MmeReply]] = {}
    for (task, picture), pair in whole.items():
        replies.setdefault(task, []).extend(
            mme.MmeReply(picture, one.truth["question"], one.truth["answer"], one.reply) for one in pair
        )
    if not replies:
        raise SensoriumError("mme", "no picture has both of its questions answered.")
    lost = len(pairs) - len(whole)
    return replies, (f"{lost} pictures have one question without its twin and are left out",) if lost else ()


def judge(answers: Sequence[Answer], variant: str) -> list[Judged]:
    return judge_yes_no(answers, MME_RULES[variant])


MME = Benchmark("mme", "MME", ("official", "vlmevalkit", "lmms-eval"), mme.VARIANTS, 16, read, score, judge)
