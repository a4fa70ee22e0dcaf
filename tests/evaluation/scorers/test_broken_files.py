"""Result files cut off, edited and merged by hand: every one is scored, or is one error that names a file; for all
scorers alike.

Every value of a good file is replaced by things that do not belong there, every row is taken out, doubled, moved, and
the text itself is cut and spoilt.
"""

from __future__ import annotations

import copy
import json
import math
import random
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from sensorium.cli.score import app
from sensorium.errors import SensoriumError

YES_NO = [{"question_id": i, "image": "a.jpg", "text": f"Is there a {thing}?", "label": label}
          for i, (thing, label) in enumerate((("dog", "yes"), ("cat", "no"), ("cup", "yes")))]  # fmt: skip
VIDEO = {
    "video_id": "001", "duration": "short", "domain": "Knowledge", "sub_category": "Astronomy",
    "questions": [{"question_id": "001-1", "task_type": "Counting Problem", "question": "How many?",
                   "options": ["A. 1", "B. 2", "C. 3", "D. 4"], "answer": "B", "response": "B"}],
}  # fmt: skip
ANSWERS = [{"answer": word, "answer_confidence": "yes", "answer_id": i} for i, word in enumerate(("two", "2", "2"), 1)]
MATH = {
    "question": "How many?", "choices": None, "unit": None, "precision": 1.0, "answer": "2.5", "pid": "1",
    "question_type": "free_form", "answer_type": "float", "extraction": "2.5", "response": "It is 2.5",
    "metadata": {"source": "made", "task": "figure", "skills": ["arithmetic"], "context": "bar", "grade": "high",
                 "category": "general", "language": "english", "split": "testmini"},
}  # fmt: skip
TABLE = (
    "index\tquestion\tA\tB\tanswer\tcategory\tprediction\n"
    "1\tWhich?\tcat\tdog\tA\tx\tA\n2\tWho?\tbus\tcar\tB\ty\tcar\n"
)

# Of each scorer its command and its files; texts as they are, the others as JSON (lines where the name says so).
GOOD: dict[str, tuple[list[str], dict[str, Any]]] = {
    "mme": (["mme", "DIR", "--partial"], {
        "count.txt": "a.jpg\tIs it?\tYes\tYes\na.jpg\tIs it not?\tNo\tno\nb.jpg\tIs it?\tYes\tno\nb.jpg\tOr?\tNo\tno\n",
    }),
    "videomme": (["videomme", "v.json"], {"v.json": [VIDEO]}),
    "vqav2": (["vqav2", "--questions", "q.json", "--annotations", "a.json", "--results", "r.json"], {
        "q.json": {"questions": [{"question_id": 1, "image_id": 7, "question": "How many?"}]},
        "a.json": {"annotations": [{"question_id": 1, "image_id": 7, "question_type": "how", "answer_type": "number",
                                    "multiple_choice_answer": "2", "answers": ANSWERS}]},
        "r.json": [{"question_id": 1, "answer": "two"}],
    }),
    "pope": (["pope", "--questions", "q.jsonl", "--answers", "a.jsonl"], {
        "q.jsonl": YES_NO, "a.jsonl": [{"question": row["text"], "answer": "Yes."} for row in YES_NO],
    }),
    "refcoco": (["refcoco", "--answers", "a.jsonl"], {
        "a.jsonl": [{"image": "a.jpg", "bbox": [0, 0, 10, 10], "width": 20, "height": 20,
                     "answer": "(0,0),(499,499)"}] * 2,
    }),
    "caption": (["caption", "--annotations", "a.json", "--results", "r.json"], {
        "a.json": {"images": [{"id": 1}, {"id": 2}],
                   "annotations": [{"id": i, "image_id": i, "caption": "A dog runs on the grass."} for i in (1, 2)]},
        "r.json": [{"image_id": 1, "caption": "a dog runs"}, {"image_id": 2, "caption": "a cat"}],
    }),
    "chair": (["chair", "--results", "r.jsonl", "--synonyms", "s.txt", "--captions", "c.json"], {
        "r.jsonl": [{"image_id": 1, "caption": "a dog and a cat"}], "s.txt": "dog, puppy\ncat\n",
        "c.json": {"images": [{"id": 1}], "annotations": [{"id": 1, "image_id": 1, "caption": "a dog"}]},
    }),
    "amber": (["amber", "--responses", "r.json", "--annotations", "a.json", "--relations", "l.json", "--safe-words",
               "s.txt"], {
        "r.json": [{"id": 1, "response": "A dog."}, {"id": 2, "response": "Yes"}],
        "a.json": [{"id": 1, "type": "generative", "truth": ["dog"], "hallu": ["cat"]},
                   {"id": 2, "type": "discriminative-attribute-state", "truth": "yes"}],
        "l.json": {"dog": ["puppy"], "cat": []}, "s.txt": "sky\n",
    }),
    "chartqa": (["chartqa", "--questions", "q.json", "--answers", "a.jsonl"], {
        "q.json": [{"imgname": "a.png", "query": "How many?", "label": "4"}], "a.jsonl": [{"answer": "4.1"}],
    }),
    "anls": (["anls", "--questions", "q.json", "--answers", "a.json"], {
        "q.json": {"data": [{"questionId": 1, "question": "Who?", "answers": ["Ann", "ann b"]}]},
        "a.json": [{"questionId": 1, "answer": "Ann"}],
    }),
    "mathvista": (["mathvista", "--answers", "o.json"], {"o.json": {"1": MATH}}),
    "mcq": (["mcq", "--answers", "p.tsv"], {"p.tsv": TABLE}),
}  # fmt: skip

SAMPLED = 40  # of the ways to spoil the files of a scorer, in the quick test
WRONG_VALUES = (None, True, -1, 0, 1e308, math.nan, math.inf, 10**30, "", "\u0661", "x" * 300, [], {}, [[None]],
                {"a": []})  # fmt: skip
WRONG_TEXTS = ("", " ", "\n\n", "null", "[]", "{}", "3", '"x"', "[1]", "[[]]", "[" * 3000, "{\"a\": " * 3000, "\x00",
               "\ufeff", "<html>", "9" * 5000)  # fmt: skip


def _written(name: str, content: Any) -> str:
    if isinstance(content, str):
        return content
    if name.endswith(".jsonl"):
        return "".join(json.dumps(row) + "\n" for row in content)
    return json.dumps(content, indent=1)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _places(inner, (*path, key))


def _edited(content: Any, path: tuple[Any, ...], change: Any) -> Any:
    """A copy in which `change(container, key)` was done at the path."""
    made = copy.deepcopy(content)
    at = made
    for key in path[:-1]:
        at = at[key]
    change(at, path[-1])
    return made


def _spoilt(name: str, content: Any) -> Iterator[bytes]:
    text = _written(name, content)
    yield from (wrong.encode("utf-8", "surrogatepass") for wrong in WRONG_TEXTS)
    data = text.encode()
    yield from (data[: len(data) * k // 7] for k in range(1, 7))
    yield data[: len(data) // 2] + b"\xff\xfe" + data[len(data) // 2 :]
    yield text.replace("\n", "\r\n").encode()
    lines = text.splitlines(keepends=True)
    for i, line in enumerate(lines):
        for changed in ([], [line, line], [line.rstrip("\n") + "\t\n"], [line.replace("\t", " ")], [line[::-1]]):
            yield "".join([*lines[:i], *changed, *lines[i + 1 :]]).encode()
    if isinstance(content, str):
        return
    for path in _places(content):
        for wrong in WRONG_VALUES:
            changed = _edited(content, path, lambda at, key, wrong=wrong: at.__setitem__(key, wrong))
            yield _written(name, changed).encode()
        yield _written(name, _edited(content, path, lambda at, key: at.__delitem__(key))).encode()
        if isinstance(path[-1], int):
            yield _written(name, _edited(content, path, lambda at, key: at.append(copy.deepcopy(at[key])))).encode()


@pytest.fixture
def score(tmp_path):
    """score(command, files) -> what was printed; numpy's warnings are errors."""

    def run(command: list[str], files: dict[str, bytes]) -> dict[str, Any]:
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        words = [str(tmp_path) if word == "DIR" else str(tmp_path / word) if "." in word else word for word in command]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("name", GOOD)
def test_the_good_files_are_scored(name, score):
    command, files = GOOD[name]
    found = score(command, {file: _written(file, content).encode() for file, content in files.items()})
    assert found["benchmark"] == name and found["intervals"]


@pytest.fixture
def is_refused(score, tmp_path):
    """Whether a command refuses files of which one is spoilt; any error but one of ours fails the test."""

    def tried(command: list[str], files: dict[str, bytes], spoilt: str) -> bool:
        try:
            score(command, files)
        except SensoriumError as error:
            # Of sets that do not fit together either file may be named; of a problem in a folder, the folder.
            assert error.where.startswith(str(tmp_path)), (files[spoilt][:300], str(error))
            assert len(str(error)) < 1000, "a message is to be read"
            return True
        except Exception as error:
            raise AssertionError(f"{spoilt}: {files[spoilt][:600]!r}") from error
        return False

    return tried


def _cases(name: str) -> list[tuple[str, bytes]]:
    return [(file, data) for file, content in GOOD[name][1].items() for data in _spoilt(file, content)]


def _refused(name: str, cases: list[tuple[str, bytes]], is_refused: Any) -> int:
    command, files = GOOD[name]
    good = {file: _written(file, content).encode() for file, content in files.items()}
    return sum(is_refused(command, {**good, file: data}, file) for file, data in cases)


@pytest.mark.parametrize("name", GOOD)
def test_a_spoilt_file_is_scored_or_is_an_error_that_names_a_file(name, is_refused):
    cases = _cases(name)
    chosen = random.Random(0).sample(cases, min(SAMPLED, len(cases)))
    assert _refused(name, chosen, is_refused) > SAMPLED // 8


@pytest.mark.slow
@pytest.mark.parametrize("name", GOOD)
def test_every_way_to_spoil_a_file_ends_in_a_score_or_an_error_that_names_it(name, is_refused):
    assert _refused(name, _cases(name), is_refused) > SAMPLED // 2
