"""The processes that share a run: who I am among them, and what we add up.

Started by `torchrun`, each process finds its place in the environment; started plainly, a run is one process and
nothing here costs anything. CPUs talk by gloo, GPUs by NCCL.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist

from sensorium.errors import SensoriumError
from sensorium.model.device import best_device

Mode = Literal["ddp", "fsdp"]  # how a model is shared, see `parallel`
PATIENCE = timedelta(hours=3)  # one process measures the data and fills caches while the others wait for it


@dataclass(frozen=True)
class Ranks:
    """rank: this process, 0 … size - 1; size: how many; local: its number on this machine; device: computes on.

    on_this_machine: how many of them are here.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    on_this_machine: int = 1

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
        return [float(number) for number in tensor]

    def gather(self, mine: Any) -> list[Any]:
        """What each process has, in their order."""
        if self.size == 1:
            return [mine]
        everyones: list[Any] = [None] * self.size
        dist.all_gather_object(everyones, mine)
        return everyones

    def agree(self, tensors: Sequence[torch.Tensor]) -> None:
        """Make some tensors what the first process has."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        """What a person can mend and only one process has met is raised in all of them: none waits for it in vain."""
        mine: SensoriumError | None = None
        try:
            yield
        except SensoriumError as error:
            mine = error
        for met in self.gather(mine):
            if met is not None:
                raise met

    def wait(self) -> None:
        """Until all processes are here."""
        self.total([0.0])

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """On each machine one process before the others, so that they find in the cache what it put there."""
        if self.local > 0:
            self.wait()
        yield
        if self.local == 0:
            self.wait()


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """This process among those of its run; joins them on entry and leaves on exit.

    Raises SensoriumError when more processes than GPUs were started on a machine that has some.
    """
    local, here = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    device = _device(local, here)
    if dist.is_initialized():  # whoever called us joined them, and leaves them
        yield Ranks(dist.get_rank(), dist.get_world_size(), local, device, here)
    elif int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks(device=device)
    else:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
        yield Ranks(dist.get_rank(), dist.get_world_size(), local, device, here)
        dist.destroy_process_group()  # not after an error: the others may wait for us, and leaving could wait for them


def _device(local: int, here: int) -> torch.device:
    device = best_device()
    if device.type != "cuda":
        return device
    if (started := max(here, local + 1)) > (count := torch.cuda.device_count()):  # all of them say so alike
        raise SensoriumError("processes", f"{started} were started on a machine with {count} GPUs.",
                             "Give --processes (torchrun's --nproc-per-node) at most that many.")
    device = torch.device("cuda", local)
    torch.cuda.set_device(device)
    return device
