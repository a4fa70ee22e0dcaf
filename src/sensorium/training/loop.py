"""The training loop: a recipe in, a model folder out. Plain PyTorch, read from the top.

For each stage: make it ready, then step by step draw batches, add up their losses exactly, clip, step, tell, and now
and then validate and save. A run is a folder; starting it again goes on from its newest checkpoint, bit for bit on CPU.
"""

from __future__ import annotations

import hashlib
import json
import random
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from sensorium.data.dataset import Dataset
from sensorium.errors import SensoriumError
from sensorium.files import write_whole
from sensorium.model.checkpoint import save_model, thin_state
from sensorium.model.device import best_device
from sensorium.model.multimodal import MultimodalModel
from sensorium.progress import ProgressCallback
from sensorium.training.allocator import keep_freed_memory
from sensorium.training.checkpoint import load_latest, restore_rng, rng_state, save_checkpoint
from sensorium.training.journal import Journal
from sensorium.training.losses import plot_losses
from sensorium.training.measure import contribution_table, contributions
from sensorium.training.objective import Loss, Objective
from sensorium.training.optimizer import set_learning_rates
from sensorium.training.progress import Progress
from sensorium.training.recipe import Recipe
from sensorium.training.replies import ReplyObjective
from sensorium.training.stage import Stage, check_data, is_sources, prepare_stage

AHEAD = 3  # batches prepared in the background


def train(
    recipe: Recipe, run: Path, say: Callable[[str], None] | None = None, tell: ProgressCallback | None = None
) -> Path | None:
    """Train a recipe in the folder `run`; returns the finished model's folder, or None when it was interrupted.

    Ctrl-C (or SIGTERM) finishes the step, saves and returns; calling again goes on. While a stage is made ready it
    stops at once, as KeyboardInterrupt: what is ready by then is kept. say: gets plain progress lines instead of the
    live display; tell: (what, done, total) of preparations.
    Raises SensoriumError when the run folder belongs to another recipe.
    """
    final = run / "model"
    if final.exists():
        _claim(run, recipe)
        return final
    tell = tell or (lambda what, done, total: None)
    keep_freed_memory()
    check_data(recipe)
    _claim(run, recipe)
    _seed(recipe.seed)
    model = recipe.model.build(tell).to(best_device())
    saved = load_latest(run / "checkpoints")
    start = saved["stage"] if saved else 0
    step = 0
    with Journal(run / "journal.jsonl") as journal:
        for number in range(start, len(recipe.stages)):
            stage = prepare_stage(model, recipe, number, tell)
            done = 0
            if saved is not None and number == start:
                step, done = saved["step"], saved["stage_step"]
                _restore(model, stage, saved)
            if number == start:  # what a killed run did after its last checkpoint, or before its first, is done again
                journal.truncate_after(done or -1, stage.config.name)
            with _interruptible() as interrupted:
                for stage_step in _run_stage(model, recipe, stage, journal, done, interrupted, say):
                    _save(run, model, recipe, stage, stage_step, step + stage_step - done)
            step += stage.total_steps - done
            if interrupted.is_set():
                return None
            if journal.path.stat().st_size:
                plot_losses(journal.path, run / "losses.png")
    provenance = {"recipe": recipe.name, "seed": recipe.seed, "steps": step, "data": _about(recipe)}
    return save_model(model, final, _trained(recipe), provenance)


def _run_stage(
    model: MultimodalModel, recipe: Recipe, stage: Stage, journal: Journal, done: int,
    interrupted: threading.Event, say: Callable[[str], None] | None,
) -> Iterator[int]:
    """Run one stage from optimizer step `done` on; yields the stage's step whenever it is time to save."""
    config, total = stage.config, stage.total_steps
    saved_at = time.monotonic()
    with Progress(total, config.name, start_step=done, say=say) as progress, _batches(stage, done) as batches:
        if done == 0:
            for line in _announced(stage, journal):
                progress.note(line)
        for stage_step in range(done + 1, total + 1):
            started = time.monotonic()
            work = [next(batches) for _ in range(config.accumulate)]
            waited = time.monotonic() - started
            rates = set_learning_rates(stage.optimizer, config.optimizer.share(stage_step - 1, total))
            losses = train_step(model, stage, work, recipe.precision)
            row = _journal_row(losses, config.name, stage_step, rates, time.monotonic() - started)
            journal.write(row)
            numbers = {name: row[name] for name in ("step", "loss", "samples", "tokens", "lr")}
            progress.update(**numbers, wait_s=waited)
            if stage.validation is not None and (stage_step % recipe.validate_every == 0 or stage_step == total):
                found = validate(model, stage.validation, recipe.precision)
                journal.write({"stage": config.name, "step": stage_step, "validation": found})
                progress.validated(found)
            late = time.monotonic() - saved_at > 60 * recipe.checkpoint_minutes
            if (late or interrupted.is_set()) and stage_step < total:
                yield stage_step
                saved_at = time.monotonic()
            if interrupted.is_set() and stage_step < total:
                progress.note(f"Stopped after step {stage_step}; run the same command to go on.")
                return
    yield total


def _announced(stage: Stage, journal: Journal) -> list[str]:
    """What the stage is about to learn from, into the journal and as lines for people."""
    head = f"{stage.config.name}: {len(stage.plan):,} packs, {stage.plan.fill:.1%} full, {stage.total_steps:,} steps"
    row = {"stage": stage.config.name, "step": 0, "packs": len(stage.plan), "fill": stage.plan.fill}
    if not isinstance(stage.objective, ReplyObjective):
        journal.write(row)
        return [head]
    found = contributions(stage.objective.samples, stage.objective.measures, stage.plan)
    journal.write(row | {"sources": [asdict(one) for one in found]})
    return [head, *contribution_table(found)]


def train_step(model: MultimodalModel, stage: Stage, work: list[Any], precision: str) -> list[Loss]:
    """One optimizer step over some batches: the gradient of the (weighted) mean over all their supervised tokens."""
    model.train()
    model.vision.stem.eval()
    losses: list[Loss] = []
    for batch in work:
        with _autocast(model, precision):
            loss = stage.objective.loss(batch)
        loss.total.backward()  # type: ignore[no-untyped-call]
        losses.append(loss)
    weight = sum(loss.weight for loss in losses)
    for parameter in stage.parameters:
        if parameter.grad is not None:
            parameter.grad.div_(weight)
    torch.nn.utils.clip_grad_norm_(stage.parameters, stage.config.optimizer.clip_norm)
    stage.optimizer.step()
    stage.optimizer.zero_grad(set_to_none=True)
    return losses


@torch.inference_mode()
def validate(model: MultimodalModel, objective: Objective, precision: str, samples: int = 16) -> dict[str, float]:
    """Mean loss and metrics over all samples of a validation objective; those that were dropped are not in it."""
    model.eval()
    total = weight = 0.0
    right: dict[str, list[float]] = {}
    usable = np.flatnonzero(objective.sizes.whole).tolist()
    for start in range(0, len(usable), samples):
        batch = objective.batch(usable[start : start + samples])
        with _autocast(model, precision):
            loss = objective.loss(batch)
        total, weight = total + float(loss.total), weight + loss.weight
        for name, (good, of) in loss.metrics.items():
            seen = right.setdefault(name, [0, 0])
            seen[0], seen[1] = seen[0] + good, seen[1] + of
    return {"loss": total / weight} | {name: good / of for name, (good, of) in right.items() if of}


def _autocast(model: MultimodalModel, precision: str) -> torch.autocast:
    return torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _journal_row(losses: list[Loss], stage: str, step: int, rates: dict[str, float], seconds: float) -> dict[str, Any]:
    weight = sum(loss.weight for loss in losses)
    return {
        "stage": stage,
        "step": step,
        "loss": sum(float(loss.total.detach()) for loss in losses) / weight,
        "samples": sum(loss.samples for loss in losses),
        "tokens": sum(loss.tokens for loss in losses),
        "lr": rates,
        "seconds": round(seconds, 4),
    }


@contextmanager
def _batches(stage: Stage, done: int) -> Iterator[Iterator[Any]]:
    """Batches from where the stage stands, prepared a few ahead in a thread."""
    order = iter(stage.plan.packs[done * stage.config.accumulate :])
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")

    def prepared() -> Iterator[Any]:
        ahead: deque[Future[Any]] = deque()
        while True:
            for indices in islice(order, AHEAD - len(ahead)):
                ahead.append(pool.submit(stage.objective.batch, indices.tolist()))
            if not ahead:
                return
            yield ahead.popleft().result()  # whatever went wrong in the thread is raised here

    try:
        yield prepared()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; a second Ctrl-C interrupts at once."""
    interrupted = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _about(recipe: Recipe) -> dict[str, Any]:
    """The name and the fingerprint of the data, for the model's provenance."""
    if is_sources(recipe.data):
        return {"name": recipe.data.stem, "fingerprint": hashlib.sha256(recipe.data.read_bytes()).hexdigest()}
    info = Dataset(recipe.data).info
    return {key: info.get(key) for key in ("name", "fingerprint")}


def _seed(seed: int) -> None:
    """All global generators: whatever a transformers module or a data reader draws from, it draws the same."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _trained(recipe: Recipe, n_stages: int | None = None) -> list[str]:
    """The modules that the first `n_stages` stages (all by default) train."""
    return sorted({module for stage in recipe.stages[:n_stages] for module in stage.learning_rates})


def _save(run: Path, model: MultimodalModel, recipe: Recipe, stage: Stage, stage_step: int, step: int) -> None:
    trained = thin_state(model, _trained(recipe, stage.number + 1))
    state = {
        "step": step,
        "stage": stage.number,
        "stage_step": stage_step,
        "model": {name: tensor.clone() for name, tensor in trained.items()},
        "optimizer": stage.optimizer.state_dict(),
        "plan": stage.plan.state_dict(),  # its fingerprint; the place in it is `stage_step`
        "rng": rng_state(),
    }
    save_checkpoint(run / "checkpoints", state)


def _restore(model: MultimodalModel, stage: Stage, saved: dict[str, Any]) -> None:
    stage.plan.load_state_dict(saved["plan"])  # refuses when the data is no longer what it was
    own: dict[str, Tensor] = dict(model.named_parameters())
    for name, tensor in saved["model"].items():
        own[name].data.copy_(tensor)
    stage.optimizer.load_state_dict(saved["optimizer"])
    restore_rng(saved["rng"])


def _claim(run: Path, recipe: Recipe) -> None:
    """Write the resolved recipe into the run, or check that the run is this recipe's."""
    path = run / "recipe.json"
    content = recipe.model_dump(mode="json")
    if not path.exists():
        write_whole(path, json.dumps(content, indent=2) + "\n", "Choose another --out.")
        return
    try:  # read as a recipe: a setting that has come since, left at its default, makes no other recipe
        same = Recipe.model_validate_json(path.read_bytes()).model_dump(mode="json") == content
    except ValidationError:
        same = False
    if not same:
        raise SensoriumError(run, "holds a run of another recipe.", "Choose another --out, or remove the folder.")
