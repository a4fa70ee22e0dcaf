"""`sensorium evaluate --probe` from end to end with a tiny real model."""

from __future__ import annotations

import json

import jsonschema
import pytest
from typer.testing import CliRunner

from sensorium.cli.main import app
from sensorium.errors import SensoriumError
from sensorium.evaluation.results import Results
from sensorium.model.checkpoint import save_model


@pytest.fixture
def evaluate(tiny_model, tmp_path, own_cache, dataset):
    model = save_model(tiny_model, tmp_path / "model", ["vision"])

    def command(*words: object) -> str:
        base = ["evaluate", "scenes-mme", "--data", dataset.root, "--out", tmp_path / "out", "--model", model]
        result = CliRunner().invoke(app, [*map(str, base), *map(str, words)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return command


def test_probes_are_asked_kept_apart_and_scored_again_with_the_run(evaluate, tmp_path):
    shown = evaluate("--probe", "no-picture", "--probe", "grey", "--probe-base", "untrained", "--probe", "slots")
    assert "gain over no-picture" in shown and "leakage (grey)" in shown and "slot guessing" in shown
    out = tmp_path / "out"
    assert sorted(path.name for path in (out / "probes").iterdir()) == ["base", "grey", "no-picture", "slots"]
    written = json.loads((out / "results.json").read_text())
    jsonschema.validate(written, Results.model_json_schema())
    blind = written["probes"]["blind"]
    assert [one["probe"] for one in blind] == ["no-picture", "grey"]
    for one in blind:
        assert one["gain"] == pytest.approx(one["seeing"] - one["blind"])
        assert one["leakage"] == pytest.approx(max(0, one["blind"] - one["base"]))
    rescored = CliRunner().invoke(app, ["rescore", str(out), "--json"], catch_exceptions=False).stdout
    assert json.loads(rescored) == written
    assert (out / "replies.jsonl").is_file()


def test_smaller_pictures_give_a_curve_with_the_tokens_that_the_engine_counted(evaluate, tmp_path):
    found = json.loads(evaluate("--probe", "sizes", "--probe", "no-picture", "--json"))["probes"]["curves"]
    [curve] = found
    assert [point["at"] for point in curve["points"]] == ["1/8", "1/4", "1/2", "1"] and curve["questions"] == 8
    # This model brings every picture to one size, so that each costs the same, and more than none.
    assert len({point["visual_tokens"] for point in curve["points"]}) == 1
    assert curve["points"][0]["tokens"] > curve["points"][0]["visual_tokens"] > 0


def test_a_run_compared_with_training_data_says_what_they_share(evaluate, dataset, tmp_path):
    row = {"id": "0", "image": str(next((dataset.root / "test_seen" / "images").iterdir()).name),
           "conversations": [{"from": "human", "value": "<image>\nIs there a dog in this image?"},
                             {"from": "gpt", "value": "Yes"}]}  # fmt: skip
    (tmp_path / "mix.json").write_text(json.dumps([row]))
    sources = tmp_path / "sources.yaml"
    images = dataset.root / "test_seen" / "images"
    sources.write_text(f"sources:\n  - {{format: llava, path: mix.json, images: {images}}}\n")
    found = json.loads(evaluate("--training-data", sources, "--json"))["probes"]["overlap"]
    assert (found["samples"], found["skipped"]) == (1, 0)
    assert found["pictures"] == 0, "even pictures have no hash to compare"


def test_wrong_probes_are_named_before_anything_is_loaded(evaluate, tmp_path):
    with pytest.raises(SensoriumError, match="no-picture"):
        evaluate("--probe", "no-pictures")
    with pytest.raises(SensoriumError, match="blind probes"):
        evaluate("--probe", "slots", "--probe-base", "untrained")
    with pytest.raises(SensoriumError, match="no options"):
        evaluate("--probe", "rotate")
