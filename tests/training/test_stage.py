"""A stage made ready: what is rounded and what is not, and data that does not fill it."""

from __future__ import annotations

import shutil

import pytest
import torch

from sensorium.errors import SensoriumError
from sensorium.training.recipe import Recipe
from sensorium.training.stage import prepare_stage


def _prepare(tree, number: int = 0) -> None:
    recipe = Recipe.model_validate(tree)
    prepare_stage(recipe.model.build(), recipe, number, lambda *_: None)


def test_a_stage_with_too_little_data_is_named(tiny_recipe_tree, own_cache):
    tiny_recipe_tree["stages"][0] |= {"samples": 4, "accumulate": 2}
    with pytest.raises(SensoriumError, match="stage warm: has less data than one step takes"):
        _prepare(tiny_recipe_tree)


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
