"""Files that name sources, and every defect of what they name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image as PILImage
from typer.testing import CliRunner

from sensorium.cli.main import app
from sensorium.data.dataset import Dataset
from sensorium.data.defects import find_defects, reason_of
from sensorium.data.rewriters import Rewriter
from sensorium.data.sources import load_sources
from sensorium.errors import SensoriumError

TURNS = [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "A dog."}]


def _llava(folder: Path, *rows: dict | str) -> None:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "mix.jsonl").write_text("\n".join(lines) + "\n")


def _yaml(folder: Path, text: str) -> Path:
    path = folder / "sources.yaml"
    path.write_text(text)
    return path


def test_paths_are_relative_to_the_file(tmp_path):
    _llava(tmp_path, {"conversations": TURNS, "image": "a.png"})
    path = _yaml(tmp_path, "sources: [{format: llava, path: mix.jsonl, images: ., name: mine, weight: 2}]")
    [source] = load_sources(path).sources
    assert source.path == str(tmp_path / "mix.jsonl") and source.title == "mine" and source.weight == 2
    assert source.open()[0].content.images[0].source == str(tmp_path / "a.png")


def test_hub_addresses_stay_as_they_are(tmp_path):
    path = _yaml(tmp_path, "sources: [{format: parquet, path: 'hf://datasets/a/b/c.parquet'}]")
    assert load_sources(path).sources[0].path == "hf://datasets/a/b/c.parquet"


@pytest.mark.parametrize(("text", "message"), [
    ("[1]", "names no sources"),
    ("sources: [{format: lava, path: x}]", r"sources\[0\].format: there is no format `lava`. Did you mean `llava`"),
    ("sources: [{format: llava, path: x, imags: y}]", r"sources\[0\].imags: unknown key. Did you mean `images`"),
    ("sources: [{format: coco}]", r"sources\[0\].path: is missing"),
    ("sources: [{format: coco, path: x, epochs: 1, samples: 3}]", "samples and epochs say the same thing twice"),
    ("sources: [{format: coco, path: x}]\ntemprature: 2", "temprature: unknown key. Did you mean `temperature`"),
    ("sources: [{format: coco, path: x}]\nrewrite: {tasks: [cption]}", "rewrite.tasks: there is no task `cption`"),
    ("sources: [{format: coco", "is not YAML"),
    ("sources: []", "sources: .*at least 1"),
])
def test_a_wrong_file_is_explained(tmp_path, text, message):
    with pytest.raises(SensoriumError, match=message):
        load_sources(_yaml(tmp_path, text))


def _with_defects(folder: Path) -> Path:
    PILImage.new("RGB", (4, 4)).save(folder / "good.png")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "huge.pgm").write_bytes(b"P5 20000 10000 255\n")  # 200 megapixels, by its header
    good = {"conversations": TURNS, "image": "good.png"}
    _llava(folder, good, dict(good, image="missing.png"), "{", dict(good, image="broken.png"), dict(good, image=None),
           dict(good, image="huge.pgm"), dict(good, image="missing2.png"), good)
    return _yaml(folder, "sources: [{format: llava, path: mix.jsonl, name: mine}]")


def test_defects_are_listed_in_order_and_counted_by_reason(tmp_path):
    [settings] = load_sources(_with_defects(tmp_path)).sources
    found = find_defects(settings.open(), settings.title, Rewriter())
    assert (found.samples, found.bad) == (8, 6) and found.reasons["does not exist."] == 2
    rows = [line.split(" line ")[1][0] for line in found.listed]
    assert rows == ["2", "3", "4", "5", "6", "7"]
    assert "picture 1" in found.listed[0] and "missing.png" in found.listed[0]
    said = "claims more pixels than a picture may have: 200,000,000, at most 100,000,000 are allowed."
    assert said in found.listed[4]


def test_the_command_says_what_is_wrong_and_fails(tmp_path):
    path = _with_defects(tmp_path)
    result = CliRunner().invoke(app, ["data", "check", str(path)])
    assert result.exit_code == 1 and "mine: 8 samples, 6 faults" in result.output
    assert "2 times: does not exist." in result.output
    counted = json.loads(CliRunner().invoke(app, ["data", "check", str(path), "--json"]).stdout)
    assert counted["sources"][0]["bad"] == 6 and len(counted["sources"][0]["faults"]) == 6
    _llava(tmp_path, {"conversations": TURNS, "image": "good.png"})
    result = CliRunner().invoke(app, ["data", "check", str(path)])
    assert result.exit_code == 0 and "mine: 1 samples, 0 faults" in result.output


@pytest.mark.parametrize(("size", "said"), [
    ((100, 50), ""), ((50, 100), "Get the picture that the boxes"), ((200, 100), "only made smaller or larger"),
    ((67, 33), "only made smaller or larger"),
])
def test_boxes_drawn_in_a_picture_of_another_size_are_a_defect(tmp_path, size, said):
    PILImage.new("RGB", size).save(tmp_path / "a.png")
    coco = {"images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 50}],
            "categories": [{"id": 1, "name": "dog"}],
            "annotations": [{"image_id": 1, "category_id": 1, "bbox": [10, 5, 80, 40]}]}
    (tmp_path / "x.json").write_text(json.dumps(coco))
    [settings] = load_sources(_yaml(tmp_path, "sources: [{format: coco, path: x.json}]")).sources
    found = find_defects(settings.open(), settings.title, Rewriter())
    assert found.bad == bool(said)
    if said:
        what = f"picture 1: width, height: boxes were drawn in 100 x 50 pixels, the picture has {size[0]} x {size[1]}."
        assert what in found.listed[0] and said in found.listed[0]


def test_every_fault_is_counted_and_those_not_listed_are_said(tmp_path):
    _llava(tmp_path, *[{"conversations": TURNS, "image": f"missing{i}.png"} for i in range(25)], "{")
    path = _yaml(tmp_path, "sources: [{format: llava, path: mix.jsonl, name: mine}]")
    output = CliRunner().invoke(app, ["data", "check", str(path)]).output
    assert output.count("missing") == 20 and "25 times: does not exist. … and 5 more" in output
    output = CliRunner().invoke(app, ["data", "check", str(path), "--limit", "25"]).output
    assert output.count("missing") == 25 and "more" not in output
    [found] = json.loads(CliRunner().invoke(app, ["data", "check", str(path), "--json"]).stdout)["sources"]
    assert found["bad"] == len(found["faults"]) == 26


def test_a_file_of_data_where_sources_are_to_be_named_is_told_apart_from_a_folder(tmp_path):
    (tmp_path / "mix.json").write_text("[]")
    with pytest.raises(SensoriumError, match=r"mix\.json: is a file, not a dataset folder.*sources: .*train-your-own"):
        Dataset(tmp_path / "mix.json")


def test_reasons_are_alike_where_only_names_and_numbers_differ():
    one = SensoriumError("a", "has 2 <image> tags for 1 pictures.")
    other = SensoriumError("b", "has 13 <image> tags for 4 pictures.")
    assert reason_of(one) == reason_of(other) == "has # <image> tags for # pictures."
    assert reason_of(SensoriumError("a", "unknown speaker 'x'.")) == "unknown speaker …."


def test_apostrophes_are_no_quotes():
    error = SensoriumError("a", "turn 1 is the user's, expected the assistant's.")
    assert reason_of(error) == "turn # is the user's, expected the assistant's."


def test_a_source_that_does_not_open_does_not_hide_the_others(tmp_path):
    path = _with_defects(tmp_path)
    path.write_text("sources: [{format: coco, path: missing.json}, {format: llava, path: mix.jsonl, name: mine}]")
    result = CliRunner().invoke(app, ["data", "check", str(path)])
    assert result.exit_code == 1
    assert "missing.json: 0 samples, 1 faults" in result.output and "mine: 8 samples, 6 faults" in result.output
