"""Which questions are shown: those that teach the most, all tasks alike, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

from sensorium.evaluation.report_page.choosing import choose
from sensorium.evaluation.report_page.view import Answered, Runs, RunView, Sample


def view(verdicts, tasks=("one",)):
    """One question for each verdict, its task in turn; two questions a picture."""
    samples = {
        str(i): Sample(str(i), tasks[i % len(tasks)], f"picture {i // 2}", "?", (), (Answered("", "", 0, verdict),))
        for i, verdict in enumerate(verdicts)
    }
    return RunView(Path(), "m", "t", "", None, (), (), samples, {}, (), ())


def test_errors_come_before_what_is_right_and_stand_in_the_order_of_the_data():
    runs = Runs(view(["right", "wrong", "right", "unparsed", "right", "partly"]))
    assert choose(runs, 3) == ["1", "3", "5"]
    assert set(choose(runs, 4)) > {"1", "3", "5"}


def test_differences_of_two_runs_come_before_errors_of_both():
    runs = Runs(view(["wrong", "right", "wrong", "right"]), view(["wrong", "right", "right", "wrong"]))
    assert choose(runs, 2) == ["2", "3"]
    assert choose(runs, 3) == ["0", "2", "3"]


def test_no_task_takes_the_places_of_the_others():
    # Of nine errors six are of the first task; of six places each of three tasks has two.
    runs = Runs(view(["wrong"] * 12, tasks=("many", "many", "few", "rare")))
    chosen = choose(runs, 6)
    tasks = [runs.first.samples[name].task for name in chosen]
    assert {task: tasks.count(task) for task in tasks} == {"many": 2, "few": 2, "rare": 2}


def test_the_same_seed_chooses_the_same_and_another_one_others():
    runs = Runs(view(["wrong"] * 100))
    assert choose(runs, 10, "random", 1) == choose(runs, 10, "random", 1)
    assert choose(runs, 10, "random", 1) != choose(runs, 10, "random", 2)
    assert choose(runs, 10, "errors", 1) != choose(runs, 10, "errors", 2)


def test_random_does_not_look_at_verdicts():
    verdicts = ["right"] * 90 + ["wrong"] * 10
    assert choose(Runs(view(verdicts)), 20, "random", 3) == choose(Runs(view(["right"] * 100)), 20, "random", 3)


def test_all_are_all_however_few_were_asked_for():
    assert choose(Runs(view(["right", "wrong", "right"])), 1, "all") == ["0", "1", "2"]


def test_questions_about_one_picture_stand_together():
    one = view(["right"] * 4)
    mixed = {name: one.samples[name] for name in ("0", "2", "1", "3")}
    runs = Runs(RunView(Path(), "m", "t", "", None, (), (), mixed, {}, (), ()))
    assert choose(runs, 4) == ["0", "1", "2", "3"]
