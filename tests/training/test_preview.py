"""A plan says beforehand what training then does."""

from __future__ import annotations

import pytest

from sensorium.training.journal import read_journal
from sensorium.training.loop import train
from sensorium.training.preview import describe, preview
from sensorium.training.recipe import Recipe
from sensorium.training.stage import prepare_stage


def quiet(what: str, done: int, total: int) -> None:
    pass


def test_the_plan_is_what_training_then_does(tiny_recipe_tree, own_cache, tmp_path):
    recipe = Recipe.model_validate(tiny_recipe_tree)
    plan = preview(recipe, 1, quiet)
    train(recipe, tmp_path / "run", say=lambda line: None)
    rows = read_journal(tmp_path / "run" / "journal.jsonl")
    for stage in plan:
        steps = [row for row in rows if row["stage"] == stage.name and "loss" in row]
        begins = next(row for row in rows if row["stage"] == stage.name and row["step"] == 0)
        assert (stage.steps, stage.packs, stage.fill) == (len(steps), begins["packs"], begins["fill"])
        assert set(stage.trainable) == set(steps[0]["lr"])
        assert stage.tokens_per_step == pytest.approx(sum(row["tokens"] for row in steps) / len(steps), rel=0.02)


def test_it_counts_what_trains_and_the_memory_of_it(tiny_recipe_tree, own_cache):
    recipe = Recipe.model_validate(tiny_recipe_tree | {"precision": "bfloat16"})
    plan = preview(recipe, 1, quiet)[2]
    model = recipe.model.build()
    for number in range(3):
        stage = prepare_stage(model, recipe, number, quiet)
    trained = sum(p.numel() for p in stage.parameters)
    assert sum(plan.trainable.values()) == trained and plan.parameters == sum(p.numel() for p in model.parameters())
    assert plan.memory["weights"] == sum(p.numel() * p.element_size() for p in model.parameters())
    assert plan.memory["gradients and optimizer"] == 12 * trained
    # 256 tokens of width 32 through two layers, 34 bytes each.
    assert plan.memory["activations, about"] == 256 * 32 * 2 * 34


def test_slices_make_a_device_carry_less(tiny_recipe_tree, own_cache):
    tree = tiny_recipe_tree | {"parallel": "fsdp", "activation_checkpointing": True}
    for stage in tree["stages"]:
        stage["accumulate"] = 4
    one, four = (preview(Recipe.model_validate(tree), n, quiet)[1].memory for n in (1, 4))
    assert four["weights"] == one["weights"] / 4
    assert four["activations, about"] == one["activations, about"] == 256 * 32 * (2 * 2 + 34) * 2  # in float32


def test_the_longest_sample_is_named(tiny_recipe_tree, own_cache):
    recipe = Recipe.model_validate(tiny_recipe_tree)
    stage = preview(recipe, 1, quiet)[2]
    lines = list(describe([stage], recipe, 1))
    assert any(f"longest sample {stage.longest[0]} tokens ({stage.longest[1]})" in line for line in lines)
    assert stage.sources[0].samples == 24 and any("tiny train" in line for line in lines)
