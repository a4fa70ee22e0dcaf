"""`sensorium evaluate scenes` from end to end, with a tiny random model on the hand-made pictures."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from sensorium.cli.evaluate import evaluate
from sensorium.errors import SensoriumError
from sensorium.evaluation import read_replies
from sensorium.folder_lock import locked
from sensorium.model.checkpoint import save_model


@pytest.fixture
def run(tiny_model, tmp_path):
    """Runs the command on a saved tiny model; gives back what it printed."""
    folder = save_model(tiny_model, tmp_path / "model", ["vision"])
    app = typer.Typer()
    app.command()(evaluate)

    def invoke(*arguments: object) -> str:
        words = [*map(str, arguments), "--model", str(folder), "--out", str(tmp_path / "out")]
        return CliRunner().invoke(app, words, catch_exceptions=False).stdout

    return invoke


def test_the_command_writes_results_table_and_all_replies(run, dataset, tmp_path):
    shown = run("scenes", "--data", dataset.root)
    assert "existence (of 200)" in shown
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        ".lock", "replies-test_seen-blind.jsonl", "replies-test_seen.jsonl", "results.json", "table.md",
    ]  # fmt: skip
    results = json.loads((out / "results.json").read_text())
    assert results["data"] == {"name": "tiny", "fingerprint": "f", "seed": 0}
    assert set(results["splits"]["test_seen"]["seen"]) == {"existence", "count", "caption", "grounding"}
    assert results["splits"]["test_seen"]["blind"]["existence"]["pictures"] == 3
    # The tiny model never trained its language model, so it speaks exactly as the plain one.
    assert results["speech"]["equal"] == 1
    header, replies = read_replies(out / "replies-test_seen.jsonl")
    assert header["blind"] is False
    assert len(replies) == 3 * 4 + 2


def test_json_is_what_the_file_holds_and_a_second_run_asks_nothing_new(run, dataset, tmp_path):
    arguments = ("scenes", "--data", dataset.root, "--no-blind", "--no-speech", "--json", "--limit", 1)
    printed = json.loads(run(*arguments))
    replies = tmp_path / "out" / "replies-test_seen.jsonl"
    assert printed == json.loads((tmp_path / "out" / "results.json").read_text())
    assert printed["splits"]["test_seen"]["blind"] is None
    assert printed["limit"] == 1
    before = replies.stat().st_mtime_ns
    assert json.loads(run(*arguments)) == printed
    assert replies.stat().st_mtime_ns == before


def test_an_unknown_split_is_found_before_anything_is_loaded(run, dataset, tmp_path):
    with pytest.raises(SensoriumError, match="test_seen"):
        run("scenes", "--data", dataset.root, "--split", "test_sene")
    assert not (tmp_path / "out").exists()


def test_a_model_behind_an_address_is_measured_like_any_other(dataset, tmp_path):
    pytest.importorskip("openai", reason="the remote engine is an extra")
    from ..serving.conftest import Told, served

    app = typer.Typer()
    app.command()(evaluate)
    with served(Told(("Yes",))) as address:
        words = ["scenes", "--data", dataset.root, "--model", f"{address}/v1", "--out", tmp_path / "out", "--no-blind"]
        done = CliRunner().invoke(app, [*map(str, words), "--json"], catch_exceptions=False)
    results = json.loads(done.stdout)
    assert results["model"]["name"] == "told" and results["model"]["provenance"] == {"address": f"{address}/v1"}
    existence = results["splits"]["test_seen"]["seen"]["existence"]
    assert (existence["accuracy"]["value"], existence["yes_share"]) == (50, 1)  # what always saying yes reaches
    assert "Plain talk is not compared" in done.stderr


def test_two_at_once_into_one_folder_are_refused(run, dataset, tmp_path):
    with locked(tmp_path / "out", "evaluation"):
        for arguments in (("scenes", "--data", dataset.root), ("scenes-mme", "--data", dataset.root)):
            with pytest.raises(SensoriumError, match=r"out: another evaluation is writing this run\. Wait"):
                run(*arguments)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]
    run("scenes", "--data", dataset.root, "--no-blind", "--no-speech", "--limit", 1)
