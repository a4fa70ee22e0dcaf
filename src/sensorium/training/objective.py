"""What a stage asks of the model: batches of samples, and a loss that adds up exactly.

A loss is a sum and the weight it is a sum over, never a mean: means of means are not the mean, and accumulation would
then change what is learned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from sensorium.training.packing import Sizes


@dataclass(frozen=True)
class Loss:
    """total: differentiable sum; weight: what it is a sum over (supervised tokens, or their weights).

    metrics: name -> (sum, of how many). lost: numbers of the batch's samples that could not be read. pictures: that it
    looked at; of none, what sees has no gradient.
    """

    total: Tensor
    weight: float
    samples: int
    tokens: int
    metrics: dict[str, tuple[float, int]] = field(default_factory=dict)
    lost: tuple[int, ...] = ()
    pictures: int = 0


class Objective(Protocol):
    """Samples 0..len(sizes)-1 in an order that the plan of packs decides.

    A sample of no tokens was dropped and is in no batch.
    """

    @property
    def sizes(self) -> Sizes: ...

    @property
    def batch(self) -> Callable[[Sequence[int]], Any]:
        """The samples' batch; of no samples one of weight 0 that can be run all the same.

        It runs in another thread, or is pickled and runs in other processes.
        """
        ...

    def name(self, number: int) -> str:
        """Where a sample comes from, file and row, for messages."""
        ...

    def fingerprint(self) -> str:
        """Of what stands under each number."""
        ...

    def loss(self, batch: Any) -> Loss: ...
