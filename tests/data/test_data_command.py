"""`sensorium data`: what is left out comes from the builder's own defaults, and programs get JSON."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from sensorium.cli.data import app
from sensorium.data.records import SPLITS, TEST_SPLITS
from sensorium.data.scenes.build import SIZES, ScenesConfig, build_scenes


@pytest.fixture
def asked(monkeypatch, catalogue, tmp_path):
    """Runs `data build scenes` with those options; gives back the config that would be built, and what was printed."""
    configs: list[ScenesConfig] = []

    def build(self, progress=None):
        configs.append(self)
        return self.out

    monkeypatch.setattr(ScenesConfig, "build", build)

    def invoke(*options: object) -> tuple[ScenesConfig, str]:
        words = ["build", "scenes", "--out", str(tmp_path / "out"), "--catalogue", str(catalogue.root)]
        found = CliRunner().invoke(app, [*words, *map(str, options)], catch_exceptions=False)
        assert found.exit_code == 0, found.output
        return configs.pop(), found.stdout

    return invoke


def test_left_out_options_are_the_builders_defaults(asked, catalogue, tmp_path):
    config, _ = asked()
    assert config == ScenesConfig(catalogue=catalogue.root, out=tmp_path / "out")


def test_the_defaults_are_those_of_the_embedded_model():
    fields = ScenesConfig.model_fields
    assert (fields["seed"].default, fields["conversations_per_scene"].default) == (1, 5)
    assert fields["sizes"].default is SIZES and tuple(SIZES) == SPLITS
    assert [SIZES[split] for split in TEST_SPLITS] == [450, 450, 450]


def test_given_options_take_their_place(asked):
    options = ("--train", 7, "--val", 2, "--test", 3, "--conversations", 4, "--seed", 0, "--processes", 1, "--json")
    config, printed = asked(*options)
    sizes = {"train": 7, "val": 2, "test_seen": 3, "test_objects": 3, "test_style": 3}
    assert (config.sizes, config.conversations_per_scene, config.seed, config.processes) == (sizes, 4, 0, 1)
    assert json.loads(printed) == {
        "dataset": str(config.out), "sizes": sizes, "conversations_per_scene": 4, "seed": 0,
    }  # fmt: skip


def test_show_tells_programs_what_was_written(config, tmp_path):
    root, sheet = build_scenes(config), tmp_path / "sheets" / "val.png"
    words = ["show", str(root), "--split", "val", "--rows", "9", "--out", str(sheet), "--json"]
    found = CliRunner().invoke(app, words, catch_exceptions=False)
    assert sheet.is_file()
    # Five pictures, four a row: fewer rows than were asked for.
    assert json.loads(found.stdout) == {"sheet": str(sheet), "split": "val", "rows": 2, "pictures": 5}
