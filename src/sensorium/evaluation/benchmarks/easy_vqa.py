"""easy-vqa: questions about one coloured shape a picture (package `easy-vqa` of the package index, MIT).

`sensorium parts fetch easy-vqa` fetches it once and says where it lies; nothing of it is shipped. Layout:
`test/questions.json`, rows [question, answer, picture], and `test/images/PICTURE.png`. One of thirteen answers each; a
question's task is the kind of its answer.

variants: `official`, the reply is the answer, but for case, blanks and a final period; `named`, the answer is the only
one of the thirteen that the reply names, so that whole sentences count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial

from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks.base import SHORT_ANSWER, Answer, Benchmark, Judged, Question
from sensorium.evaluation.benchmarks.cells import one_of
from sensorium.evaluation.benchmarks.layouts import Data
from sensorium.evaluation.intervals import Clusters
from sensorium.evaluation.scorers.outcome import Outcome, known_variant
from sensorium.evaluation.scorers.rows import read_json

VARIANTS = ("official", "named")
ANSWERS = {
    **dict.fromkeys(("yes", "no"), "yes-no"),
    **dict.fromkeys(("circle", "rectangle", "triangle"), "shape"),
    **dict.fromkeys(("red", "green", "blue", "black", "gray", "teal", "brown", "yellow"), "color"),
}


def read(data: Data, prompt: str) -> Iterator[Question]:
    path = data.path if data.path.is_file() else data.path / (data.split or "test") / "questions.json"
    if not path.is_file():
        raise SensoriumError(path, "is not there.", "Fetch it: sensorium parts fetch easy-vqa")
    rows = read_json(path)
    for number, row in enumerate(rows if isinstance(rows, list) else ()):
        where = f"{path} row {number}"
        if not isinstance(row, list) or len(row) != 3:
            raise SensoriumError(where, "is not [question, answer, picture].")
        question, answer, picture = str(row[0]), str(row[1]), str(row[2])
        one_of(answer, list(ANSWERS), where, "answer")
        folder = path.parent.relative_to(data.path) if data.path.is_dir() else path.parent.relative_to(path.parent)
        yield Question(f"{path.parent.name}/{number}", picture, ANSWERS[answer],
                       question + (SHORT_ANSWER if prompt == "short" else ""), {"answer": answer},
                       partial(data.pictures, str(folder / "images" / f"{picture}.png")), where)  # fmt: skip


def said(reply: str, variant: str) -> str:
    """Which of the thirteen answers a reply gives, "" for none."""
    if known_variant(variant, VARIANTS) == "official":
        word = reply.strip().removesuffix(".").lower()
        return word if word in ANSWERS else ""
    named = {word for word in re.findall(r"[a-z]+", reply.lower().replace("grey", "gray")) if word in ANSWERS}
    if len(named) > 1:  # "Yes, there is a red circle" says yes
        named = named & {"yes", "no"}
    return named.pop() if len(named) == 1 else ""


def score(answers: Sequence[Answer], variant: str) -> Outcome:
    """`accuracy` 0-1, and `by` kind of answer."""
    whole, by = Clusters(), dict[str, Clusters]()
    for one, judged in zip(answers, judge(answers, variant), strict=True):
        whole.add(one.cluster, judged.worth, 1)
        by.setdefault(one.task, Clusters()).add(one.cluster, judged.worth, 1)
    return Outcome(
        "easy-vqa", variant,
        {"accuracy": whole.mean, "by": {task: some.mean for task, some in by.items()}, "questions": len(answers)},
        {"accuracy": whole.mean_interval(), "by": {task: some.mean_interval() for task, some in by.items()}},
    )  # fmt: skip


def judge(answers: Sequence[Answer], variant: str) -> list[Judged]:
    given = [said(one.reply, variant) for one in answers]
    # A colour where yes or no was asked for names more than it answers, and is wrong by itself.
    return [Judged(float(word == one.truth["answer"]), word) for one, word in zip(answers, given, strict=True)]


EASY_VQA = Benchmark("easy-vqa", "easy-VQA", ("short", "official"), VARIANTS, 16, read, score, judge)
