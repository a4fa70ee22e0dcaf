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
from sensorium.training.checkpoint import checkpoints
from sensorium.training.journal import read_journal
from sensorium.training.loop import train
from sensorium.training.ranks import ALONE, Ranks
from sensorium.training.recipe import Recipe
from sensorium.training.stage import prepare_stage
from sensorium.training.state import find_latest, restore, save


@pytest.fixture
def tree(tiny_recipe_tree, own_cache) -> dict[str, Any]:
    """All three stages without dropout, four packs a step; some steps of the last one have pictures, some have none."""
    stages = tiny_recipe_tree["stages"]
    for stage in stages:
        stage |= {"accumulate": 4, "batch": {"max_tokens": 128, "max_samples": 2}}
        # AdamW's sign of a tiny gradient is not to decide; its decay is to be seen where it acts and should not.
        stage["optimizer"] = {"warmup_steps": 2, "eps": 1e-3, "weight_decay": 5.0}
    stages[2] |= {"lora": {"rank": 2, "alpha": 4}, "tasks": {"chat": 0.2, "text": 0.8}, "samples": 20}
    stages[2]["batch"]["max_samples"] = 1
    return tiny_recipe_tree


def same_gradients(one: Path, other: Path) -> None:
    """Of every step, parameter by parameter; what nothing passed through has none."""
    files = sorted(one.glob("gradients-*.pt"))
    assert len(files) == len(list(other.glob("gradients-*.pt"))) >= 9
    moved, seeing = set(), []
    for file in files:
        gradients, others = (torch.load(path, weights_only=True) for path in (file, other / file.name))
        assert gradients.keys() == others.keys(), file.name
        for name, mine in gradients.items():
            torch.testing.assert_close(mine, others[name], atol=1e-6, rtol=1e-5, msg=f"{file.name} {name}")
            moved |= {name} if mine.abs().max() > 1e-4 else set()
        seeing.append(any(name.startswith("connector") for name in gradients))
    assert {name.split(".")[0] for name in moved} == {"vision", "connector", "added_embeddings", "language"}
    assert seeing.count(False) >= 2 and seeing[-4:].count(True) >= 1  # steps of text alone, and others after the first


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


@pytest.mark.parametrize("parts", [
    [("ddp", 2), ("ddp", 1)],
    [("fsdp", 2), ("fsdp", 4)],
    [("fsdp", 1), ("fsdp", 2), ("ddp", 2), ("fsdp", 2), ("ddp", 1)],
], ids=lambda parts: " ".join(f"{mode}-{size}" for mode, size in parts))  # fmt: skip
def test_a_run_goes_on_with_other_processes(tree, tmp_path, processes, parts):
    """Interrupted at every second step, and gone on with by others, it ends as it does in one piece."""
    train(Recipe.model_validate(tree), tmp_path / "alone", say=lambda line: None)
    for mode, size in parts[:-1]:
        assert processes(tree | {"parallel": mode}, tmp_path / "run", size, stop=2) == 130
        kind = ".slices" if mode == "fsdp" and size > 1 else ".pt"
        assert checkpoints(tmp_path / "run" / "checkpoints")[-1].suffix == kind
    assert not (tmp_path / "run" / "model").exists()
    mode, size = parts[-1]
    assert processes(tree | {"parallel": mode}, tmp_path / "run", size) == 0
    same(tmp_path / "alone", tmp_path / "run")


@pytest.fixture
def deep(tree, tmp_path, tiny_parts) -> dict[str, Any]:
    """The tree's last two stages, two steps each, over a language model of ten layers, most of the whole."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig.from_pretrained(tiny_parts["language"], num_hidden_layers=10)
    torch.manual_seed(2)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "deep")
    AutoTokenizer.from_pretrained(tiny_parts["language"]).save_pretrained(tmp_path / "deep")
    tree["model"]["language"]["part"] = str(tmp_path / "deep")
    tree["stages"] = [stage | {"samples": 8, "batch": {"max_tokens": 256, "max_samples": 2}, "accumulate": 2,
                               "tasks": {"caption": 1}} for stage in tree["stages"][1:]]
    return tree | {"parallel": "fsdp", "validate_every": 100, "validation_samples": 2}


@pytest.mark.parametrize("trained", ["adapters", "in full"])
def test_no_process_of_slices_ever_holds_the_whole_model(deep, tmp_path, processes, trained):
    """And yet each begins with what the plain model begins with, bit for bit; so does the stage after."""
    if trained == "in full":
        del deep["stages"][1]["lora"]
        deep["stages"][0]["learning_rates"]["language"] = 1e-3
    recipe = Recipe.model_validate(deep)
    torch.manual_seed(deep["seed"])
    expected = dict(recipe.model.build().named_parameters())
    count = sum(p.numel() for p in expected.values())
    assert processes(deep, tmp_path / "run", watched=True) == 0
    found = torch.load(tmp_path / "run" / "weights.pt", weights_only=True)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    for rank in (0, 1):
        held = json.loads((tmp_path / "run" / f"held-{rank}.json").read_text())
        assert count / 2 < max(held) < 0.85 * count, (held, count)
    train(recipe, tmp_path / "alone", say=lambda line: None)
    same(tmp_path / "alone", tmp_path / "run")


def test_slices_made_whole_and_sliced_again_are_the_same_numbers(tree, tmp_path, processes, own_cache):
    """Weights and moments: a run that goes on from either ends bit for bit the same."""
    tree["parallel"] = "fsdp"
    for name in ("sliced", "whole"):
        assert processes(tree, tmp_path / name, stop=8) == 130
    folder, recipe = tmp_path / "whole" / "checkpoints", Recipe.model_validate(tree)
    saved = find_latest(folder, ALONE)
    model = recipe.model.build()
    for number in range(saved["stage"] + 1):
        stage = prepare_stage(model, recipe, number, lambda *_: None)
    modules = ["connector", "language", "tokens", "vision"]
    restore(model, stage, saved, modules)
    assert any(state["step"] > 0 and state["exp_avg_sq"].any() for state in stage.optimizer.state.values())
    for path in checkpoints(folder):
        path.rename(path.with_name(f"away-{path.name}"))
    save(folder, model, stage, saved["stage_step"], saved["step"], modules)
    assert [path.suffix for path in checkpoints(folder)] == [".pt"]
    for name in ("sliced", "whole"):
        assert processes(tree, tmp_path / name) == 0
    ends = [(tmp_path / name / "model" / "trained.safetensors").read_bytes() for name in ("sliced", "whole")]
    assert ends[0] == ends[1]


def test_torchrun_starts_it(tree, tmp_path):
    import yaml

    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree | {"stages": tree["stages"][:1]}))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "sensorium",
               "train", "recipe.yaml", "--out", "run", "--plain"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.strip() == "The model is in run/model"  # the first process speaks for both


def test_packs_that_cannot_be_shared_evenly_are_refused(tree, own_cache):
    recipe = Recipe.model_validate(tree)
    with pytest.raises(SensoriumError, match="accumulate: 4 packs a step cannot be shared evenly by 3 processes"):
        prepare_stage(recipe.model.build(), recipe, 0, lambda *_: None, Ranks(0, 3))


def test_one_process_adds_up_nothing():
    assert ALONE.total([1.5, 2]) == [1.5, 2] and ALONE.gather("x") == ["x"] and ALONE.is_first


@pytest.mark.parametrize("modules", [["connector"], ["vision", "connector"]])
def test_text_alone_moves_nothing_where_only_what_sees_trains(tree, tmp_path, processes, modules):
    """Packs of text, of pictures, and a picture that turns out to be damaged: in one process, and in two."""
    from PIL import Image as PILImage

    rows: list[dict[str, Any]] = []
    for i in range(5):
        PILImage.new("RGB", (40, 30), (40 * i, 0, 0)).save(tmp_path / f"{i}.png")
        said = [{"from": "human", "value": "<image>\nHow red?"}, {"from": "gpt", "value": f"{i} of 16."}]
        rows.append({"id": str(i), "image": f"{i}.png", "conversations": said})
    damaged = tmp_path / "4.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    said = [{"from": "human", "value": "Are you helpful?"}, {"from": "gpt", "value": "I am."}]
    rows += [{"id": f"t{i}", "conversations": said} for i in range(14)]
    (tmp_path / "mix.json").write_text(json.dumps(rows))
    (tmp_path / "data.yaml").write_text("sources: [{format: llava, path: mix.json}]\nmax_bad_rows: 0.2\n")
    stage = tree["stages"][1] | {"learning_rates": dict.fromkeys(modules, 1e-3), "accumulate": 2,
                                 "batch": {"max_tokens": 128, "max_samples": 1}}
    del stage["samples"]
    after = stage | {"name": "after", "learning_rates": {"connector": 1e-3, "tokens": 1e-3}}
    tree |= {"data": str(tmp_path / "data.yaml"), "stages": [stage, after]}
    assert processes(tree, tmp_path / "alone", size=1) == 0
    assert processes(tree, tmp_path / "two", size=2) == 0
    same(tmp_path / "alone", tmp_path / "two")
    assert sum(row.get("lost", 0) for row in read_journal(tmp_path / "two" / "journal.jsonl")) == 2
    moved = []
    for file in sorted((tmp_path / "alone").glob("gradients-*.pt")):
        one, two = (torch.load(tmp_path / run / file.name, weights_only=True) for run in ("alone", "two"))
        torch.testing.assert_close(two, one, atol=1e-6, rtol=1e-5, msg=file.name)
        assert two.keys() == one.keys()
        moved.append(bool(one))
    assert len(moved) == 20 and 3 <= moved.count(False) <= 8  # of the first stage; in the second the tokens move too
