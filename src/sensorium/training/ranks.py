"""The processes that share a run: who I am among them, and what we add up.

Started by `torchrun`, each process finds its place in the environment; started plainly, a run is one process and
nothing here costs anything. CPUs talk by gloo, GPUs by NCCL.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from sensorium.errors import SensoriumError
from sensorium.model.device import best_device


@dataclass(frozen=True)
class Ranks:
    """rank: this process, 0 … size - 1; size: how many; device: what it computes on."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def total(self, numbers: Sequence[float]) -> list[float]:
        """The sums of some numbers over all processes, in float64."""
        if self.size == 1:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def any(self, mine: bool) -> bool:
        """Whether it is so in any process: all of them get the same answer."""
        return self.total([float(mine)])[0] > 0

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            self.total([0.0])


@contextmanager
def joined() -> Iterator[Ranks]:
    """This process among those of its run; joins them on entry and leaves on exit.

    Raises SensoriumError when more processes than GPUs were started on a machine that has some.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or dist.is_initialized():
        rank = dist.get_rank() if dist.is_initialized() else 0
        yield Ranks(rank, dist.get_world_size() if dist.is_initialized() else 1, _device())
        return
    device = _device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


def _device() -> torch.device:
    device = best_device()
    if device.type != "cuda":
        return device
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if local >= torch.cuda.device_count():
        raise SensoriumError("torchrun", f"started process {local + 1} on a machine with {torch.cuda.device_count()} "
                             "GPUs.", "Give --nproc-per-node at most that many.")
    return torch.device("cuda", local)
