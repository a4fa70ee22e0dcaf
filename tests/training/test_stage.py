"""A stage made ready: what is rounded and what is not, and data that does not fill it."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch

from sensorium.errors import SensoriumError
from sensorium.training.ranks import ALONE, Ranks
from sensorium.training.recipe import Recipe
from sensorium.training.stage import prepare_stage


def _prepare(tree, number: int = 0) -> None:
    recipe = Recipe.model_validate(tree)
    prepare_stage(recipe.model.build(), recipe, number, lambda *_: None)


def test_the_last_step_takes_what_is_left(tiny_recipe_tree, own_cache):
    """Nine pictures in packs of four are three packs; at two packs a step, one is left for a second step."""
    tiny_recipe_tree["stages"][0] |= {"samples": 9, "accumulate": 2}
    recipe = Recipe.model_validate(tiny_recipe_tree)
    stage = prepare_stage(recipe.model.build(), recipe, 0, lambda *_: None)
    taken = [[len(pack) for pack in stage.packs_of_step(step, ALONE)] for step in range(stage.total_steps)]
    assert [len(step) for step in taken] == [2, 1] and sum(map(sum, taken)) == 9
    of_two = [stage.packs_of_step(1, Ranks(rank, 2)) for rank in (0, 1)]
    assert sorted(len(packs[0]) for packs in of_two)[0] == 0 and [len(packs) for packs in of_two] == [1, 1]


def test_validation_data_without_the_tasks_is_named(tiny_recipe_tree, own_cache, tmp_path, tiny_data):
    tree = tiny_recipe_tree | {"data": str(shutil.copytree(tiny_data, tmp_path / "data"))}
    (tmp_path / "data" / "val" / "conversations.jsonl").write_text("")
    with pytest.raises(SensoriumError, match=r"split 'val': has no conversation of caption"):
        _prepare(tree, 1)


def test_a_language_model_trained_in_full_later_is_not_rounded_before(tiny_recipe_tree, own_cache):
    """In bfloat16 a frozen language model is kept so, but what a later stage trains must start unrounded."""
    tree = tiny_recipe_tree | {"precision": "bfloat16"}
    tree["stages"] = [tree["stages"][0], tree["stages"][1] | {"learning_rates": {"language": 1e-3}}]
    recipe = Recipe.model_validate(tree)
    model = recipe.model.build()
    before = {name: p.detach().clone() for name, p in model.language.named_parameters()}
    for number in (0, 1):
        prepare_stage(model, recipe, number, lambda *_: None)
        assert all(torch.equal(p, before[name]) and p.dtype == torch.float32
                   for name, p in model.language.named_parameters())
    tree["stages"][1] |= {"lora": {"rank": 2, "alpha": 4}}  # adapters train: the model below them may be rounded
    prepare_stage(model, Recipe.model_validate(tree), 0, lambda *_: None)
    assert {p.dtype for p in model.language.parameters()} == {torch.bfloat16}


def _gradients(tree: dict[str, Any], number: int, ran: list[str] | None = None) -> dict[str, torch.Tensor]:
    """Of the first batch of a stage, by name. ran: gets the name of each block's feed-forward as often as it runs."""
    recipe = Recipe.model_validate(tree)
    torch.manual_seed(1)
    model = recipe.model.build()
    stage = prepare_stage(model, recipe, number, lambda *_: None)
    model.train()
    for name, module in model.named_modules():
        if ran is not None and name.endswith(".mlp"):
            module.register_forward_pre_hook(lambda *_, name=name: ran.append(name))
    stage.objective.loss(stage.objective.batch(stage.plan.packs[0].tolist())).total.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture
def whole_tree(tiny_recipe_tree) -> dict[str, Any]:
    """The last stage trains the whole vision tower and the language model in full, without dropout."""
    tree = tiny_recipe_tree
    tree["model"] = tree["model"] | {"vision": tree["model"]["vision"] | {"layer": 3, "tail_blocks": 0}}
    stage = tree["stages"][2]
    del stage["lora"]
    return tree | {"stages": [tree["stages"][1], stage]}


def test_activation_checkpointing_changes_memory_and_not_gradients(whole_tree, own_cache):
    once, twice = list[str](), list[str]()
    plain = _gradients(whole_tree, 1, once)
    again = _gradients(whole_tree | {"activation_checkpointing": True}, 1, twice)
    assert len(set(once)) == len(once) == 2 + 3  # the blocks of both towers
    assert sorted(twice) == sorted(once * 2) and plain.keys() == again.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_compiled_layers_have_the_same_gradients(whole_tree, own_cache):
    plain = _gradients(whole_tree, 1)
    compiled = _gradients(whole_tree | {"compile": True}, 1)
    for name, gradient in plain.items():
        torch.testing.assert_close(compiled[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_a_stage_may_sharpen_the_view(tiny_recipe_tree, own_cache):
    """56 pixels are 4x4 patches and 4 tokens; 112 are 8x8 and 16, and the finished model keeps that size."""
    tree = tiny_recipe_tree
    tree["stages"][1] |= {"image_size": 112, "batch": {"max_tokens": 512}}
    recipe = Recipe.model_validate(tree)
    model = recipe.model.build()
    before = prepare_stage(model, recipe, 0, lambda *_: None)
    assert model.tokens_per_picture == 4 and before.objective.sizes.visual.max() == 4
    stage = prepare_stage(model, recipe, 1, lambda *_: None)
    assert model.tokens_per_picture == 16 and stage.objective.sizes.visual.max() == 16
    assert recipe.model_at(2).vision.image_size == model.config.vision.image_size == 112
    loss = stage.objective.loss(stage.objective.batch(stage.plan.packs[0].tolist()))
    assert torch.isfinite(loss.total)
