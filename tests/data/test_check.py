"""Reading and checking a dataset: whatever is wrong is named by file, row and field."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sensorium.data.check import check_dataset, question_kind
from sensorium.data.dataset import Dataset, Rows
from sensorium.data.records import probe_from_json, scene_from_json
from sensorium.data.scenes.build import build_scenes
from sensorium.errors import SensoriumError


@pytest.fixture
def root(config):
    return build_scenes(config.model_copy(update={"sizes": {"train": 6, "test_seen": 6}}))


def change(path, number, edit):
    """Edit row `number` (from 1) of a JSON-lines file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    row = json.loads(lines[number - 1])
    edit(row)
    lines[number - 1] = json.dumps(row)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def problem(root):
    """The first problem of a dataset."""
    return check_dataset(root).problems[0]


def test_a_good_dataset_has_no_problems_and_its_rows_are_counted(root):
    report = check_dataset(root)
    assert report.is_good
    n_places = len(Dataset(root).conversations("train", ["places"]))
    assert report.rows["train"] == {"scenes": 6, "conversations": 24 + n_places, "probes": 0}
    assert report.rows["test_seen"]["probes"] >= 18


def test_what_is_held_out_may_not_leak_into_training(root):
    def show(row):
        row["background"], row["objects"][0]["style"], row["objects"][0]["name"] = "b2", "held", "boat"

    change(root / "train/scenes.jsonl", 2, show)
    problems = check_dataset(root).problems
    for kind, name in (("objects", "boat"), ("styles", "held"), ("backgrounds", "b2")):
        assert any(f"scenes.jsonl row 2: {kind}: {name} is held out" in line for line in problems)


def test_a_picture_that_does_not_open_or_has_another_size_is_named(root):
    (root / "train/images/00/000001.jpg").write_bytes(b"not a picture")
    Image.new("RGB", (30, 20)).save(root / "train/images/00/000003.jpg")
    problems = check_dataset(root).problems
    assert "row 2: image: images/00/000001.jpg does not open" in problems[0]
    assert "row 4: width, height" in problems[1]


def test_bad_rows_are_named_by_field(root):
    scenes = root / "train/scenes.jsonl"
    change(scenes, 1, lambda row: row["objects"][0].update(box=[5, 5, 1200, 9]))
    assert "scenes.jsonl row 1: objects[0]: box" in problem(root)
    change(scenes, 1, lambda row: row.pop("objects"))
    assert "scenes.jsonl row 1: objects: is missing" in problem(root)
    with pytest.raises(SensoriumError, match=r"scenes\.jsonl row 1: objects: is missing"):
        Dataset(root).scenes("train")[0]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda row: row["messages"].pop(), "do not take turns"),
        (lambda row: row["messages"][0].update(role="robot"), "unknown role"),
        (lambda row: row.update(scene="999999"), "is not in scenes.jsonl"),
        (lambda row: row["messages"][1]["content"][0].update(text=" "), "is empty"),
        (lambda row: row["messages"][1]["content"][0].update(text="<box>(1,2),(3)</box>"), "does not parse"),
        (lambda row: row.update(task="chatting"), "unknown task"),
    ],
)
def test_bad_conversations_are_named(root, edit, said):
    change(root / "train/conversations.jsonl", 4, edit)
    line = problem(root)
    assert "conversations.jsonl row 4" in line and said in line


def test_lopsided_answers_are_a_problem(root):
    path = root / "train/conversations.jsonl"
    row = json.loads(path.read_text(encoding="utf-8").splitlines()[1])
    image = row["messages"][0]["content"][0]
    if image["type"] != "image":
        image = row["messages"][0]["content"][1]
    question = {"role": "user", "content": [{"type": "text", "text": "Is there a car in this image?"}, image]}
    row["messages"] = [question, {"role": "assistant", "content": [{"type": "text", "text": "Yes"}]}]
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({**row, "id": f"more-{i}"}) + "\n" for i in range(150))
    assert any("existence questions are answered Yes" in line for line in check_dataset(root).problems)


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Is there a dog in this image? Please answer yes or no.", "existence"),
        ("Is there only one dog in this image? Please answer yes or no.", "count"),
        ("Are there two red cars?", "count"),
        ("Is the dog on the left of the car?", "position"),
        ("Is there a red car in the image?", "color"),
    ],
)
def test_questions_are_told_apart_by_their_wording(question, kind):
    assert question_kind(question) == kind


def test_probes_must_fit_their_scene(root):
    path = root / "test_seen/probes.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    number = next(i for i, row in enumerate(rows, start=1) if row["subset"] == "caption")
    change(path, number, lambda row: row["objects"].append("zebra"))
    assert f"probes.jsonl row {number}: objects" in problem(root)
    with pytest.raises(SensoriumError, match="Yes and then No"):
        swapped = [{"question": "?", "answer": "No"}, {"question": "?", "answer": "Yes"}]
        row = {"id": "1", "scene": "1", "image": "x", "subset": "count", "questions": swapped}
        probe_from_json(row, "here")


@pytest.mark.parametrize("text", ["", "[1]", '{"format": "other"}', '{"format": "sensorium-conversations-1"}', None])
def test_a_folder_that_is_no_dataset_is_one_clear_error(tmp_path, text):
    if text is not None:
        (tmp_path / "dataset.json").write_text(text, encoding="utf-8")
    with pytest.raises(SensoriumError, match=r"dataset\.json"):
        check_dataset(tmp_path)


def test_misspelt_names_get_the_nearest(root):
    dataset = Dataset(root)
    with pytest.raises(SensoriumError, match="Did you mean `train`"):
        dataset.conversations("tran")
    with pytest.raises(SensoriumError, match="Did you mean `caption`"):
        dataset.conversations("train", ["captoin"])
    with pytest.raises(SensoriumError, match="Did you mean `color`"):
        dataset.probes("test_seen", "colour")


def test_rows_can_be_sliced_iterated_and_sent_to_other_processes(root):
    rows = Dataset(root).conversations("train", ["chat"])
    assert len(rows) == 12 and [row.id for row in rows] == [row.id for row in rows[:]]
    assert rows[-1].id == rows[11].id
    assert pickle.loads(pickle.dumps(rows))[3] == rows[3]


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3), max_size=8))
def test_any_rows_come_back_by_number(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("".join(json.dumps(v, ensure_ascii=False) + "\n" for v in values), encoding="utf-8", newline="\n")
    rows = Rows(path, lambda row, where: row)
    assert [rows[i] for i in range(len(rows))] == list(rows) == values


def test_a_scene_survives_the_round_trip(root):
    path = root / "train/scenes.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines():
        assert json.dumps(scene_from_json(json.loads(line), "here").to_json(), ensure_ascii=False) == line
