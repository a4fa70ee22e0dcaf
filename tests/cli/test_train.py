"""`sensorium train`: what it says at the end, and its exit codes; the loop itself is tested elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

RECIPES = Path(__file__).parent.parent.parent / "recipes"


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "scenes"
    folder.mkdir()
    info = {"format": "sensorium-conversations-1", "name": "scenes", "seed": 0, "splits": {}, "vocabulary": []}
    (folder / "dataset.json").write_text(json.dumps(info))
    return folder


def trained(monkeypatch, result):
    calls = []

    def train(recipe, run, say=None, tell=None):
        calls.append((recipe, run, say))
        return result

    monkeypatch.setattr("sensorium.training.loop.train", train)
    return calls


def test_a_finished_run_says_where_the_model_is(sensorium, monkeypatch, data, tmp_path):
    out = tmp_path / "run"
    calls = trained(monkeypatch, out / "model")
    outcome = sensorium("train", RECIPES / "default.yaml", "--out", out, "--data", data, "--plain")
    assert outcome.code == 0 and str(out / "model") in outcome.out
    [(recipe, run, say)] = calls
    assert (recipe.data, run) == (data, out) and say is not None


def test_an_interrupted_run_says_how_to_go_on(sensorium, monkeypatch, data, tmp_path):
    trained(monkeypatch, None)
    outcome = sensorium("train", RECIPES / "default.yaml", "--data", data, "--out", tmp_path / "run", "--json")
    assert outcome.code == 130
    assert f"sensorium train {RECIPES / 'default.yaml'} --out {tmp_path / 'run'} --data {data}" in outcome.err
    assert json.loads(outcome.out) == {"run": str(tmp_path / "run"), "finished": False, "model": None}


def test_the_command_prints_a_plan_and_makes_nothing(sensorium, tiny_recipe_tree, own_cache, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_recipe_tree))
    run = tmp_path / "run"
    outcome = sensorium("train", path, "--dry-run", "--out", run, "--set", "stages.1.samples=12")
    assert outcome.code == 0 and "align: 3 steps of a pack" in outcome.out and not run.exists()
    outcome = sensorium("train", path, "--dry-run", "--json")
    found = json.loads(outcome.out)
    assert [stage["name"] for stage in found["stages"]] == ["warm", "align", "instruct"]
    outcome = sensorium("train", path, "--dry-run", "--set", "stages.9.samples=12")
    assert outcome.code == 2 and "--set stages.9.samples=12: cannot be set there" in outcome.err


def test_the_plan_for_programs_says_what_will_be_dropped(sensorium, tiny_recipe_tree, own_cache, tmp_path):
    talks = [[{"role": "user", "content": "Say it."}, {"role": "assistant", "content": "it " * n}] for n in (2, 3, 900)]
    (tmp_path / "talks.jsonl").write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    (tmp_path / "sources.yaml").write_text("sources: [{format: messages, path: talks.jsonl}]\n")
    stage = tiny_recipe_tree["stages"][1] | {"batch": {"max_tokens": 256, "too_long": "drop"}}
    del stage["samples"]
    tree = tiny_recipe_tree | {"data": str(tmp_path / "sources.yaml"), "stages": [stage]}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tree))
    outcome = sensorium("train", tmp_path / "tiny.yaml", "--dry-run", "--json")
    [source] = json.loads(outcome.out)["stages"][0]["sources"]
    assert source["samples"] == 2 and list(source["dropped"].values()) == [1]


def test_data_that_is_not_there_is_said_before_anything_is_made(sensorium, tiny_recipe_tree, tmp_path):
    path: Path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_recipe_tree | {"data": str(tmp_path / "none.yaml")}))
    outcome = sensorium("train", path, "--dry-run")
    assert outcome.code == 2 and "none.yaml: cannot be read" in outcome.err


def test_workers_are_the_recipes_unless_the_command_names_them(sensorium, monkeypatch, data, tmp_path):
    calls = trained(monkeypatch, tmp_path / "model")
    for options in ((), ("--workers", "3"), ("--workers", "0")):
        outcome = sensorium("train", RECIPES / "default.yaml", "--data", data, "--set", "workers=1", *options)
        assert outcome.code == 0
    assert [recipe.workers for recipe, _, _ in calls] == [1, 3, 0]
    assert sensorium("train", RECIPES / "default.yaml", "--workers", "-1").code == 2


def test_where_relative_paths_begin_is_said(sensorium, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = sensorium("train", RECIPES / "default.yaml", "--data", "elsewhere", "--out", "run")
    assert outcome.code == 2 and f"relative to where you are, {tmp_path}" in " ".join(outcome.err.split())
    assert "relative to the folder that you are in" in " ".join(sensorium("train", "--help").out.split())


def test_of_several_processes_on_a_machine_the_first_says_what_is_wrong(sensorium, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    for local, said in (("1", ""), ("0", "nowhere.yaml")):  # the first of a second machine speaks for that machine
        monkeypatch.setenv("LOCAL_RANK", local)
        outcome = sensorium("train", tmp_path / "nowhere.yaml")
        assert outcome.code == 2 and said in outcome.err and bool(outcome.err) == bool(said)
