"""Two runs compared: the same questions or an error, each task by itself, and what differs beside the model said."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from sensorium.cli.compare import compare as command
from sensorium.errors import SensoriumError
from sensorium.evaluation import ReplyFile, ScenesReply
from sensorium.evaluation.benchmarks import Answer
from sensorium.evaluation.compare import compare
from sensorium.evaluation.run_folder import RunFolder

ABOUT = {
    "model": {"name": "m", "provenance": {}}, "limit": None, "data_about": {"name": "d", "layout": "tsv"},
    "planned": 0, "repeats": 1, "unasked": {},
}  # fmt: skip


@pytest.fixture
def a_run(tmp_path):
    """A finished run of MME: `right` says of each question (task, picture, turn) whether its reply is."""

    def made(name, right, pictures=8, tasks=("count", "color"), prompt="official", truths=("yes", "no"), repeats=1):
        identity = {"benchmark": "mme", "prompt": prompt, "data": "d", "split": None, "engine": name, "sampling": {}}
        folder = RunFolder(tmp_path / name, identity)
        answers = []
        for task in tasks:
            for picture in range(pictures):
                for turn, truth in enumerate(truths):
                    for repeat in range(repeats):
                        reply = truth if right(task, picture, turn, repeat) else "hm"
                        key, cluster = f"{task}/{picture}#{turn}", f"{task}/{picture}"
                        asked = {"answer": truth, "question": "?"}
                        answers.append(Answer(key, cluster, task, "?", asked, reply, repeat))
        folder.add(answers)
        about = {**ABOUT, "model": {"name": name, "provenance": {}}, "repeats": repeats}
        folder.finish([(answer.id, answer.repeat) for answer in answers], about)
        return tmp_path / name

    return made


def always(*_):
    return True


def test_the_better_run_is_better_where_it_is_and_tied_elsewhere(a_run):
    first = a_run("first", lambda task, picture, turn, _: task == "color" or picture < 1)
    found = compare(first, a_run("second", always))
    rows = {row.task: row for row in found.tasks}
    count = rows["count"]
    assert (count.difference.first, count.difference.second) == (1 / 8, 1.0)
    assert (count.difference.mcnemar.only_first, count.difference.mcnemar.only_second) == (0, 14)
    # Seven pictures differ, all one way: 2 of 2^7 arrangements; times two tasks by Holm.
    assert count.difference.p == pytest.approx(2 / 2**7)
    assert count.p == pytest.approx(4 / 2**7)
    assert (count.verdict, rows["color"].verdict) == ("better", "tied")
    assert found.overall.difference.mean.value == pytest.approx(14 / 32)
    assert found.overall.verdict == "better" and found.overall.p == pytest.approx(2 / 2**7)
    assert compare(found.second.folder, found.first.folder).overall.verdict == "worse"


def test_equal_runs_are_tied(a_run):
    found = compare(a_run("a", lambda *key: hash(key[1:3]) % 2 == 0), a_run("b", lambda *key: hash(key[1:3]) % 2 == 0))
    assert found.overall.verdict == "tied" and found.overall.p == 1.0
    assert found.overall.difference.smallest == 0.0


def test_json_holds_what_a_program_needs(a_run):
    told = compare(a_run("a", lambda *key: key[1] % 2), a_run("b", always)).to_json()
    assert told["first"]["model"] == "a" and told["benchmark"] == "mme" and told["variant"] == "official"
    assert set(told["overall"]) == {
        "task", "questions", "clusters", "first", "second", "difference", "standard_error", "interval", "p_permutation",
        "p_adjusted", "mcnemar", "smallest_detectable", "verdict",
    }  # fmt: skip
    assert told["overall"]["questions"] == 32 and told["overall"]["clusters"] == 16


@pytest.mark.parametrize(("pictures", "said"), [(7, r"no answer to 4 of the 32 questions .*count/7#0"), (9, "count/8")])
def test_unequal_sets_of_questions_are_an_error_that_names_the_difference(a_run, pictures, said):
    with pytest.raises(SensoriumError, match=said):
        compare(a_run("a", always), a_run("b", always, pictures=pictures))


def test_the_same_ids_with_other_truths_are_other_data(a_run):
    with pytest.raises(SensoriumError, match=r"has another truth .* for 32 questions"):
        compare(a_run("a", always), a_run("b", always, truths=("no", "yes")))


def test_what_differs_beside_the_model_is_said(a_run):
    found = compare(a_run("a", always), a_run("b", always, prompt="lmms-eval"))
    assert found.notes == ("prompt: official and lmms-eval",)


def test_repeats_are_averaged_and_no_longer_right_or_wrong(a_run):
    first = a_run("a", lambda *key: key[3] == 0, repeats=2)
    found = compare(first, a_run("b", always))
    assert found.overall.difference.first == 0.5
    assert found.overall.difference.mcnemar is None
    assert found.notes == ("replies to each: 2 and 1",)


def test_runs_of_our_own_scenes_are_compared_alike(tmp_path):
    for name in ("a", "b"):
        for blind in (False, True):
            header = {"model": name, "data": "d", "split": "test_seen", "blind": blind}
            file = ReplyFile(tmp_path / name / f"replies-test_seen{'-blind' if blind else ''}.jsonl", header)
            for i in range(12):
                reply = ScenesReply(f"s{i}-count/0", f"s{i}", "count", "?", "Yes", "Yes")
                file.add([(reply, not blind and (name == "b" or i > 5))])
    found = compare(tmp_path / "a", tmp_path / "b")
    assert (found.overall.difference.first, found.overall.difference.second) == (0.5, 1.0)
    assert found.overall.p == pytest.approx(2 / 2**6) and found.overall.verdict == "better"


def test_a_folder_that_is_no_run_is_named(tmp_path, a_run):
    with pytest.raises(SensoriumError, match=r"holds no replies\.jsonl"):
        compare(a_run("a", always), tmp_path)


def test_official_scores_are_compared_beside_the_means(a_run):
    """MME's sum: the first run is wholly right about one picture of eight in one of two subtasks, the second always."""
    first = a_run("first", lambda task, picture, turn, _: task == "color" or picture < 1)
    found = compare(first, a_run("second", always))
    scores = {score.name: score for score in found.scores}
    assert (scores["perception"].first, scores["perception"].second) == (pytest.approx(200 + 25), 400)
    assert scores["perception"].verdict == "higher" and scores["subtasks.color.score"].verdict == "tied"
    assert scores["subtasks.count.acc_plus"].value == pytest.approx(7 / 8)
    assert {row["score"] for row in found.to_json()["scores"]} == set(scores)


def test_the_order_of_answers_on_the_disk_changes_no_score(a_run, tmp_path):
    first = a_run("a", lambda *key: key[1] % 2)
    second = a_run("b", lambda *key: key[1] % 3)
    here = compare(first, second).to_json()["scores"]
    lines = (second / "replies.jsonl").read_text().splitlines()
    turned = [json.loads(line) for line in lines[1:]][::-1]
    rows = [lines[0], *(json.dumps(row | {"number": i}) for i, row in enumerate(turned))]
    (second / "replies.jsonl").write_text("\n".join(rows) + "\n")
    assert compare(first, second).to_json()["scores"] == here


@pytest.fixture
def scenes_run(tmp_path):
    def made(name, is_right, subset="count"):
        header = {"model": name, "data": "d", "split": "test_seen", "blind": False}
        file = ReplyFile(tmp_path / name / "replies-test_seen.jsonl", header)
        for i in range(24):
            reply = ScenesReply(f"s{i // 2}-{subset}/{i % 2}", f"s{i // 2}", subset, "?", "Yes", "Yes")
            file.add([(reply, is_right(i))])
        return tmp_path / name

    return made


def test_scenes_are_compared_by_their_scores_of_200_too(scenes_run):
    found = compare(scenes_run("a", lambda i: i % 2 == 0), scenes_run("b", always))
    scores = {score.name: score for score in found.scores}
    score, plus = scores["test_seen count.score"], scores["test_seen count.accuracy+"]
    assert (score.first, score.second, plus.first, plus.second) == (50, 200, 0, 100)
    assert score.verdict == plus.verdict == "higher"


def test_runs_of_two_kinds_are_told_apart_whichever_comes_first(a_run, scenes_run):
    benchmark, scenes = a_run("a", always), scenes_run("s", always)
    with pytest.raises(SensoriumError, match=r"a: is a run of mme, .*s one of scenes\. Compare two runs of one"):
        compare(scenes, benchmark)
    with pytest.raises(SensoriumError, match=r"s: is a run of scenes, .*a one of mme\."):
        compare(benchmark, scenes)
    with pytest.raises(SensoriumError, match=r"'official'.*other benchmarks than"):
        compare(scenes, scenes, "official")


def test_the_command_shows_both_tables(a_run):
    first, second = a_run("a", lambda *key: key[1] % 2), a_run("b", always)
    app = typer.Typer()
    app.command()(command)
    shown = CliRunner().invoke(app, [str(first), str(second)], catch_exceptions=False).stdout
    assert "The scores of mme, by the rules of official" in shown
    assert "perception" in shown and "subtasks.color.acc_plus" in shown and "higher" in shown
