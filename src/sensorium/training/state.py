"""What a run needs to go on as if it had never stopped: gathered from it, and put back.

One process, and several with the whole model each, save one file (`training.checkpoint`); slices of a model (`fsdp`)
are saved by torch's distributed checkpoints, a folder to which every process writes its own, and which any number of
processes can read. Either appears under its name only when it is whole. A run goes on with the kind that it began with.

Held are weights of all modules trained so far, the optimizer, the step, the random state of each process, and the
fingerprint of the plan of packs: the place in the plan is the step, so there is no sampler and no buffer to save.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor

from sensorium.errors import SensoriumError
from sensorium.model.checkpoint import thin_state
from sensorium.model.multimodal import MultimodalModel
from sensorium.training.checkpoint import State, load_latest, restore_rng, rng_state, save_checkpoint
from sensorium.training.ranks import Ranks
from sensorium.training.stage import Stage

_SLICED = re.compile(r"step-(\d{8,})\.slices")
_KEEP = 2  # checkpoints
log = logging.getLogger(__name__)


def save(
    folder: Path, model: MultimodalModel, stage: Stage, stage_step: int, step: int, modules: list[str]
) -> None:
    """Save after a step; every process calls it. modules: those trained so far.

    Raises SensoriumError when the disk is full; earlier checkpoints stay.
    """
    ranks = stage.parallel.ranks
    state: State = {
        "step": step,
        "stage": stage.number,
        "stage_step": stage_step,
        "plan": stage.plan.state_dict(),
        "data": stage.objective.fingerprint(),
        "rng": ranks.gather(rng_state()),
    }
    own = thin_state(model, modules)
    if stage.parallel.is_sharded:
        _save_slices(folder, state, {"model": own, "optimizer": _moments(model, stage)}, ranks)
    elif ranks.is_first:
        weights = {name: tensor.to("cpu", copy=True) for name, tensor in own.items()}
        save_checkpoint(folder, state | {"model": weights, "optimizer": stage.optimizer.state_dict()}, _KEEP)
    ranks.wait()


def find_latest(folder: Path, is_sharded: bool) -> State | None:
    """The newest checkpoint of a run, for `restore`; None when there is none. Tensors of slices are not read yet."""
    found, files = _sliced(folder), list(folder.glob("step-*.pt"))
    if not is_sharded:
        if found and not files:
            raise SensoriumError(folder, "holds slices of several processes.",
                                 "Go on with torchrun and `parallel: fsdp`.")
        return load_latest(folder)
    if files and not found:
        raise SensoriumError(folder, "holds checkpoints of one process, or of several with a whole model each.",
                             "Go on as it was begun, or start a new run in another folder.")
    for path in reversed(found):
        try:
            return torch.load(path / "run.pt", weights_only=True) | {"slices": str(path)}
        except (OSError, RuntimeError, pickle.UnpicklingError) as error:
            log.warning("%s cannot be read (%s); going on from the one before.", path, error)
    return None


def restore(model: MultimodalModel, stage: Stage, saved: State, modules: list[str]) -> None:
    """Put back what `save` took. Raises SensoriumError when the data is no longer what it was."""
    ranks = stage.parallel.ranks
    stage.plan.load_state_dict(saved["plan"])
    if saved["data"] != stage.objective.fingerprint():
        raise SensoriumError("resume", "the data is not what it was at the checkpoint; its place means nothing.",
                             "Put it back, or start a new run in another folder.")
    own = thin_state(model, modules)
    if "slices" in saved:
        tensors = {"model": own, "optimizer": _moments(model, stage)}
        dcp.load(tensors, checkpoint_id=saved["slices"])  # in place
        _set_moments(model, stage, tensors["optimizer"])
    else:
        for name, tensor in saved["model"].items():
            own[name].data.copy_(tensor)
        stage.optimizer.load_state_dict(saved["optimizer"])
    if len(saved["rng"]) == ranks.size:  # another number of processes draws other dropout; everything else is the same
        restore_rng(saved["rng"][ranks.rank])


def _save_slices(folder: Path, state: State, tensors: dict[str, dict[str, Tensor]], ranks: Ranks) -> None:
    path = folder / f"step-{state['step']:08d}.slices"
    part = path.with_suffix(".part")
    if ranks.is_first:
        for remains in folder.glob("step-*.part"):
            shutil.rmtree(remains, ignore_errors=True)
    ranks.wait()
    dcp.save(tensors, checkpoint_id=part)
    if ranks.is_first:
        with (part / "run.pt").open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        for old in _sliced(folder)[:-_KEEP]:
            shutil.rmtree(old, ignore_errors=True)


def _sliced(folder: Path) -> list[Path]:
    """Whole checkpoints of slices, oldest step first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _SLICED.fullmatch(path.name)), key=lambda path: path.name)


def _moments(model: MultimodalModel, stage: Stage) -> dict[str, Tensor]:
    """The optimizer's state by parameters' names, sliced as they are; zeros before the first step."""
    names = {id(p): name for name, p in model.named_parameters()}
    found: dict[str, Tensor] = {}
    for p in stage.parameters:
        state: dict[str, Any] = stage.optimizer.state.get(p) or {}
        found[f"{names[id(p)]}.step"] = state.get("step", torch.zeros((), device=p.device))
        for moment in ("exp_avg", "exp_avg_sq"):
            found[f"{names[id(p)]}.{moment}"] = state.get(moment, torch.zeros_like(p.detach()))
    return found


def _set_moments(model: MultimodalModel, stage: Stage, found: dict[str, Tensor]) -> None:
    names = {id(p): name for name, p in model.named_parameters()}
    for p in stage.parameters:
        keys = ("step", "exp_avg", "exp_avg_sq")
        stage.optimizer.state[p] = {key: found[f"{names[id(p)]}.{key}"] for key in keys}
