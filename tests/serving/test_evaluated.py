"""A benchmark asked of a server: the whole way, and the same replies as from the engine behind it."""

from __future__ import annotations

import json

import pytest
from PIL import Image as Picture
from typer.testing import CliRunner

from sensorium.cli.main import app
from sensorium.model.checkpoint import save_model


@pytest.fixture
def sensorium():
    def run(*words: object) -> str:
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_a_servers_replies_are_those_of_its_engine_and_are_compared_with_them(
    serve, tiny_engine, tiny_model, sensorium, own_cache, tmp_path
):
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    rows = []
    for number, colour in enumerate(("red", "green", "blue")):
        Picture.new("RGB", (32, 32), colour).save(data / "images" / f"{number}.png")
        rows += [{"question_id": 2 * number + turn, "image": f"{number}.png", "label": label,
                  "text": f"Is it {asked}?"} for turn, (asked, label) in enumerate(((colour, "yes"), ("grey", "no")))]
    (data / "questions.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = save_model(tiny_model, tmp_path / "model", ["vision"])
    asked = ("evaluate", "pope", "-d", data, "--max-new-tokens", 6, "--no-cache")
    sensorium(*asked, "-o", tmp_path / "here", "-m", model)
    with serve(tiny_engine) as address:
        sensorium(*asked, "-o", tmp_path / "there", "-m", f"{address}/v1")

    def replies(name: str) -> list[str]:
        return [json.loads(line)["reply"] for line in (tmp_path / name / "replies.jsonl").read_text().splitlines()[1:]]

    assert len(replies("here")) == 6 and replies("there") == replies("here")
    found = json.loads(sensorium("compare", tmp_path / "here", tmp_path / "there", "--json"))
    assert found["overall"]["difference"] == 0 and {one["verdict"] for one in found["scores"]} == {"tied"}
