"""Families of scores are found in the names that the scorers give them."""

from __future__ import annotations

from sensorium.evaluation.benchmarks import BENCHMARKS, Answer
from sensorium.evaluation.probes.findings import Findings
from sensorium.evaluation.report_page.families import families_of
from sensorium.evaluation.results import Results, Score, headlines
from sensorium.evaluation.scorers import videomme


def results_of(scores):
    return Results(
        benchmark="pope", variant="official", prompt="official", model={}, data={}, sampling={}, limit=None, planned=0,
        answered=0, unasked={}, unread=0, cut_off=0, scores=scores, tasks=[], stability=None, values={}, notes=[],
        probes=Findings.model_construct(),
    )  # fmt: skip


def named(*names, high=1.0):
    return [Score(name=name, value=high / 2, low=0, high=high) for name in names]


def test_the_level_that_varies_makes_the_family():
    scores = named("perception", *(f"subtasks.{name}.score" for name in ("count", "color", "OCR")), high=150)
    left, (family,) = families_of(results_of(scores))
    assert [score.name for score in left] == ["perception"]
    assert (family.title, [bucket.name for bucket in family.buckets]) == ("subtasks score", ["count", "color", "OCR"])
    assert family.top == 200


def test_fewer_than_three_are_headlines_like_the_others():
    scores = named("by.duration.short", "by.duration.long", "f1")
    left, families = families_of(results_of(scores))
    assert left == scores and families == []


def test_video_mme_has_a_family_for_each_way_to_look_at_it():
    kinds = {"duration": "short", "domain": "Knowledge", "sub_category": "Geography"}
    tasks = ["OCR Problems", "Counting Problem", "Action Reasoning", "Object Recognition"]
    assert set(tasks) <= set(videomme.KNOWN["task_type"])
    answers = [
        Answer(f"q{i}", f"v{i}", "short", "?", {**kinds, "task_type": task, "answer": "A", "options": []}, "A")
        for i, task in enumerate(tasks)
    ]
    outcome = BENCHMARKS["videomme"].score(answers, "official")
    left, (family,) = families_of(results_of(list(headlines(outcome))))
    assert family.title == "task type" and {bucket.name for bucket in family.buckets} == set(tasks)
    assert family.top == 100 and all(bucket.value == 100 for bucket in family.buckets)
    assert "overall" in [score.name for score in left]
