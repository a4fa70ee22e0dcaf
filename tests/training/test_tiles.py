"""Pictures in tiles, trained on: every view is paid for, kept features are those of the tiles, and what is too long is
cut into fewer of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from sensorium.errors import SensoriumError
from sensorium.media.sight import Sight, ViewsConfig
from sensorium.model.multimodal import ModelConfig
from sensorium.rendering import Renderer
from sensorium.training.data import room_of
from sensorium.training.features import build_feature_cache
from sensorium.training.journal import read_journal
from sensorium.training.loop import train
from sensorium.training.measure import render_sample, visual_tokens
from sensorium.training.packing import PackConfig, Room
from sensorium.training.preview import preview
from sensorium.training.recipe import Recipe
from sensorium.training.replies import ReplyObjective
from sensorium.training.samples import SourceSamples

SHAPES = [(224, 56), (56, 168), (56, 56), (300, 200)]  # in squares of 56: 4 x 1, 1 x 3, 1 x 1, 6 x 4
TILES = {"scheme": "internvl", "max_tiles": 12}


def _quietly(what: str, done: int, total: int) -> None:
    pass


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Pictures of four shapes, each with one question, as LLaVA's JSON."""
    rows = []
    for number, shape in enumerate(SHAPES):
        noise = np.random.RandomState(number).randint(0, 256, (shape[1], shape[0], 3), dtype=np.uint8)
        Picture.fromarray(noise).save(tmp_path / f"{number}.png")
        rows.append({"id": str(number), "image": f"{number}.png", "conversations": [
            {"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": f"Noise {number}."},
        ]})  # fmt: skip
    (tmp_path / "mix.json").write_text(json.dumps(rows))
    path = tmp_path / "sources.yaml"
    path.write_text(json.dumps({"sources": [{"format": "llava", "path": str(tmp_path / "mix.json"),
                                             "images": str(tmp_path)}]}))  # fmt: skip
    return path


@pytest.fixture
def samples(sources) -> SourceSamples:
    from sensorium.data.sources import load_sources

    return SourceSamples(load_sources(sources), None, 0)


@pytest.fixture
def model(tiny_model_tree, own_cache):
    torch.manual_seed(3)
    tree = tiny_model_tree | {"views": {"tiles": TILES}}
    return ModelConfig.model_validate(tree).build().eval().requires_grad_(False)


def recipe(tiny_model_tree, sources, **batch) -> Recipe:
    stage = {"name": "align", "objective": "replies", "samples": 8, "batch": {"max_samples": 2, **batch},
             "learning_rates": {"connector": 1e-3}, "optimizer": {"warmup_steps": 1}}  # fmt: skip
    return Recipe.model_validate({
        "name": "tiles", "seed": 1, "data": str(sources), "model": tiny_model_tree | {"views": {"tiles": TILES}},
        "stages": [stage],
    })  # fmt: skip


def test_sizes_are_those_of_the_views_and_batches_hold_as_many(model, samples):
    objective = ReplyObjective(model, samples)
    expected = {(224, 56): 5, (56, 168): 4, (56, 56): 1, (300, 200): 7}  # tiles, and the whole beside several
    found = {}
    for number in range(len(samples)):
        batch = objective.batch([number])
        [slot] = render_sample(Renderer.of(model), samples[number]).slots
        found[slot.views.canvases[0].size] = batch.n_pictures
        assert objective.sizes.visual[number] == 4 * batch.n_pictures
        assert objective.loss(batch).total.isfinite()
    assert sorted(found.values()) == sorted(expected.values())


def test_features_of_tiles_are_kept_and_give_the_same_losses(model, samples):
    pictures = [image for number in range(len(samples)) for talk in samples[number]
                for image in talk.conversation.images]  # fmt: skip
    cache = build_feature_cache(model, pictures)
    plain, kept = ReplyObjective(model, samples), ReplyObjective(model, samples, cache)
    for numbers in ([0], [1, 2], [0, 1, 2, 3]):
        with torch.no_grad():
            expected = plain.loss(plain.batch(numbers)).total
            torch.testing.assert_close(kept.loss(kept.batch(numbers)).total, expected, atol=2e-2, rtol=2e-3)


def test_what_is_too_long_is_cut_into_fewer_tiles_and_nothing_else_is(model, samples):
    room = Room(58, None)
    renderer = Renderer.of(model)
    whole = [render_sample(renderer, samples[number]) for number in range(len(samples))]
    cut = [render_sample(renderer, samples[number], room) for number in range(len(samples))]
    assert any(len(one) > 58 for one in whole) and all(len(one) <= 58 for one in cut)
    for number, (before, after) in enumerate(zip(whole, cut, strict=True)):
        text = len(before) - visual_tokens(before)
        assert len(after) - visual_tokens(after) == text  # words are never cut
        if len(before) <= 58:
            assert after == before
        else:  # the most that fits: a tile more would not
            more = [render_sample(rung, samples[number]) for rung in ladder(renderer)]
            fitting = [visual_tokens(one) for one in more if len(one) <= 58]
            assert visual_tokens(after) == max(fitting)


def ladder(renderer: Renderer) -> list[Renderer]:
    """The renderer, and all with fewer tiles."""
    rungs = [renderer]
    while (fewer := rungs[-1].fewer()) is not None:
        rungs.append(fewer)
    return rungs


def test_measures_batches_and_plan_agree_on_what_was_cut(model, samples):
    room = Room(58, None)
    objective = ReplyObjective(model, samples, room=room)
    assert objective.sizes.whole.max() <= 58 < ReplyObjective(model, samples).sizes.whole.max()
    for number in range(len(samples)):
        batch = objective.batch([number])
        assert int(batch.attention_mask.sum()) == objective.sizes.whole[number]
        assert 4 * batch.n_pictures == objective.sizes.visual[number]
        assert objective.loss(batch).total.isfinite()


def test_a_recipe_cuts_drops_or_stops_as_it_says(tiny_model_tree, sources, tmp_path, own_cache):
    with pytest.raises(SensoriumError, match="fewer_tiles"):
        preview(recipe(tiny_model_tree, sources, max_tokens=58), 1, _quietly)
    [stage] = preview(recipe(tiny_model_tree, sources, max_tokens=58, too_long="fewer_tiles"), 1, _quietly)
    assert stage.longest[0] <= 58 and stage.sources[0].dropped == {}
    model = train(recipe(tiny_model_tree, sources, max_tokens=58, too_long="fewer_tiles"), tmp_path / "run", say=print)
    assert model is not None and (model / "config.json").is_file()


def test_fewer_tiles_and_kept_features_do_not_go_together(tiny_model_tree, sources, own_cache):
    wanted = recipe(tiny_model_tree, sources, max_tokens=58, too_long="fewer_tiles")
    [stage] = wanted.stages
    model = wanted.model.build()
    with pytest.raises(SensoriumError, match="kept of all tiles"):
        room_of(model, stage.model_copy(update={"cache_features": True}))
    assert room_of(model, stage) == Room(58, None)
    assert PackConfig(too_long="drop").room(None) is None


def test_the_word_warm_up_learns_tiles_and_the_plan_knows_them(tiny_recipe_tree, own_cache, tmp_path):
    """Pictures of 56 pixels are four tiles of 28 and the whole, one token each."""
    tiny_recipe_tree["model"]["views"] = {"tiles": {"scheme": "internvl", "min_tiles": 4, "max_tiles": 4}}
    tiny_recipe_tree["model"]["vision"]["image_size"] = 28
    wanted = Recipe.model_validate(tiny_recipe_tree | {"stages": tiny_recipe_tree["stages"][:1]})
    [stage] = preview(wanted, 1, _quietly)
    assert stage.longest[0] == 5 and stage.tokens_per_step == 4 * 5
    train(wanted, tmp_path / "run", say=lambda line: None)
    rows = [row for row in read_journal(tmp_path / "run" / "journal.jsonl") if "loss" in row]
    assert len(rows) == stage.steps and all((row["samples"], row["tokens"]) == (4, 20) for row in rows)


def test_the_word_warm_up_refuses_pictures_at_their_own_sizes(tiny_recipe_tree, own_cache):
    tiny_recipe_tree["model"]["views"] = {"fit": "native"}
    with pytest.raises(SensoriumError, match="show pictures at their own sizes"):
        preview(Recipe.model_validate(tiny_recipe_tree), 1, _quietly)


@pytest.mark.parametrize("views", [
    ViewsConfig(tiles={"scheme": "internvl", "min_tiles": 4, "max_tiles": 6}), ViewsConfig(tiles={"scheme": "anyres"}),
    ViewsConfig(tiles={"scheme": "nanovlm", "max_side": 224}), ViewsConfig(fit="native"),
])  # fmt: skip
def test_every_scheme_ends_at_its_least(views):
    sight, costs = Sight(views, 56, 14), []
    while sight is not None:
        costs.append(len(sight.views((640, 480)).order))
        sight = sight.fewer()
    assert costs == sorted(costs, reverse=True) and costs[-1] < costs[0]
    assert Sight(ViewsConfig(), 56, 14).fewer() is None
