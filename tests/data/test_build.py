"""Building: complete, repeatable, resumable, and never half written."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from sensorium.data.check import check_dataset
from sensorium.data.dataset import Dataset
from sensorium.data.scenes import build
from sensorium.data.scenes.build import ScenesConfig, build_scenes
from sensorium.errors import SensoriumError


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(build, "SHARD", 8)


def test_a_build_is_a_dataset_without_problems(config):
    assert build_scenes(config) == config.out
    report = check_dataset(config.out)
    assert report.problems == []
    dataset = Dataset(config.out)
    assert dataset.splits == ("train", "val", "test_seen", "test_objects", "test_style")
    of_places = dataset.conversations("train", ["places"])
    assert len(of_places) < 30, "only of scenes in which two pairs can be compared"
    assert dataset.info["splits"]["train"] == {"scenes": 30, "conversations": 120 + len(of_places), "probes": 0}
    assert dataset.info["held_out"] == {"objects": ["yo-yo", "boat"], "styles": ["held"], "backgrounds": ["b2", "b3"]}
    assert set(dataset.info["licences"]) == {"CC0-1.0", "MIT"}
    assert len(dataset.probes("test_seen", "existence")) == 8
    assert len(dataset.conversations("train", ["caption"])) == 30
    assert len(dataset.conversations("train", ["drill"])) == 30
    first = dataset.conversations("train", ["chat"])[0].conversation()
    assert Path(first.images[0].source).is_file()
    assert not list(config.out.rglob("*.part")) and not list(config.out.rglob("shards"))


def test_the_bytes_depend_on_the_seed_and_not_on_the_number_of_processes(config, tmp_path, small_shards):
    other = config.model_copy(update={"out": tmp_path / "again", "processes": 2})
    seed = config.model_copy(update={"out": tmp_path / "seed", "seed": 1})
    first, second, third = (contents(build_scenes(c)) for c in (config, other, seed))
    assert first == second
    assert first["train/scenes.jsonl"] != third["train/scenes.jsonl"]


def test_a_build_that_broke_off_goes_on_and_ends_the_same(config, tmp_path, small_shards, monkeypatch):
    whole = contents(build_scenes(config))
    other = config.model_copy(update={"out": tmp_path / "broken"})
    made: list[tuple[str, int, int]] = []

    def breaking(config, shard):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(shard)
        return original(config, shard)

    original = build.make_shard
    monkeypatch.setattr(build, "make_shard", breaking)
    with pytest.raises(KeyboardInterrupt):
        build_scenes(other)
    assert not (other.out / "dataset.json").exists()
    again: list[tuple[str, int, int]] = []
    monkeypatch.setattr(build, "make_shard", lambda config, shard: (again.append(shard), original(config, shard))[1])
    build_scenes(other)
    assert made == [("train", 0, 8), ("train", 8, 16)] and not set(made) & set(again)
    assert contents(other.out) == whole


def test_a_finished_build_is_left_alone(config):
    build_scenes(config)
    stamps = {path: path.stat().st_mtime_ns for path in config.out.rglob("*")}
    build_scenes(config)
    assert stamps == {path: path.stat().st_mtime_ns for path in config.out.rglob("*")}


def test_another_config_is_refused_in_the_same_folder(config):
    build_scenes(config)
    with pytest.raises(SensoriumError, match=r"another config or catalogue.* Choose another folder"):
        build_scenes(config.model_copy(update={"seed": 5}))
    (config.out / "build.json").unlink()
    with pytest.raises(SensoriumError, match="not a dataset of ours"):
        build_scenes(config)


def test_text_chats_are_added_to_train_without_composing_anew(config, tmp_path, monkeypatch):
    build_scenes(config)
    chats = tmp_path / "chats.jsonl"
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]
    chats.write_text(json.dumps({"messages": messages}) + "\n", encoding="utf-8")
    monkeypatch.setattr(build, "make_shard", pytest.fail)
    build_scenes(config.model_copy(update={"text_chats": chats}))
    rows = Dataset(config.out).conversations("train", ["text"])
    assert [row.messages for row in rows] == [messages] and rows[0].scene is None
    assert check_dataset(config.out).is_good


def test_bad_text_chats_are_named_by_row(config, tmp_path):
    chats = tmp_path / "chats.jsonl"
    chats.write_text('{"messages": [{"role": "robot", "content": "x"}]}\n', encoding="utf-8")
    with pytest.raises(SensoriumError, match=r"chats\.jsonl row 1\.messages\[0\]: unknown role"):
        build_scenes(config.model_copy(update={"text_chats": chats}))
    with pytest.raises(SensoriumError, match="cannot be read"):
        build_scenes(config.model_copy(update={"text_chats": tmp_path / "none.jsonl"}))


def test_a_missing_catalogue_says_how_to_make_one(config, tmp_path):
    with pytest.raises(SensoriumError, match="there is no catalogue here"):
        build_scenes(config.model_copy(update={"catalogue": tmp_path / "nothing"}))
    assert not config.out.exists()


def test_a_full_disk_is_one_clear_error_and_leaves_no_half_file(config, monkeypatch):
    def full(self, data):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SensoriumError, match=r"No space left on device.*Make room.*build again"):
        build_scenes(config.model_copy(update={"processes": 1}))
    assert not list(config.out.rglob("*.part"))


@pytest.mark.parametrize(
    "change",
    [{"sizes": {"trian": 5}}, {"sizes": {"train": 0}}, {"seed": -1}, {"conversations_per_scene": 0}, {"sede": 1}],
)
def test_impossible_configs_are_refused(config, change):
    with pytest.raises(ValidationError):
        ScenesConfig.model_validate({**config.model_dump(), **change})
