"""A plan says beforehand what training then does."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sensorium.errors import SensoriumError
from sensorium.training.describe import Gpu, describe
from sensorium.training.flops import StepCost
from sensorium.training.journal import read_journal
from sensorium.training.loop import train
from sensorium.training.preview import preview
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


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Six pictures with a question each, two sentences without, and the file that names them."""
    from PIL import Image as Picture

    rows: list[dict[str, Any]] = []
    for i in range(6):
        Picture.new("RGB", (30 + i, 40), (10 * i, 0, 0)).save(tmp_path / f"{i}.png")
        said = [{"from": "human", "value": "<image>\nHow red?"}, {"from": "gpt", "value": f"{i} of 16. " * (i + 1)}]
        rows.append({"id": str(i), "image": f"{i}.png", "conversations": said})
    said = [{"from": "human", "value": "Are you helpful?"}, {"from": "gpt", "value": "You are."}]
    rows += [{"id": f"t{i}", "conversations": said} for i in range(2)]
    (tmp_path / "mix.json").write_text(json.dumps(rows))
    (tmp_path / "data.yaml").write_text("sources: [{format: llava, path: mix.json}]\n")
    return tmp_path / "data.yaml"


@pytest.fixture
def tree(tiny_recipe_tree, sources, own_cache) -> dict[str, Any]:
    """One stage over sources; what trains, and so what each part costs, is for a test to say."""
    stage = tiny_recipe_tree["stages"][1] | {"batch": {"max_tokens": 256}}
    del stage["samples"]
    return tiny_recipe_tree | {"data": str(sources), "stages": [stage]}


@pytest.mark.parametrize("modules", [["connector"], ["vision", "connector", "tokens", "language"]])
def test_all_parts_of_the_model_are_counted_as_its_batches_then_cost(tree, modules):
    tree["stages"][0]["learning_rates"] = dict.fromkeys(modules, 1e-3)
    recipe = Recipe.model_validate(tree)
    [plan] = preview(recipe, 1, quiet)
    model = recipe.model.build()
    stage = prepare_stage(model, recipe, 0, quiet)
    cost = StepCost.of(model)
    batches = [stage.objective.batch(pack.tolist()) for pack in stage.plan.packs]
    assert sum(plan.operations.values()) == pytest.approx(sum(cost.flops(batch) for batch in batches), rel=1e-9)
    assert plan.operations["head"] == cost.head * sum(batch.n_supervised for batch in batches) > 0
    assert plan.operations["connector"] == cost.connector * 6 > 0 and plan.cache == 0
    [again] = preview(Recipe.model_validate(tree | {"activation_checkpointing": True}), 1, quiet)
    assert again.operations["language"] == pytest.approx(4 / 3 * plan.operations["language"])


def test_pictures_go_through_a_frozen_stem_once_and_are_kept(tiny_recipe_tree, own_cache):
    """The warm-up and the alignment look at the same 18 + 6 pictures of 16 patches and 32 channels, in 16 bits."""
    warm, align, _ = preview(Recipe.model_validate(tiny_recipe_tree), 1, quiet)
    assert warm.operations["features"] > 0 and "features" not in align.operations
    assert warm.cache == align.cache == 24 * 16 * 32 * 2
    assert align.operations["vision"] > 0 and "language" not in warm.operations


def test_validation_costs_a_forward_pass_of_its_samples_each_time(tree, sources):
    """Validated after every third step of the stage and at its end, on five of the eight samples."""
    tree |= {"validation": str(sources), "validation_samples": 5, "validate_every": 3}
    tree["stages"][0] |= {"batch": {"max_tokens": 256, "max_samples": 1},
                          "learning_rates": dict.fromkeys(["vision", "connector", "tokens", "language"], 1e-3)}
    recipe = Recipe.model_validate(tree)
    [plan] = preview(recipe, 1, quiet)
    assert plan.steps == 8 and plan.validations == (3, 5)
    model = recipe.model.build()
    stage = prepare_stage(model, recipe, 0, quiet)
    assert stage.validation is not None and stage.validation_plan is not None
    cost = StepCost.of(model.requires_grad_(False))
    batches = [stage.validation.batch(pack.tolist()) for pack in stage.validation_plan.packs]
    assert plan.operations["validation"] == pytest.approx(3 * sum(cost.flops(batch) for batch in batches), rel=1e-9)
    assert any("checks   3 times, on 5 samples" in line for line in describe([plan], recipe, 1))


def test_a_plan_for_a_named_gpu_says_whether_it_fits_and_how_long_it_takes(tree):
    """H100: 80 GB and 989e12 operations a second; a step is reckoned to reach three tenths of them."""
    [plan] = preview(Recipe.model_validate(tree), 1, quiet)
    plan = replace(plan, operations={"language": 989e12 * 0.3 * 3600 * 16}, memory={"weights": 70e9})
    said = "\n".join(describe([plan], Recipe.model_validate(tree), 8, Gpu.named("H100")))
    assert "8 x H100 (80 GB)" in said and "about 2 h 00 min, 16.0 device hours" in said
    assert "fits     GPUs of 80 GB and more" in said and "hardly" not in said  # 72 of them are for the training
    small = "\n".join(describe([plan], Recipe.model_validate(tree), 8, Gpu.named("A100 40GB")))
    assert "more than 90% of A100 40GB's 40 GB: it will hardly fit" in small
    none = "\n".join(describe([replace(plan, memory={"weights": 200e9})], Recipe.model_validate(tree), 1))
    assert "fits     no GPU that is sold; `parallel: fsdp`" in none


@pytest.mark.parametrize(("name", "message"), [
    ("H10", "nobody told us what this GPU can do.*H100"), ("A10 Laptop", "what this GPU can do"),
    ("GB200", "how much memory it has.*--gpu 'GB200 80GB'"),
])
def test_a_gpu_that_nobody_knows_is_refused(name, message):
    with pytest.raises(SensoriumError, match=message):
        Gpu.named(name)


def test_a_language_model_that_cannot_be_packed_is_told_of_with_its_fill(tree, tiny_parts, tmp_path):
    shutil.copytree(tiny_parts["language"], tmp_path / "sliding")
    config = json.loads((tmp_path / "sliding" / "config.json").read_text())
    config |= {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 16}
    (tmp_path / "sliding" / "config.json").write_text(json.dumps(config))
    tree["model"] = tree["model"] | {"language": {"part": str(tmp_path / "sliding")}}
    recipe = Recipe.model_validate(tree)
    [plan] = preview(recipe, 1, quiet)
    stage = prepare_stage(recipe.model.build(), recipe, 0, quiet)
    masks = [stage.objective.batch(pack.tolist()).attention_mask for pack in stage.plan.packs]
    fill = np.sum([mask.sum() for mask in masks]) / sum(mask.numel() for mask in masks)
    note = f"not packed but padded, since some layers look through a sliding window; {fill:.1%} of what is computed"
    assert any(note in line for line in describe([plan], recipe, 1)) and fill < 0.9
    said: list[str] = []
    train(recipe, tmp_path / "run", say=said.append)
    assert sum(note in line for line in said) == 1
    [begins] = [row for row in read_journal(tmp_path / "run" / "journal.jsonl") if row["step"] == 0]
    assert begins["padded_fill"] == pytest.approx(float(fill))


def _break(tree: dict[str, Any], what: str, folder: Path) -> None:
    """Ask for something that cannot be."""
    [stage] = tree["stages"]
    if what == "a tracker that is not installed":
        tree["trackers"] = ["wandb"]
    elif what == "validation data that is not there":
        (folder / "val.yaml").write_text("sources: [{format: llava, path: none.json}]\n")
        tree["validation"] = str(folder / "val.yaml")
    elif what == "validation rows that are bad":
        (folder / "val.csv").write_text("picture,words\n0.png,red\n")
        (folder / "val.yaml").write_text("sources: [{format: csv, path: val.csv}]\n")
        tree["validation"] = str(folder / "val.yaml")
    elif what == "a column that is missing":
        (folder / "captions.csv").write_text("picture,words\n0.png,red\n")
        (folder / "data.yaml").write_text("sources: [{format: csv, path: captions.csv}]\n")
    elif what == "nothing that trains":
        stage["freeze"] = ["."]
    elif what == "more blocks than there are":
        stage["last_blocks"] = {"language": 3}
        stage["learning_rates"] = {"language": 1e-3}
    elif what == "a warm-up on sources":
        stage["objective"] = "words"
    elif what == "tasks of sources":
        stage["tasks"] = {"chat": 1}
    elif what == "a sample that is too long":
        stage["batch"] = {"max_tokens": 16}
    elif what == "a part without weights":
        shutil.copytree(tree["model"]["vision"]["part"], folder / "vision")
        (folder / "vision" / "model.safetensors").unlink()
        tree["model"] = tree["model"] | {"vision": tree["model"]["vision"] | {"part": str(folder / "vision")}}
    elif what == "a folder of another run":
        (folder / "run").mkdir()
        other = Recipe.model_validate(tree | {"seed": 99})
        (folder / "run" / "recipe.json").write_text(other.model_dump_json())


CASES = [
    "a tracker that is not installed", "validation data that is not there", "validation rows that are bad",
    "a column that is missing", "nothing that trains", "more blocks than there are", "a warm-up on sources",
    "tasks of sources", "a sample that is too long", "a part without weights", "a folder of another run",
]  # fmt: skip


def _both_refuse(recipe: Recipe, run: Path) -> tuple[str, str]:
    with pytest.raises(SensoriumError) as planned:
        preview(recipe, 1, quiet, run)
    with pytest.raises(SensoriumError) as trained:
        train(recipe, run, say=lambda line: None)
    return str(planned.value), str(trained.value)


@pytest.mark.parametrize("what", CASES)
def test_the_plan_refuses_what_training_would_refuse(tree, tmp_path, monkeypatch, what):
    monkeypatch.setitem(sys.modules, "wandb", None)
    _break(tree, what, tmp_path)
    planned, trained = _both_refuse(Recipe.model_validate(tree), tmp_path / "run")
    assert planned == trained or (what == "a part without weights" and "vision: has no weights" in planned)


@pytest.mark.parametrize("what", ["connector", "picture", "split"])
def test_the_plan_of_a_warm_up_refuses_what_training_would_refuse(
    tiny_recipe_tree, tiny_data, tmp_path, own_cache, what
):
    shutil.copytree(tiny_data, tmp_path / "data")
    tree = tiny_recipe_tree | {"data": str(tmp_path / "data"), "stages": tiny_recipe_tree["stages"][:1]}
    if what == "connector":
        tree["model"] = tree["model"] | {"connector": {"kind": "resampler", "n_queries": 4, "n_heads": 2}}
    elif what == "picture":
        (tmp_path / "data" / "train" / "images" / "003.png").unlink()
    else:
        info = json.loads((tmp_path / "data" / "dataset.json").read_text())
        del info["splits"]["val"]
        (tmp_path / "data" / "dataset.json").write_text(json.dumps(info))
    planned, trained = _both_refuse(Recipe.model_validate(tree), tmp_path / "run")
    assert planned == trained or (what == "picture" and "003.png: is not there" in planned and "003.png" in trained)
