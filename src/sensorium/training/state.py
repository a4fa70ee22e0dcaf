"""What a run needs to go on as if it had never stopped: gathered from it, and put back.

One process, and several with the whole model each, save one file (`training.checkpoint`); of a model in slices (`fsdp`)
every process saves its own (`training.slices`). Both hold the same tensors under the same names, so that a run goes on
with any number of processes and in either mode, whatever it was begun with.

Held are weights of all modules trained so far, the optimizer, the step, the random state of each process, and the
fingerprint of the plan of packs: the place in the plan is the step, so there is no sampler and no buffer to save.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sensorium.errors import SensoriumError
from sensorium.model.checkpoint import thin_state
from sensorium.model.multimodal import MultimodalModel
from sensorium.training import checkpoint, slices
from sensorium.training.checkpoint import State, checkpoints, load_latest, restore_rng, rng_state, save_checkpoint
from sensorium.training.parallel import slice_like, whole
from sensorium.training.ranks import Ranks
from sensorium.training.stage import Stage

VERSION = 2  # raise when older checkpoints can no longer be read


def save(
    folder: Path, model: MultimodalModel, stage: Stage, stage_step: int, step: int, modules: list[str]
) -> None:
    """Save after a step; every process calls it. modules: those trained so far.

    Raises SensoriumError in all of them when the disk is full; earlier checkpoints stay.
    """
    ranks = stage.parallel.ranks
    state: State = {
        "version": VERSION,
        "step": step,
        "stage": stage.number,
        "stage_step": stage_step,
        "plan": stage.plan.state_dict(),
        "data": stage.objective.fingerprint(),
        "rng": ranks.gather(rng_state()),
    }
    tensors = {"model": thin_state(model, modules), "optimizer": _moments(model, stage)}
    if stage.parallel.is_sharded:
        slices.save_slices(folder, state, tensors, ranks)
        return
    with ranks.failing_together():
        if ranks.is_first:
            copies = {kind: {name: t.to("cpu", copy=True) for name, t in of_kind.items()}
                      for kind, of_kind in tensors.items()}
            save_checkpoint(folder, state | copies)


def find_latest(folder: Path, ranks: Ranks) -> State | None:
    """The newest whole checkpoint of a run, for `restore`; None when there is none. Every process calls it.

    Tensors of slices are not read yet. Raises SensoriumError when there are checkpoints and not one is whole, or when
    the processes do not see the same ones.
    """
    seen = ranks.gather([path.name for path in checkpoints(folder)])
    if any(names != seen[0] for names in seen):
        raise SensoriumError(folder, "does not hold the same checkpoints for all processes.",
                             "Let all machines of a run have one folder for it.")

    def look(path: Path) -> str:
        wrong = ""
        with ranks.failing_together():
            try:
                if path.suffix == slices.SUFFIX:
                    wrong = slices.complaint(path, ranks.rank, ranks.size)
                elif ranks.is_first:
                    wrong = checkpoint.complaint(path)
            except OSError as error:
                raise SensoriumError(path, f"cannot be read ({error.strerror or error}).", "Look at rights.") from error
        return next(filter(None, ranks.gather(wrong)), "")

    def read(path: Path) -> State:
        return slices.read_slices_state(path) if path.suffix == slices.SUFFIX else checkpoint.read_state(path)

    found = load_latest(folder, look, read)
    if found is not None and found.get("version") != VERSION:
        raise SensoriumError(folder, "holds checkpoints of another version of Sensorium.",
                             "Finish the run with that one, or start a new run in another folder.")
    return found


def restore(model: MultimodalModel, stage: Stage, saved: State, modules: list[str]) -> None:
    """Put back what `save` took. Raises SensoriumError when the data is no longer what it was."""
    ranks = stage.parallel.ranks
    stage.plan.load_state_dict(saved["plan"])
    if saved["data"] != stage.objective.fingerprint():
        raise SensoriumError("resume", "the data is not what it was at the checkpoint; its place means nothing.",
                             "Put it back, or start a new run in another folder.")
    tensors = {"model": thin_state(model, modules), "optimizer": _moments(model, stage)}
    if "slices" in saved:
        slices.load_slices(saved["slices"], tensors, ranks)  # in place
    else:
        for kind, of_kind in tensors.items():
            for name, tensor in of_kind.items():
                tensor.copy_(slice_like(saved[kind][name], tensor))
    _set_moments(model, stage, tensors["optimizer"])
    if len(saved["rng"]) == ranks.size:  # another number of processes draws other dropout; everything else is the same
        restore_rng(saved["rng"][ranks.rank])


def gathered(model: MultimodalModel, modules: list[str], ranks: Ranks) -> dict[str, Tensor]:
    """What a model's thin checkpoint holds, whole and on the CPU of the first process; every process calls it."""
    found: dict[str, Tensor] = {}
    for name, tensor in thin_state(model, modules).items():
        put_together = whole(tensor)
        if ranks.is_first:
            found[name] = put_together.cpu()
    return found


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
