"""`sensorium evaluate`, `rescore` and `compare` with a real tiny model on a look-alike of each family of layouts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sensorium.cli.main import app
from sensorium.errors import SensoriumError
from sensorium.evaluation.results import Results
from sensorium.model.checkpoint import save_model

SCHEMA = Path(__file__).parents[3] / "docs" / "results.schema.json"


@pytest.fixture
def model(tiny_model, tmp_path, own_cache):
    return save_model(tiny_model, tmp_path / "model", ["vision"])


@pytest.fixture
def sensorium():
    def command(*words: object) -> str:
        result = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return command


@pytest.mark.parametrize(("name", "layout"), [("mme", "official"), ("vqav2", "parquet"), ("mcq", "tsv")])
def test_a_run_is_asked_scored_and_scored_again(sensorium, lookalike, model, tmp_path, name, layout):
    out = tmp_path / "out"
    data = lookalike(name, layout)
    printed = sensorium("evaluate", name, "--data", data, "--out", out, "--model", model, "--max-new-tokens", 3)
    assert "asked as" in printed and "95 %" in printed
    results = json.loads((out / "results.json").read_text())
    assert results["data"]["layout"] == layout and results["answered"] == results["planned"] > 0
    assert sorted(path.name for path in out.iterdir()) == [".lock", "replies.jsonl", "results.json"]
    again = json.loads(sensorium("rescore", out, "--json"))
    assert again == results == json.loads((out / "results.json").read_text())
    side_by_side = json.loads(sensorium("rescore", out, "--variant", "all", "--json"))
    assert results["variant"] in side_by_side and len(side_by_side) >= 2
    assert "B is tied" in sensorium("compare", out, out)


def test_results_follow_the_published_schema(sensorium, lookalike, model, tmp_path):
    import jsonschema

    schema = json.loads(SCHEMA.read_text())
    assert schema == Results.model_json_schema(), "docs/results.schema.json is made from evaluation.results.Results"
    out = tmp_path / "out"
    sensorium("evaluate", "pope", "--data", lookalike("pope", "official"), "--out", out, "--model", model,
              "--max-new-tokens", 2, "--temperature", 1, "--repeats", 3)  # fmt: skip
    results = json.loads((out / "results.json").read_text())
    jsonschema.validate(results, schema)
    assert results["stability"]["k"] == 3
    assert 0 <= results["stability"]["unanimous"] <= results["stability"]["consistency"] <= 1


def test_missing_pictures_are_not_scored_as_wrong(sensorium, lookalike, model, tmp_path):
    data = lookalike("docvqa", "official")
    (data / "documents" / "green.png").unlink()
    out = tmp_path / "out"
    results = json.loads(sensorium("evaluate", "docvqa", "-d", data, "-o", out, "-m", model, "--max-new-tokens", 2,
                                   "--json"))  # fmt: skip
    assert (results["planned"], results["answered"], results["values"]["questions"]) == (3, 2, 2)
    assert list(results["unasked"]) == ["1"] and "green.png" in results["unasked"]["1"]
    (data / "documents" / "green.png").write_bytes((data / "documents" / "red.png").read_bytes())
    mended = json.loads(sensorium("evaluate", "docvqa", "-d", data, "-o", out, "-m", model, "--max-new-tokens", 2,
                                  "--json"))  # fmt: skip
    assert mended["answered"] == 3 and not mended["unasked"]


KILLED = """
import os, signal, sys
from sensorium.engine.torch import TorchEngine
answer, calls = TorchEngine.answer, []
def killed(self, conversations, sampling):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer(self, conversations, sampling)
TorchEngine.answer = killed
from sensorium.cli.main import run as main
sys.argv = sys.argv[1:]
main()
"""


def test_a_model_behind_an_address_answers_a_benchmark(sensorium, lookalike, tmp_path, own_cache):
    pytest.importorskip("openai", reason="the remote engine is an extra")
    from ...serving.conftest import Told, served

    told = Told(("Yes",))
    with served(told) as address:
        words = ["evaluate", "mme", "-d", lookalike("mme", "tsv"), "-m", f"{address}/v1", "--json", "-o"]
        results = json.loads(sensorium(*words, tmp_path / "out"))
        assert len(told.asked) == 6
        again = json.loads(sensorium(*words, tmp_path / "again"))
        assert len(told.asked) == 6, "the cache knows what a server said"
    assert results == again
    # What always saying yes reaches: half of the questions, no picture with both.
    assert results["values"]["perception"] == 100 and results["model"]["identity"].endswith("-remote")


def test_a_model_of_transformers_answers_a_benchmark(sensorium, lookalike, llava_folder, tmp_path, own_cache):
    results = json.loads(sensorium("evaluate", "mcq", "-d", lookalike("mcq", "tsv"), "-m", llava_folder, "-o",
                                   tmp_path / "out", "--max-new-tokens", 3, "--json"))  # fmt: skip
    assert results["answered"] == 3 and results["values"]["rows"] == 3


def test_video_mme_is_asked_about_frames_with_and_without_subtitles(sensorium, lookalike, model, film, tmp_path):
    data = lookalike("videomme", "official")
    film(data / "videos" / "001.mp4", range(40, 240, 5))
    (data / "subtitle").mkdir()
    (data / "subtitle" / "001.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHi.\n")
    scores = {}
    for name, more in {"without": (), "with": ("--subtitles",)}.items():
        words = ["evaluate", "videomme", "-d", data, "-o", tmp_path / name, "-m", model, "--frames", 2]
        results = json.loads(sensorium(*words, "--max-new-tokens", 2, "--json", *more))
        assert results["answered"] == results["planned"] == 3 and results["unasked"] == {}
        header = json.loads((tmp_path / name / "replies.jsonl").read_text().splitlines()[0])
        assert header["videos"] == {"frames": 2, "sampling": None, "subtitles": bool(more)}
        scores[name] = results["values"]
    assert scores["with"].keys() == scores["without"].keys() and "short" in scores["with"]["by"]["duration"]
    with pytest.raises(SensoriumError, match="holds replies"):  # other frames are another run
        other = ["evaluate", "videomme", "-d", data, "-o", tmp_path / "with", "-m", model, "--frames", 3]
        CliRunner().invoke(app, list(map(str, other)), catch_exceptions=False)


def test_a_video_is_probed_by_one_frame_fewer_frames_and_what_is_said(sensorium, lookalike, model, film, tmp_path):
    data = lookalike("videomme", "official")
    film(data / "videos" / "001.mp4", range(40, 240, 5))
    (data / "subtitle").mkdir()
    (data / "subtitle" / "001.srt").write_text("1\n00:00:00,000 --> 00:00:09,000\nHi.\n")
    words = ["evaluate", "videomme", "-d", data, "-o", tmp_path / "out", "-m", model, "--frames", 4, "--subtitles",
             "--max-new-tokens", 2, "--json"]  # fmt: skip
    names = ("no-picture", "single-frame", "subtitles-only", "frames")
    found = json.loads(sensorium(*words, *(word for name in names for word in ("--probe", name))))["probes"]
    assert [one["probe"] for one in found["blind"]] == ["no-picture", "single-frame", "subtitles-only"]
    [curve] = found["curves"]
    assert [point["at"] for point in curve["points"]] == ["1/8", "1/4", "1/2", "1"]
    tokens = [point["visual_tokens"] for point in curve["points"]]
    assert tokens[0] == tokens[1] < tokens[2] < tokens[3], "one frame at the least, then two, then four"


def test_a_damaged_video_costs_its_own_questions_and_no_others(sensorium, lookalike, model, film, tmp_path):
    data = lookalike("videomme", "official")
    [path] = data.glob("*.json")
    rows = json.loads(path.read_text().replace("},]", "}]"))
    other = json.loads(json.dumps(rows).replace("001", "002"))
    path.write_text(json.dumps(rows + other))
    film(data / "videos" / "002.mp4", [40, 80])  # and 001.mp4 is no video
    words = ["evaluate", "videomme", "-d", data, "-o", tmp_path / "out", "-m", model, "--frames", 2]
    results = json.loads(sensorium(*words, "--max-new-tokens", 2, "--json"))
    assert (results["planned"], results["answered"]) == (6, 3)
    assert all("001.mp4" in why for why in results["unasked"].values())


def test_a_video_beyond_a_limit_is_asked_about_where_an_option_says_so(sensorium, lookalike, model, film, tmp_path):
    data = lookalike("videomme", "official")
    film(data / "videos" / "001.mp4", [10, 200], times_s=[0, 15_000])
    words = ["evaluate", "videomme", "-d", data, "-o", tmp_path / "out", "-m", model, "--frames", 2,
             "--max-new-tokens", 2, "--json"]  # fmt: skip
    long = ["--max-seconds", 20_000]
    for more, named in ([], "seconds"), ([*long, "--max-pixels", 3000], "pixels"), ([*long, "--max-bytes", 9], "bytes"):
        with pytest.raises(SensoriumError, match=rf"could not be asked, nor .*\(--max-{named}\)"):
            CliRunner().invoke(app, list(map(str, [*words, *more])), catch_exceptions=False)
    assert json.loads(sensorium(*words, *long))["answered"] == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mne", "--data", "."], "Did you mean `mme`"),
        (["{tmp}", "--data", "."], "Write: sensorium evaluate scenes --data"),
        (["mme", "--data", "{tmp}/nothing"], "does not exist"),
        (["mme", "--data", "{tmp}", "--no-blind"], "--blind: is of `scenes` alone"),
        (["mme", "--data", "{tmp}", "--frames", "4"], "--frames: is about videos; MME shows none"),
        (["mme", "--data", "{tmp}", "--max-seconds", "4"], "--max-seconds: is about videos; MME shows none"),
        (["videomme", "--data", "{tmp}", "--sampling", "scene"], "Did you mean `scenes`"),
        (["videomme", "--data", "{tmp}", "--sampling", "subtitles"], "goes by what is said. Add --subtitles"),
        (["scenes", "--data", "{tmp}", "--repeats", "2"], "--repeats: is of other benchmarks"),
        (["mme", "--data", "{tmp}", "--repeats", "2"], "greedy replies are all the same"),
        (["mme", "--data", "{tmp}", "--prompt", "lmms"], "Did you mean `lmms-eval`"),
    ],
)
def test_mistakes_are_found_before_a_model_is_loaded(tmp_path, words, said):
    words = ["evaluate", *(word.format(tmp=tmp_path) for word in words), "--out", str(tmp_path / "out")]
    with pytest.raises(SensoriumError, match=said):
        CliRunner().invoke(app, words, catch_exceptions=False)


def test_a_run_killed_with_a_real_engine_ends_with_the_same_scores(sensorium, lookalike, model, tmp_path):
    data = lookalike("mme", "parquet")
    words = ["evaluate", "mme", "-d", data, "-m", model, "--max-new-tokens", 3, "--batch-size", 2, "--no-cache", "-o"]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, "sensorium", *map(str, words), tmp_path / "out"], capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (tmp_path / "out" / "journal.jsonl").read_text().count("\n") == 2
    sensorium(*words, tmp_path / "out")
    sensorium(*words, tmp_path / "whole")
    for name in ("replies.jsonl", "results.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_two_workers_say_what_one_says(sensorium, lookalike, model, tmp_path):
    pytest.importorskip("ray")
    data = lookalike("mme", "official")
    words = ["evaluate", "mme", "-d", data, "-m", model, "--max-new-tokens", 4, "--batch-size", 2, "--no-cache", "-o"]
    sensorium(*words, tmp_path / "one")
    sensorium(*words, tmp_path / "two", "--workers", 2)
    for name in ("replies.jsonl", "results.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
