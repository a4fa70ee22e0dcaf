"""The dataset of films is whole, goes on where it was, is checked and shown, and is asked about as Video-MME."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sensorium.cli.main import app
from sensorium.data.check import check_dataset
from sensorium.data.dataset import Dataset
from sensorium.data.films.build import FilmsConfig, build_films
from sensorium.data.sheet import contact_sheet
from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks import Data
from sensorium.evaluation.benchmarks.videomme import VIDEOMME
from sensorium.media.video import video_info
from sensorium.media.watching import Watcher
from sensorium.model.checkpoint import save_model

NEEDLE = Path(__file__).parents[3] / "benchmarks" / "needle.py"


@pytest.fixture(scope="module")
def config(catalogue, tmp_path_factory) -> FilmsConfig:
    return FilmsConfig(
        catalogue=catalogue.root, out=tmp_path_factory.mktemp("built") / "films", size=(64, 48), fps=4, long_fps=1,
        sizes={"train": 5, "test_seen": 3}, minutes=(5,), long=1, conversations_per_clip=2, processes=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def built(config) -> Path:
    return build_films(config)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_built_dataset_has_no_faults(built):
    report = check_dataset(built)
    assert report.problems == []
    assert report.rows["train"] == {"films": 5, "conversations": 10, "questions": 0}
    assert report.rows["test_seen"]["films"] == 4 and report.rows["test_seen"]["questions"] > 8


def test_videos_are_as_long_and_large_as_their_rows_say(built):
    for film in Dataset(built).films("test_seen"):
        info = video_info(film.video)
        assert (info.width, info.height, info.codec) == (64, 48, "vp9")
        assert info.duration_s == pytest.approx(film.duration_s, abs=0.01)
        assert Path(film.video).stat().st_size < 200_000


def test_a_broken_build_goes_on_where_it_was(config, built, tmp_path):
    whole = contents(built)
    again = config.model_copy(update={"out": tmp_path / "again"})

    def stop(what: str, done: int, of: int) -> None:
        if what == "filming" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_films(again, stop)
    first = again.out / "test_seen" / "videos" / "00" / "000000.mp4"
    made_at = first.stat().st_mtime_ns
    assert contents(build_films(again)) == whole
    assert first.stat().st_mtime_ns == made_at
    with pytest.raises(SensoriumError, match="another config"):
        build_films(again.model_copy(update={"seed": 7}))


def test_faults_are_found(config, built, tmp_path):
    folder = build_films(config.model_copy(update={"out": tmp_path / "films"}))
    (folder / "train" / "videos" / "00" / "000001.mp4").write_bytes(b"no video")
    rows = (folder / "train" / "films.jsonl").read_text().splitlines()
    row = json.loads(rows[0])
    row["sets"][0]["background"] = "b2"
    rows[0] = json.dumps(row)
    (folder / "train" / "films.jsonl").write_text("\n".join(rows) + "\n")
    said = (folder / "train" / "conversations.jsonl").read_text().splitlines()
    first = json.loads(said[0])
    first["spans"][0] = [[3.0, 99.0]]
    second = json.loads(said[1]) | {"spans": [[7]]}
    rows = [json.dumps(first), json.dumps(second), *said[2:]]
    (folder / "train" / "conversations.jsonl").write_text("\n".join(rows) + "\n")
    problems = check_dataset(folder).problems
    assert len(problems) == 5
    assert "b2 is held out" in problems[0] and "000001.mp4" in problems[1] and "99.0" in problems[2]
    assert "row 2: spans" in problems[3] and "9 good rows, dataset.json says 10" in problems[4]


def test_a_sheet_shows_frames_of_each_film(built):
    sheet = contact_sheet(built, "test_seen", rows=1, columns=4)
    assert sheet.width == 4 * (420 + 12) + 12 and sheet.height > 220


def test_show_tells_programs_how_many_films_and_that_they_have_no_kind(built, tmp_path):
    words = ["data", "show", str(built), "--split", "train", "--out", str(tmp_path / "sheet.png"), "--json"]
    found = CliRunner().invoke(app, words, catch_exceptions=False)
    assert json.loads(found.stdout) == {
        "sheet": str(tmp_path / "sheet.png"), "split": "train", "rows": 2, "pictures": 5,
    }  # fmt: skip
    with pytest.raises(SensoriumError, match="of no kind"):
        contact_sheet(built, "train", kind="page")


@pytest.mark.parametrize(("minutes", "sizes"), [((4,), {}), ((), {"tset_seen": 3}), ((), {"val": 0})])
def test_what_cannot_be_built_is_said_at_once(catalogue, tmp_path, minutes, sizes):
    with pytest.raises(ValueError, match=r"5 to 240 minutes|Did you mean|at least one clip"):
        FilmsConfig(catalogue=catalogue.root, out=tmp_path, minutes=minutes, sizes=sizes)


def test_the_command_builds_what_is_asked_for(monkeypatch, catalogue, tmp_path):
    built = []
    monkeypatch.setattr(FilmsConfig, "build", lambda self, progress=None: built.append(self) or self.out)
    words = ["data", "build", "video", "--out", tmp_path / "v", "--catalogue", catalogue.root, "--train", 7,
             "--test", 2, "--minutes", 60, "--minutes", 10, "--long", 2, "--json"]  # fmt: skip
    result = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert json.loads(result.stdout)["minutes"] == [10, 60]
    [config] = built
    assert config.sizes == {"train": 7, "val": 100, "test_seen": 2, "test_objects": 2, "test_style": 2}
    assert (config.minutes, config.long, config.seed) == ((10, 60), 2, 1)


def test_the_command_refuses_films_too_short_for_needles(tmp_path):
    result = CliRunner().invoke(app, ["data", "build", "video", "--out", str(tmp_path), "--minutes", "2"])
    assert result.exit_code == 2 and "greater than or equal to 5" in result.output


def test_whoever_asks_films_for_pictures_is_told_what_they_are(built):
    for asked in (Dataset(built).scenes, Dataset(built).probes):
        with pytest.raises(SensoriumError, match="shows films and no pictures"):
            asked("test_seen")


def questions(path: Path, **options):
    return {one.id.replace("/", "-"): one for one in VIDEOMME.read(Data(path, **options), "official")}


def said_by(question):
    return question.said and question.said(lambda video: Watcher().watch(video).times_s)


def export(built: Path, out: Path, *more: str) -> Path:
    words = ["data", "export-benchmark", "videomme", "--data", built, "--out", out, *more]
    CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    return out


@pytest.mark.parametrize("format", ["parquet", "json"])
def test_films_in_video_mmes_own_layout_ask_what_the_dataset_asks(built, tmp_path, format):
    out = export(built, tmp_path / "mme", "--format", format)
    ours, theirs = questions(built, with_subtitles=True), questions(out, with_subtitles=True)
    assert ours.keys() == theirs.keys() and {one.task for one in theirs.values()} == {"short", "medium"}
    for name, one in theirs.items():
        assert one.text == ours[name].text and one.truth == ours[name].truth and said_by(one) == said_by(ours[name])
        assert Path(one.media()[0].source).is_relative_to(out)
    told = [said_by(one) for one in theirs.values() if one.task == "medium"]
    assert all("subtitles are listed" in text for text in told)
    assert all(one.said is None for one in questions(out).values())


def test_films_are_written_as_video_mme_lies_on_the_hub(built, tmp_path):
    """Its columns, one row a question; videos in `data` and subtitles in `subtitle`, named by videoID."""
    parquet = pytest.importorskip("pyarrow.parquet")
    out = export(built, tmp_path / "mme")
    [path] = out.glob("**/*.parquet")
    table = parquet.read_table(path)
    assert table.column_names == ["video_id", "duration", "domain", "sub_category", "url", "videoID", "question_id",
                                  "task_type", "question", "options", "answer"]  # fmt: skip
    rows = table.to_pylist()
    assert len(rows) == len(Dataset(built).questions("test_seen")) and all(len(row["options"]) == 4 for row in rows)
    videos = {path.stem for path in (out / "data").iterdir()}
    assert videos == {row["videoID"] for row in rows}
    assert {path.stem for path in (out / "subtitle").iterdir()} == {
        row["videoID"] for row in rows if row["duration"] == "medium"}
    renamed = path.rename(out / "questions of mine.parquet")
    assert Data(out).layout == "parquet" and questions(out).keys() == questions(renamed).keys()


def test_a_format_that_a_benchmark_has_not_is_refused_with_those_it_has(built, tmp_path):
    with pytest.raises(SensoriumError, match=r"--format 'parqet': is none of videomme\. Did you mean `parquet`"):
        export(built, tmp_path / "mme", "--format", "parqet")
    assert not (tmp_path / "mme").exists()


def test_subtitles_that_no_film_has_are_not_left_out_without_a_word(config, tmp_path):
    clips = {"out": tmp_path / "films", "minutes": (), "sizes": {"test_seen": 1}}
    folder = build_films(config.model_copy(update=clips))
    for path in (folder, export(folder, tmp_path / "mme")):
        assert questions(path)
        with pytest.raises(SensoriumError, match="has no subtitles, and --subtitles asks for them"):
            questions(path, with_subtitles=True)


def test_videomme_runs_on_films_with_and_without_subtitles_by_duration(built, tiny_model, tmp_path, own_cache):
    """And on what is exported of them: the very same messages, so the very same scores."""
    model = save_model(tiny_model, tmp_path / "model", ["vision"])
    exported = export(built, tmp_path / "mme")
    for more in ([], ["--subtitles"]):
        values = []
        for number, data in enumerate((built, exported)):
            out = tmp_path / f"out{number}{len(more)}"
            words = ["evaluate", "videomme", "--data", data, "--out", out, "--model", model, "--frames", 2,
                     "--max-new-tokens", 2, "--json", *more]  # fmt: skip
            result = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
            found = json.loads(result.stdout)
            assert found["answered"] == found["planned"] > 8 and not found["unasked"]
            values.append(found["values"])
        assert values[0] == values[1] and values[0]["by"]["duration"].keys() == {"short", "medium"}


def test_needles_are_found_by_looking_for_differences(built, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["needle.py", "--data", str(built), "--json"])
    runpy.run_path(str(NEEDLE), run_name="__main__")
    found = json.loads(capsys.readouterr().out)
    n_needles = sum(len(film.happenings) for film in Dataset(built).films("test_seen") if film.minutes)
    assert found["difference"]["needles"] == n_needles
    assert found["difference"]["cards"] == 1
    # 64 frames of five minutes lie 4.7 s apart; a needle of 3 to 4 s is met by three in four.
    assert 0.6 < found["even"]["all"] < 0.9
