"""`sensorium score`: from files to JSON, and one error line for files that do not fit."""

from __future__ import annotations

import json

import pytest

from sensorium.evaluation.scorers import SCORERS, chair, mme


@pytest.fixture
def write(tmp_path):
    def one(name, content):
        path = tmp_path / str(len(list(tmp_path.iterdir()))) / name  # a folder each: names may repeat
        path.parent.mkdir()
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return one


def _mme(tmp_path):
    folder = tmp_path / "mme"
    folder.mkdir()
    for name in mme.PICTURES:
        (folder / f"{name}.txt").write_text("a.jpg\tIs it?\tYes\tYes\na.jpg\tIs it not?\tNo\tYes\n")
    return folder


def _video(reply):
    question = {"question_id": "1-1", "task_type": "OCR Problems", "options": ["A. x", "B. y"], "answer": "B"}
    return [{"video_id": "1", "duration": "short", "domain": "Knowledge", "sub_category": "Law",
             "questions": [{**question, "response": reply}]}]  # fmt: skip


def _words_and_numbers(name, tmp_path, write):
    """(words after `sensorium score`, numbers that must come out) for a small case of each benchmark."""
    question = {"question_id": 1, "image_id": 1, "question": "?", "image": "a", "text": "?", "label": "yes"}
    told = [{"question_id": 1, "question_type": "is", "answer_type": "other", "answers": [{"answer": "a"}] * 10}]
    caption = [{"image_id": 1, "caption": "a dog"}]
    heading = "level\tgroup_type\tgroup_structure\tsecond_head\tthird_head\tanswer\tprediction"
    group = "".join(f"1\trelevance\t\t\t\tA\t{reply}\n" for reply in "AABB")
    cases = {
        "mme": ([_mme(tmp_path)], {"perception": 500, "cognition": 200}),
        "videomme": ([write("v.json", _video("The answer is B"))], {"overall": 100, "answered": 1, "total": 1}),
        "videomme-2": (
            [write("v.tsv", f"{heading}\n{group}")],
            {"overall": 25, "relevance": 25},
        ),
        "vqav2": (
            ["--questions", write("q.json", {"questions": [question]}), "--annotations",
             write("an.json", {"annotations": told}), "--results", write("r.json", [{**question, "answer": "a"}])],
            {"overall": 100, "per_answer_type": {"other": 100}, "per_question_type": {"is": 100}},
        ),
        "pope": (
            ["--questions", write("q.jsonl", question), "--answers",
             write("a.jsonl", {"question": "?", "answer": "yes"})],
            {"accuracy": 1, "precision": 1, "recall": 1, "f1": 1, "yes_ratio": 1},
        ),
        "refcoco": (
            ["--answers", write("a.jsonl", {"answer": "(0,0),(999,999)", "gt_bbox": [0, 0, 9, 9], "hw": [9, 9]})],
            {"precision": 1, "unparsed": 0},
        ),
        "caption": (
            ["--annotations", write("c.json", {"annotations": caption}), "--results", write("r.json", caption)],
            {"cider": 0, "captions": 1, "missing": 0},
        ),
        "chair": (
            ["--results", write("r.json", caption), "--synonyms", write("s.txt", "dog\ncat"), "--captions",
             write("c.json", {"annotations": [{"image_id": 1, "caption": "a cat"}]})],
            {"chair_s": 100, "chair_i": 100, "recall": 0},
        ),
        "amber": (
            ["--responses", write("r.json", [{"id": 1, "response": "A cat."}]), "--annotations",
             write("an.json", [{"id": 1, "type": "generative", "truth": ["cat"], "hallu": []}]), "--relations",
             write("rel.json", {"cat": []}), "--safe-words", write("safe.txt", "")],
            {"generative": {"chair": 0, "cover": 99.9, "hal": 0.1, "cog": 0}},
        ),
        "chartqa": (
            ["--questions", write("q.json", [{"imgname": "a", "query": "?", "label": "5"}]), "--answers",
             write("a.jsonl", {"answer": "5.1"})],
            {"relaxed_accuracy": 100, "splits": {"q": 100}},
        ),
        "anls": (
            ["--questions", write("q.json", {"data": [{"questionId": 1, "answers": ["abc"]}]}), "--answers",
             write("a.json", [{"questionId": 1, "answer": "abc"}])],
            {"anls": 1},
        ),
        "mathvista": (
            ["--answers", write("a.json", {"1": {
                "question_type": "free_form", "answer_type": "integer", "answer": "7", "response": "7"}})],
            {"accuracy": 100, "correct": 1, "total": 1},
        ),
        "mcq": (["--answers", write("a.tsv", "index\tA\tB\tanswer\tprediction\n1\tx\ty\tB\tB\n")], {"overall": 1}),
    }  # fmt: skip
    return cases[name]


@pytest.mark.parametrize("name", SCORERS)
def test_each_benchmark_prints_its_numbers_as_one_json_object(sensorium, tmp_path, write, name):
    words, numbers = _words_and_numbers(name, tmp_path, write)
    outcome = sensorium("score", name, *words)
    assert outcome.code == 0, outcome.err
    printed = json.loads(outcome.out)
    assert {key: printed[key] for key in numbers} == numbers
    assert (printed["benchmark"], printed["variant"]) == (name, "official")
    assert set(printed["intervals"]) <= set(printed)
    assert outcome.out.count("\n") == 1


def test_a_variant_is_chosen_by_name_and_a_wrong_one_told_the_right_ones(sensorium, write):
    path = write("v.json", _video("it is b"))
    printed = json.loads(sensorium("score", "videomme", path, "--variant", "lmms-eval").out)
    assert (printed["overall"], printed["answered"]) == (0, 0)
    assert "Did you mean `vlmevalkit`?" in sensorium("score", "videomme", path, "--variant", "vlmeval").error


def test_files_that_do_not_fit_are_one_line_naming_file_and_line(sensorium, write, tmp_path):
    answers = write("a.jsonl", '{"answer": "yes"}\n{"answer": \n')
    questions = write("q.jsonl", '{"question_id": 1, "text": "?", "label": "yes"}\n')
    pope = sensorium("score", "pope", "--questions", questions, "--answers", answers)
    assert f"{answers} line 2: is not JSON" in pope.error
    assert "is no folder" in sensorium("score", "mme", tmp_path / "none").error
    assert "--instances" in sensorium("score", "chair", "--results", answers, "--synonyms", answers).error
    assert "do not pair" in sensorium("score", "chartqa", "--questions", questions, "--questions", questions,
                                      "--answers", answers).error  # fmt: skip


def test_the_help_lists_every_scorer(sensorium):
    listed = sensorium("score", "--help").out
    assert all(f"\n  {name} " in listed for name in SCORERS)
    assert all(hasattr(module, part) for module in SCORERS.values() for part in ("read", "score", "VARIANTS"))
    assert chair.VARIANTS == ("official",)


def test_scoring_loads_no_model_library(process, write):
    code = (
        "import sys; sys.argv = ['sensorium', 'score', 'videomme', sys.argv[1] if len(sys.argv) > 1 else 'none']\n"
        "from sensorium.cli.main import run\n"
        "try: run()\n"
        "except SystemExit: print(*[name for name in ('torch', 'transformers', 'scipy') if name in sys.modules])"
    )
    assert process(code=code).out.split() == []
