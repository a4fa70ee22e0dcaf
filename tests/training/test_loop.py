"""A run ends where it would have ended, whatever interrupts it: Ctrl-C, kill -9, stage boundaries."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sensorium.conversation import Conversation, Image, user
from sensorium.engine import Sampling
from sensorium.engine.torch import TorchEngine
from sensorium.errors import SensoriumError
from sensorium.model.checkpoint import load_model
from sensorium.training import loop
from sensorium.training.checkpoint import load_latest
from sensorium.training.journal import read_journal
from sensorium.training.loop import train
from sensorium.training.recipe import Recipe

N_STEPS = [6, 6, 3]  # of the stages: 24 samples in batches of 4; the last one takes two batches a step


@pytest.fixture
def tree(tiny_recipe_tree, own_cache) -> dict[str, Any]:
    """Three stages of 6, 6 and some 3 steps; the last with adapters, dropout, accumulation and shared rows."""
    tiny_recipe_tree["stages"][2] |= {"accumulate": 2, "together": 2}
    return tiny_recipe_tree


def _train(tree: dict[str, Any], run: Path) -> Path | None:
    return train(Recipe.model_validate(tree), run, say=lambda line: None)


def _same(a: Any, b: Any) -> bool:
    """Bit for bit, through nested dicts and lists."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b


def _end(run: Path) -> dict[str, Any]:
    """Weights, optimizer, random state and place at the end of a run."""
    state = load_latest(run / "checkpoints")
    assert state is not None
    return state


def _steps(run: Path) -> list[tuple[str, int]]:
    return [(row["stage"], row["step"]) for row in read_journal(run / "journal.jsonl") if "loss" in row]


def _losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_journal(run / "journal.jsonl") if "loss" in row]


def _at_step(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], None]) -> None:
    """Do something during the n-th optimizer step from now."""
    real, calls = loop.train_step, []

    def counted(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            act()
        return real(*args)

    monkeypatch.setattr(loop, "train_step", counted)


@pytest.fixture
def whole(tree, tmp_path) -> Path:
    """The same run without interruption."""
    _train(tree, tmp_path / "whole")
    return tmp_path / "whole"


def test_a_run_leaves_a_model_that_answers_a_journal_and_a_plot(tree, whole, tiny_data):
    assert (whole / "losses.png").read_bytes().startswith(b"\x89PNG")
    steps = _steps(whole)
    assert steps[:12] == [("warm", i) for i in range(1, 7)] + [("align", i) for i in range(1, 7)]
    assert steps[12:] == [("instruct", i) for i in range(1, len(steps) - 11)] and len(steps) >= 14
    validations = [(r["stage"], r["step"]) for r in read_journal(whole / "journal.jsonl") if "validation" in r]
    assert validations[:4] == [("warm", 4), ("warm", 6), ("align", 4), ("align", 6)]
    engine = TorchEngine.load(whole / "model")
    picture = Image(str(tiny_data / "val" / "images" / "020.png"))
    assert engine.answer([Conversation((user(picture, "What is it?"),))], Sampling(max_new_tokens=4))[0].n_tokens <= 4
    data = {"name": "tiny", "fingerprint": "tiny"}
    assert engine.card.provenance == {"recipe": "tiny", "seed": 5, "steps": len(steps), "data": data}


def test_only_what_a_stage_names_is_trained(tree, whole):
    torch.manual_seed(5)
    start = dict(Recipe.model_validate(tree).model.build().named_parameters())
    end = dict(load_model(whole / "model").named_parameters())
    moved = {name for name, p in end.items() if name in start and not torch.equal(p, start[name])}
    assert not any(name.startswith(("vision.stem", "language")) for name in moved)
    assert {"connector.linear_1.weight", "added_embeddings", "vision.norm.weight"} < moved
    adapters = [p for name, p in end.items() if "lora_B" in name]
    assert adapters and all(p.abs().sum() > 0 for p in adapters)


@pytest.mark.parametrize("stop", [2, 6, 9, 12, 13], ids=lambda step: f"after step {step}")
def test_an_interrupted_and_resumed_run_equals_the_whole_bit_for_bit(tree, whole, tmp_path, monkeypatch, stop):
    """Within stages and at their ends (steps 6 and 12): weights, optimizer, random state, losses, the model itself."""
    with monkeypatch.context() as patch:
        _at_step(patch, stop, lambda: signal.raise_signal(signal.SIGINT))
        assert _train(tree, tmp_path / "run") is None
    assert len(_steps(tmp_path / "run")) == stop
    assert not (tmp_path / "run" / "model").exists()
    assert _train(tree, tmp_path / "run") == tmp_path / "run" / "model"
    assert _same(_end(tmp_path / "run"), _end(whole))
    assert _steps(tmp_path / "run") == _steps(whole) and _losses(tmp_path / "run") == _losses(whole)
    weights = [(run / "model" / "trained.safetensors").read_bytes() for run in (tmp_path / "run", whole)]
    assert weights[0] == weights[1]


def test_bfloat16_resumes_bit_for_bit_too(tree, tmp_path, monkeypatch):
    tree |= {"precision": "bfloat16"}
    _train(tree, tmp_path / "whole")
    with monkeypatch.context() as patch:
        _at_step(patch, 13, lambda: signal.raise_signal(signal.SIGTERM))
        assert _train(tree, tmp_path / "run") is None
    _train(tree, tmp_path / "run")
    assert _same(_end(tmp_path / "run"), _end(tmp_path / "whole"))


def test_a_killed_run_resumes_to_the_same_end(tree, whole, tmp_path, training_process):
    """kill -9 in the middle of step 8, the last checkpoint after step 7; the journal holds no step twice."""
    often = tree | {"checkpoint_minutes": 0}
    process = training_process(often, tmp_path / "run", kill_at=8)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert _end(tmp_path / "run")["step"] == 7
    _train(often, tmp_path / "run")
    assert _same(_end(tmp_path / "run"), _end(whole)) and _steps(tmp_path / "run") == _steps(whole)


def test_steps_after_the_last_checkpoint_are_done_again_and_recorded_once(tree, whole, tmp_path, monkeypatch):
    """A crash in step 9 of a run that saves only at the ends of stages, and one in step 3, before any checkpoint."""

    def crash() -> None:
        raise RuntimeError("crash")

    for step in (3, 9):
        with monkeypatch.context() as patch:
            _at_step(patch, step, crash)
            with pytest.raises(RuntimeError, match="crash"):
                _train(tree, tmp_path / f"run{step}")
        assert len(_steps(tmp_path / f"run{step}")) == step - 1
        _train(tree, tmp_path / f"run{step}")
        assert _steps(tmp_path / f"run{step}") == _steps(whole)
        assert _same(_end(tmp_path / f"run{step}"), _end(whole))


def test_ctrl_c_saves_and_exits_cleanly(tree, tmp_path, training_process):
    """A real process and a real signal, early in a run that would take long."""
    tree["stages"][0]["samples"] = 40_000
    process = training_process(tree, tmp_path / "run")
    journal = tmp_path / "run" / "journal.jsonl"
    deadline = time.monotonic() + 100
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 5):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "ended None\n") and "Traceback" not in err
    done = _end(tmp_path / "run")["stage_step"]
    assert _steps(tmp_path / "run") == [("warm", i) for i in range(1, done + 1)] and done > 4
    assert not list((tmp_path / "run").rglob("*.part"))


def test_ctrl_c_while_a_stage_is_made_ready_stops_at_once_and_keeps_what_is_ready(tree, tmp_path):
    def tell(what: str, done: int, total: int) -> None:
        if what == "vision features of val":
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            train(Recipe.model_validate(tree), tmp_path / "run", say=lambda line: None, tell=tell)
    finally:
        signal.signal(signal.SIGINT, before)
    assert _train(tree, tmp_path / "run") is not None


def test_validation_does_not_change_what_is_learned(tree, whole, tmp_path):
    _train(tree | {"validate_every": 1}, tmp_path / "run")
    assert _same(_end(tmp_path / "run"), _end(whole))


def test_a_finished_run_is_not_run_again(tree, whole, monkeypatch):
    _at_step(monkeypatch, 1, lambda: pytest.fail("it trained"))
    assert _train(tree, whole) == whole / "model"


def test_a_folder_with_a_run_of_another_recipe_is_refused(tree, whole):
    before = (whole / "recipe.json").read_text()
    with pytest.raises(SensoriumError, match="holds a run of another recipe"):
        _train(tree | {"seed": 6}, whole)
    assert (whole / "recipe.json").read_text() == before


def test_a_run_begun_before_a_setting_existed_goes_on(tree, whole):
    """Its recipe.json lacks the setting, which the recipe leaves at its default."""
    written = json.loads((whole / "recipe.json").read_text())
    del written["checkpoint_minutes"], written["stages"][0]["accumulate"]
    (whole / "recipe.json").write_text(json.dumps(written))
    assert _train(tree | {"checkpoint_minutes": 4.0}, whole) == whole / "model"
    (whole / "recipe.json").write_text('{"name": "damaged"}')
    with pytest.raises(SensoriumError, match="holds a run of another recipe"):
        _train(tree, whole)


def test_data_that_changed_since_the_checkpoint_is_refused(tree, tmp_path, monkeypatch, tiny_data):
    import shutil

    tree |= {"data": str(shutil.copytree(tiny_data, tmp_path / "data"))}
    with monkeypatch.context() as patch:
        _at_step(patch, 8, lambda: signal.raise_signal(signal.SIGINT))
        _train(tree, tmp_path / "run")
    rows = tmp_path / "data" / "train" / "conversations.jsonl"
    rows.write_text(rows.read_text().replace("What is it?", "What is that thing there in the picture?"))
    with pytest.raises(SensoriumError, match="the data, the seed or the batch settings are not those"):
        _train(tree, tmp_path / "run")


def test_missing_data_leaves_no_run_behind(tree, tmp_path):
    with pytest.raises(SensoriumError, match="not a finished dataset folder"):
        _train(tree | {"data": str(tmp_path / "none")}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_fault_in_the_background_stops_the_run(tree, tmp_path, monkeypatch):
    """Batches are made ahead in a thread; what goes wrong there must be raised, not waited for."""
    from sensorium.training.words import WordBatches

    real = WordBatches.__call__

    def faulty(self: WordBatches, indices: Any) -> Any:
        if len(self.rows) == 24 and 7 in indices:
            raise ZeroDivisionError("in the thread")
        return real(self, indices)

    monkeypatch.setattr(WordBatches, "__call__", faulty)
    with pytest.raises(ZeroDivisionError, match="in the thread"):
        _train(tree, tmp_path / "run")


def test_an_encoder_may_train_as_a_whole(tree, tmp_path):
    """Without a tail there is nothing to cache: pictures go through the encoder in every step."""
    tree["model"]["vision"] |= {"layer": 2, "tail_blocks": 0}
    stage = tree["stages"][1] | {"learning_rates": {"vision": 1e-3, "connector": 1e-3}, "samples": 8}
    folder = _train(tree | {"stages": [stage]}, tmp_path / "run")
    torch.manual_seed(5)
    start = dict(Recipe.model_validate(tree | {"stages": [stage]}).model.build().named_parameters())
    end = dict(load_model(folder).named_parameters())
    name = "vision.stem.embeddings.patch_embeddings.projection.weight"
    assert not torch.equal(start[name], end[name])


@pytest.mark.parametrize("spoilt", ["loss", "gradient_norm"])
def test_a_run_that_diverges_stops_and_keeps_its_last_checkpoint(tree, tmp_path, monkeypatch, spoilt):
    """A weight that is not a number spoils the loss; an infinite gradient behind a finite loss spoils what comes next.

    The checkpoint of the stage's end before, step 6, is what remains; nothing is exported.
    """
    real, calls = loop.train_step, []

    def step(stage: Any, *args: Any) -> Any:
        calls.append(1)
        if len(calls) == 9:
            weight = stage.parallel.model.connector.linear_1.weight
            if spoilt == "loss":
                weight.data[0, 0] = float("nan")
            else:
                weight.register_hook(lambda gradient: gradient * float("inf"))
        return real(stage, *args)

    monkeypatch.setattr(loop, "train_step", step)
    with pytest.raises(SensoriumError, match=r"stage align step 3: .*diverged\. Lower its learning_rates"):
        _train(tree, tmp_path / "run")
    assert len(calls) == 9 and _end(tmp_path / "run")["step"] == 6
    assert _steps(tmp_path / "run")[-1] == ("align", 2) and not (tmp_path / "run" / "model").exists()


def test_losses_fall(tree, tmp_path):
    tree["stages"] = [tree["stages"][0] | {"samples": 240}]
    _train(tree, tmp_path / "run")
    losses = _losses(tmp_path / "run")
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
