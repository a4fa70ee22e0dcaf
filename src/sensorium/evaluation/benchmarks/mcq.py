"""Multiple choice from a table with columns A, B, C, …: MMBench, MMStar and everything else of VLMEvalKit's form.

Where the table holds each question once for every rotation of its options, a question is right only if all rotations
are (circular evaluation); rotations are one cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from string import ascii_uppercase

from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks.base import Answer, Benchmark, Judged, Question
from sensorium.evaluation.benchmarks.cells import one_of, require_columns, words
from sensorium.evaluation.benchmarks.layouts import Data
from sensorium.evaluation.scorers import mcq
from sensorium.evaluation.scorers.outcome import Outcome

_LETTER_ALONE = "\nAnswer with the option's letter from the given choices directly."


def read(data: Data, prompt: str) -> Iterator[Question]:
    if data.layout == "official":
        raise SensoriumError(data.path, "holds no table.", "MMBench and its like are tables: FILE.tsv or FILE.parquet.")
    table = data.table()
    require_columns(table, "question", "answer", "A", "B")
    for number in range(len(table)):
        row, where = table.row(number), table.where(number)
        options = {letter: str(row[letter]) for letter in ascii_uppercase if row.get(letter) not in (None, "", "nan")}
        answer = one_of(words(row, where, "answer").strip(), list(options), where, "answer")
        index = words(row, where, "index", "id")
        if not index.isdecimal():
            raise SensoriumError(where, f"`index` is {index!r}, no integer.")
        groups = {key: str(row[key]) for key in mcq.GROUPS if row.get(key)}
        hint = str(row.get("hint") or "")
        yield Question(
            index, str(int(index) % mcq.ROTATION), groups.get("category", "all"),
            _text(words(row, where, "question"), options, "" if hint == "nan" else hint, prompt),
            {"index": int(index), "options": options, "answer": answer, "groups": groups},
            partial(table.images, number), where,
        )  # fmt: skip


def _text(question: str, options: dict[str, str], hint: str, prompt: str) -> str:
    lines = "".join(f"{letter}. {text}\n" for letter, text in options.items())
    if prompt == "lmms-eval":
        return (f"{hint}\n" if hint else "") + f"{question}\n{lines.rstrip()}{_LETTER_ALONE}"
    hinted = f"Hint: {hint}\n" if hint else ""
    return f"{hinted}Question: {question}\nOptions:\n{lines}Please select the correct answer from the options above. \n"


def _reply(one: Answer) -> mcq.ChoiceReply:
    truth = one.truth
    return mcq.ChoiceReply(truth["index"], truth["options"], truth["answer"], one.reply, truth["groups"])


def score(answers: Sequence[Answer], variant: str) -> Outcome:
    return mcq.score([_reply(one) for one in answers], variant)


def judge(answers: Sequence[Answer], variant: str) -> list[Judged]:
    """Each rotation by itself; that all of a question must be right is a matter of the score."""
    letters = [mcq.letter_of(_reply(one), variant) for one in answers]
    return [Judged(float(said == one.truth["answer"]), said) for one, said in zip(answers, letters, strict=True)]


MCQ = Benchmark("mcq", "Multiple choice", ("official", "lmms-eval"), mcq.VARIANTS, 64, read, score, judge)
