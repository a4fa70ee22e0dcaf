"""A stage trains on films: their frames are pictures, and the loss is on the answers alone."""

from __future__ import annotations

import pytest

from sensorium.conversation import Image
from sensorium.data.dataset import Dataset
from sensorium.data.films.build import FilmsConfig, build_films
from sensorium.training.journal import read_journal
from sensorium.training.loop import train
from sensorium.training.recipe import Recipe
from sensorium.training.samples import SceneSamples


@pytest.fixture(scope="module")
def built(catalogue, tmp_path_factory):
    return build_films(FilmsConfig(
        catalogue=catalogue.root, out=tmp_path_factory.mktemp("trained") / "films", size=(64, 48), fps=4,
        sizes={"train": 4, "val": 2}, conversations_per_clip=1, processes=1,
    ))  # fmt: skip


def test_a_sample_shows_the_frames_of_its_film_with_their_times(built):
    samples = SceneSamples.of(Dataset(built), "train", {"video": 1}, None, 0)
    for number in range(len(samples)):
        [talk] = samples[number]
        parts = talk.conversation.messages[0].parts
        assert sum(isinstance(part, Image) for part in parts) == 8
        assert "0:0" in talk.conversation.messages[0].text


def test_a_stage_trains_on_films(built, tiny_recipe_tree, own_cache, tmp_path):
    stage = tiny_recipe_tree["stages"][1] | {"samples": 4, "tasks": {"video": 1}, "data": str(built)}
    recipe = Recipe.model_validate(tiny_recipe_tree | {"stages": [stage], "validation_samples": 2})
    train(recipe, tmp_path / "run", say=lambda line: None)
    losses = [row["loss"] for row in read_journal(tmp_path / "run" / "journal.jsonl") if "loss" in row]
    assert losses and all(0 < loss < 20 for loss in losses)
