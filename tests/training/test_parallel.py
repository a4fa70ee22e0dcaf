"""Several processes take the steps that one takes: the same gradients, checkpoints that any number can read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sensorium.errors import SensoriumError
from sensorium.training.journal import read_journal
from sensorium.training.loop import train
from sensorium.training.ranks import ALONE, Ranks
from sensorium.training.recipe import Recipe
from sensorium.training.stage import prepare_stage
from sensorium.training.state import find_latest

@pytest.fixture
def tree(tiny_recipe_tree, own_cache) -> dict[str, Any]:
    """All three stages without dropout, four packs a step; the first conversations are of text alone."""
    stages = tiny_recipe_tree["stages"]
    for stage in stages:
        stage |= {"accumulate": 4, "batch": {"max_tokens": 128, "max_samples": 2}}
        stage["optimizer"] = {"warmup_steps": 2, "eps": 1e-3}  # AdamW's sign of a tiny gradient is not to decide
    stages[2]["lora"] = {"rank": 2, "alpha": 4}
    stages[2]["tasks"] = {"chat": 0.3, "text": 0.7}
    return tiny_recipe_tree


def same_gradients(one: Path, other: Path) -> None:
    """Of every step, parameter by parameter; what nothing passed through is zero."""
    files = sorted(one.glob("gradients-*.pt"))
    assert len(files) == len(list(other.glob("gradients-*.pt"))) >= 9
    moved = set()
    for file in files:
        gradients, others = (torch.load(path, weights_only=True) for path in (file, other / file.name))
        for name in gradients.keys() | others.keys():
            zero = torch.zeros(())
            mine, theirs = gradients.get(name, zero), others.get(name, zero)
            torch.testing.assert_close(mine, theirs.expand_as(mine), atol=1e-6, rtol=1e-5, msg=f"{file.name} {name}")
            moved |= {name} if mine.abs().max() > 1e-4 else set()
    assert {name.split(".")[0] for name in moved} == {"vision", "connector", "added_embeddings", "language"}


def same(one: Path, other: Path, atol: float = 2e-6) -> None:
    """Weights, losses, gradient norms and validations of two runs."""
    weights, others = (load_file(run / "model" / "trained.safetensors") for run in (one, other))
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():  # saved in bfloat16: what rounds apart is a unit of its last place away
        torch.testing.assert_close(tensor.float(), others[name].float(), atol=atol, rtol=1e-2, msg=name)
    rows, other_rows = (read_journal(run / "journal.jsonl") for run in (one, other))
    assert [(r["stage"], r["step"]) for r in rows] == [(r["stage"], r["step"]) for r in other_rows]
    for row, other_row in zip(rows, other_rows, strict=True):
        for key in ("loss", "gradient_norm", "samples", "tokens"):
            if key in row:
                assert row[key] == pytest.approx(other_row[key], rel=1e-5, abs=1e-6), (row, other_row)
        for name, value in row.get("validation", {}).items():
            assert value == pytest.approx(other_row["validation"][name], rel=1e-4, abs=1e-6), (row, other_row)


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_two_processes_take_the_steps_of_one(tree, tmp_path, processes, mode):
    """Pictures, text alone and both on different processes; four packs a step are two for each of them."""
    assert processes(tree, tmp_path / "alone", size=1) == 0
    assert processes(tree | {"parallel": mode}, tmp_path / "two") == 0
    same_gradients(tmp_path / "alone", tmp_path / "two")
    same(tmp_path / "alone", tmp_path / "two")


@pytest.mark.parametrize(("mode", "sizes"), [("ddp", (2, 1)), ("fsdp", (2, 4))])
def test_a_run_goes_on_with_another_number_of_processes(tree, tmp_path, processes, mode, sizes):
    tree = tree | {"parallel": mode}
    train(Recipe.model_validate(tree), tmp_path / "alone", say=lambda line: None)
    first, second = sizes
    assert processes(tree, tmp_path / "run", first, stop=7) == 130
    assert not (tmp_path / "run" / "model").exists()
    assert processes(tree, tmp_path / "run", second) == 0
    same(tmp_path / "alone", tmp_path / "run")


def test_a_run_goes_on_with_the_kind_of_checkpoint_it_began_with(tmp_path):
    (tmp_path / "step-00000007.slices").mkdir()
    with pytest.raises(SensoriumError, match="holds slices of several processes"):
        find_latest(tmp_path, is_sharded=False)
    (tmp_path / "step-00000007.slices").rmdir()
    (tmp_path / "step-00000007.pt").touch()
    with pytest.raises(SensoriumError, match="holds checkpoints of one process"):
        find_latest(tmp_path, is_sharded=True)


def test_packs_that_cannot_be_shared_evenly_are_refused(tree, own_cache):
    recipe = Recipe.model_validate(tree)
    with pytest.raises(SensoriumError, match="accumulate: 4 packs a step cannot be shared evenly by 3 processes"):
        prepare_stage(recipe.model.build(), recipe, 0, lambda *_: None, Ranks(0, 3))


def test_one_process_adds_up_nothing():
    assert ALONE.total([1.5, 2]) == [1.5, 2] and ALONE.gather("x") == ["x"] and ALONE.is_first
