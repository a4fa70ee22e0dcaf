"""A run's folder is written by one training at a time."""

from __future__ import annotations

import pytest

from sensorium.errors import SensoriumError
from sensorium.training import loop
from sensorium.training.journal import read_journal
from sensorium.training.loop import train
from sensorium.training.recipe import Recipe

pytest.importorskip("fcntl")


def test_a_second_training_of_a_run_is_refused(tiny_recipe_tree, own_cache, tmp_path, monkeypatch):
    recipe = Recipe.model_validate(tiny_recipe_tree | {"stages": tiny_recipe_tree["stages"][:1]})
    real, refused = loop.train_step, []

    def step(*args):
        if not refused:
            with pytest.raises(SensoriumError, match="another training is writing this run"):
                train(recipe, tmp_path / "run", say=lambda line: None)
            refused.append(1)
        return real(*args)

    monkeypatch.setattr(loop, "train_step", step)
    assert train(recipe, tmp_path / "run", say=lambda line: None) == tmp_path / "run" / "model"
    steps = [row["step"] for row in read_journal(tmp_path / "run" / "journal.jsonl") if "loss" in row]
    assert refused and steps == [1, 2, 3, 4, 5, 6]
