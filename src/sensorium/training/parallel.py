"""One model on several devices: the same steps on each, over different packs, gradients added up.

`ddp` keeps the whole model on every device (DistributedDataParallel); `fsdp` keeps a slice of every layer on each and
fetches a layer when it is its turn (FSDP2's `fully_shard`). Both hang on a module's forward, so the loss of a batch is
one: `Learner.forward`. What they average is multiplied by the number of processes again, because a step divides by the
weight of all supervised tokens everywhere.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from sensorium.model.attention import can_pack
from sensorium.model.blocks import blocks_of
from sensorium.model.multimodal import MultimodalModel
from sensorium.model.unread import is_unread, read_parameters
from sensorium.training.objective import Loss, Objective
from sensorium.training.ranks import Mode, Ranks


class Learner(nn.Module):
    """A model whose forward is the loss of a batch. Leaves the whole `Loss` of the last batch in `found`."""

    def __init__(self, model: MultimodalModel) -> None:
        super().__init__()
        self.model = model
        self.found: Loss | None = None

    def forward(self, objective: Objective, batch: Any) -> Tensor:
        self.found = objective.loss(batch)
        return self.found.total


class Parallel:
    """A model as the processes of a run share it. With one process it is the model, and nothing is wrapped.

    Make it when it is settled what trains, and before the optimizer: `fsdp` replaces the parameters by their slices.
    """

    def __init__(self, model: MultimodalModel, ranks: Ranks, mode: Mode = "ddp", precision: str = "float32") -> None:
        self.model, self.ranks = model, ranks
        self.learner = Learner(model)
        self._ddp: DistributedDataParallel | None = None
        self.is_sharded = ranks.size > 1 and mode == "fsdp"
        trains = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
        # Whether batches of text need a picture: sliced layers run everywhere or nowhere, and a process whose loss
        # nothing trains has no backward, in which the others would wait for it.
        self.must_look = self.is_sharded or (ranks.size > 1 and trains <= {"vision", "connector"})
        if ranks.size == 1:
            return
        # Alike already, but for the arithmetic; what is unread is the same for all.
        ranks.agree([p.data for p in model.parameters() if p.requires_grad and not is_unread(p)])
        if mode == "fsdp":
            _shard(self.learner, precision)
        else:
            ids = [ranks.device.index] if ranks.device.type == "cuda" else None
            self._ddp = DistributedDataParallel(self.learner, device_ids=ids, find_unused_parameters=True)

    def loss(self, objective: Objective, batch: Any, is_last: bool = True) -> Loss:
        """The loss of a batch, whose backward adds to the gradients; with the last one of a step they are shared."""
        if self.ranks.size == 1:
            return objective.loss(batch)
        if self.is_sharded:
            self.learner.set_requires_gradient_sync(is_last)  # type: ignore[operator]
        runs: nn.Module = self.learner if self._ddp is None else self._ddp
        with nullcontext() if self._ddp is None or is_last else self._ddp.no_sync():
            total = runs(objective, batch)
        assert self.learner.found is not None
        return replace(self.learner.found, total=total)

    def forget_blank(self) -> None:
        """Drop the zeros that a step without a picture leaves in what sees where it must look all the same
        (`MultimodalModel.blank`): a gradient of zero is not none, and AdamW would let the weights decay.
        """
        for tower in (self.model.vision, self.model.connector) if self.must_look else ():
            tower.zero_grad(set_to_none=True)

    def reshard(self) -> None:
        """Let go of what a forward without a backward fetched: until then parameters are not the optimizer's."""
        for module in self.learner.modules() if self.is_sharded else ():
            if isinstance(module, FSDPModule):
                module.reshard()


def compile_layers(model: MultimodalModel) -> None:
    """Let torch.compile have the language model's layers, one by one: they are alike, so one compilation serves all.

    Where batches are packed, attention is a loop of ours over conversations that no two batches share, and only the
    rest of each layer is compiled.
    """
    for layer in blocks_of(model.decoder):
        compiled = layer.mlp if can_pack(model.language) and hasattr(layer, "mlp") else layer
        if compiled._compiled_call_impl is None:  # an earlier stage has not done it
            compiled.compile(dynamic=True)


def whole(tensor: Tensor) -> Tensor:
    """A tensor with all its slices; every process must ask for it."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def slice_like(tensor: Tensor, other: Tensor) -> Tensor:
    """This process's slice of a tensor that it has whole, cut as another one is; or all of it, if that one is whole."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(other, DTensor):
        return tensor
    return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements, src_data_rank=None)


def _shard(learner: Learner, precision: str) -> None:
    """Layer by layer: one that is still in its file is read, sliced, and all but the slice forgotten."""
    in_bfloat16 = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    policy = in_bfloat16 if precision == "bfloat16" else MixedPrecisionPolicy(cast_forward_inputs=False)
    model = learner.model
    for tower in (model.vision.stem, model.vision.tail, model.decoder):
        for block in blocks_of(tower):
            read_parameters(block)
            fully_shard(block, mp_policy=policy)
    read_parameters(learner)
    fully_shard(learner, mp_policy=policy)
