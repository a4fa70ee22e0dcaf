"""`sensorium train`: what it says at the end, and its exit codes; the loop itself is tested elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
