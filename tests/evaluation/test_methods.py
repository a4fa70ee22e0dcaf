"""Ways to answer side by side: each its own run, correction from the plain replies, the cost of all."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from sensorium.cli.main import app
from sensorium.correction import Corrector
from sensorium.correction.verifiers.oracle import Oracle
from sensorium.data.records import Scene, SceneObject
from sensorium.data.scenes.vocabulary import Vocabulary
from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks import BENCHMARKS, Data
from sensorium.evaluation.compare import compare
from sensorium.evaluation.methods import Trial, Way, compare_ways
from sensorium.evaluation.methods_table import markdown, write
from sensorium.evaluation.results import score_run
from sensorium.grounding import Box
from sensorium.model.checkpoint import save_model

from .conftest import PICTURES, looks


@pytest.fixture
def trial_of(dataset, tmp_path):
    """A trial over the three pictures, whose scenes now say what they show."""
    path = dataset.root / "test_seen" / "scenes.jsonl"
    scenes = [json.loads(line) for line in path.read_text().splitlines()]
    for scene in scenes:
        _, _, names, box = PICTURES[scene["id"]]
        scene["objects"] = [{"name": name, "box": box, "colour": None, "drawing": name, "style": "flat"}
                            for name in names]  # fmt: skip
    path.write_text("".join(json.dumps(scene) + "\n" for scene in scenes))

    def make(benchmark: str) -> Trial:
        return Trial(BENCHMARKS[benchmark], Data(dataset.root, None, None), None, tmp_path / "out", None, {})

    return make


@pytest.fixture
def knowing(dataset):
    """Makes a corrector that knows what the pictures show."""
    scenes = [
        Scene(id, str(dataset.root / "test_seen" / "images" / f"{id}.png"), *size, "plain",
              tuple(SceneObject(name, Box(*box), None, name, "flat") for name in names))
        for id, (_, size, names, box) in PICTURES.items()
    ]  # fmt: skip
    vocabulary = Vocabulary.load()
    return lambda: Corrector([Oracle.of(scenes, vocabulary)])


def silent(what: str, done: int, total: int) -> None:
    pass


def test_each_way_is_a_run_and_correction_mends_the_plain_replies(trial_of, knowing, engine_of, tmp_path):
    trial = trial_of("scenes-mme")
    yes, seeing = engine_of(lambda question, colour: "Yes"), engine_of(looks)
    ways = [Way("none", "none", yes, "yes"), Way("look", "look:hard", seeing, "looks", passes=2)]
    rows = compare_ways(trial, ways, knowing, silent)
    plain, look, correct = ({gain.task: gain for gain in row.gains} for row in rows)
    assert [row.way for row in rows] == ["none", "look", "correct"]
    # Who always says yes has one question of each two, and no picture: 50 of 200. The truth gets everything.
    assert (plain["existence"].score, look["existence"].score, correct["existence"].score) == (50, 200, 200)
    assert correct["existence"].fixed.value == 1 and correct["existence"].harmed.value == 0
    assert correct["existence"].recall.value == look["existence"].recall.value == 1
    assert rows[2].judged is not None and rows[2].judged.value == 1 and rows[0].judged is None
    assert [row.cost.passes for row in rows] == [1, 2, 1] and all(row.cost.seconds > 0 for row in rows)
    assert rows[0].cost.ratio == 1 <= rows[2].cost.ratio
    # Their folders are those of ordinary runs.
    folders = [tmp_path / "out" / way / "scenes-mme" for way in ("none", "look", "correct")]
    assert [score_run(folder).values["perception"] for folder in folders] == [100, 400, 400]
    assert compare(folders[0], folders[2]).overall.difference.mean.value == 0.5


def test_a_second_time_nothing_is_asked_or_looked_at(trial_of, knowing, engine_of, tmp_path):
    trial = trial_of("scenes-caption")
    engine = engine_of(looks)
    first = compare_ways(trial, [Way("none", "none", engine, "e")], knowing, silent, is_timed=False)
    asked = len(engine.asked)
    again = compare_ways(trial, [Way("none", "none", engine, "e")], knowing, silent, is_timed=False)
    assert len(engine.asked) == asked == 3
    assert [row.to_json() for row in again] == [row.to_json() for row in first]
    assert first[0].gains[0].score == 100 and first[0].cost is None
    with pytest.raises(SensoriumError, match="another run"):
        compare_ways(trial, [Way("none", "none", engine, "another")], None, silent, is_timed=False)


def test_what_a_way_gets_wrong_stands_in_every_table(trial_of, knowing, engine_of, tmp_path):
    invents = engine_of(lambda question, colour: "There is a dog and a boat.")
    rows = compare_ways(trial_of("scenes-caption"), [Way("none", "none", invents, "e")], knowing, silent)
    told = rows[1].gains[0]
    # Of six names told four are not there: three boats, and the dog of the picture that shows a cat and a car.
    assert (rows[0].gains[0].false.value, rows[0].gains[0].false.of) == (pytest.approx(4 / 6), 6)
    assert (told.fixed.value, told.harmed.value, told.false.value) == (1, 0, 0)
    content = write(rows, {"limit": None}, tmp_path)
    assert json.loads((tmp_path / "methods.json").read_text()) == json.loads(json.dumps(content))
    shown = markdown(rows)
    assert "| way | score | change | fixed | harmed | coverage | recall | words |" in shown
    assert "100.0% (" in shown and (tmp_path / "methods.md").read_text().startswith("**scenes described")


def test_the_command_compares_decoding_methods_and_correction(tiny_model, dataset, tmp_path, own_cache):
    folder = save_model(tiny_model, tmp_path / "model", ["vision"])
    words = ["compare-methods", "--data", dataset.root, "--out", tmp_path / "out", "--model", folder, "--json",
             "--benchmark", "scenes-mme", "--method", "vcd:alpha=0", "--method", "cfg", "--method", "dola",
             "--method", "self-consistency:replies=2"]  # fmt: skip
    done = CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
    found = json.loads(done.stdout)
    ways = {row["way"]: row for row in found["rows"]}
    assert list(ways) == ["none", "vcd-alpha0", "cfg", "dola", "self-consistency-replies2"]
    assert ways["vcd-alpha0"]["spec"] == "vcd:beta=0.1,alpha=0.0,step=500,seed=0"
    assert [row["cost"]["passes"] for row in found["rows"]] == [1, 2, 2, 1, 2]
    # Without its contrast it says what plain decoding says.
    assert all(task["change"]["value"] == 0 for task in ways["vcd-alpha0"]["tasks"])
    replies = [json.loads(line)["reply"] for line in
               (tmp_path / "out" / "vcd-alpha0" / "scenes-mme" / "replies.jsonl").read_text().splitlines()[1:]]
    plain = [json.loads(line)["reply"] for line in
             (tmp_path / "out" / "none" / "scenes-mme" / "replies.jsonl").read_text().splitlines()[1:]]
    assert replies == plain and len(plain) == 8


@pytest.mark.parametrize(("words", "told"), [
    (["--method", "vdc"], "Did you mean `vcd`"), (["--benchmark", "docvqa"], "is not compared"),
    (["--method", "vcd", "--verifier", "detector"], "--method correct"),
    (["--method", "vcd", "--engine", "llamacpp", "--benchmark", "scenes-mme"], "--engine torch"),
])  # fmt: skip
def test_what_cannot_be_is_said_at_once(words, told, tiny_model, dataset, tmp_path, own_cache):
    if "llamacpp" in words:
        pytest.importorskip("xllamacpp", reason="xllamacpp has no wheel for this platform")
    model = save_model(tiny_model, tmp_path / "model", ["vision"])
    asked = ["compare-methods", "--data", dataset.root, "--out", tmp_path / "out", "--model", model, *words]
    with pytest.raises(SensoriumError, match=told):
        CliRunner().invoke(app, [*map(str, asked)], catch_exceptions=False)
