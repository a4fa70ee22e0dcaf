"""Which visual tokens leave the language model, after which layers: FastV, PyramidDrop, and a draw by lot beside them.

All visual tokens of a prompt compete with one another, whichever picture they belong to: a picture that the question
does not ask for may lose nearly all of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sensorium.errors import SensoriumError

Ranking = Literal["attention", "ahead", "random"]


@dataclass(frozen=True)
class Stage:
    """layers: so many run before it. keep: the share of the prompt's visual tokens that runs through the later ones."""

    layers: int
    keep: float

    def count(self, n_visual: int) -> int:
        """How many of so many visual tokens stay: rounded down, as both papers' code does, but never to none."""
        if n_visual == 0:
            return 0
        return max(1, math.floor(self.keep * n_visual + 1e-9))  # 0.29 * 100 is a little less than 29


@dataclass(frozen=True)
class Dropping:
    """ranking: who stays. `attention`: whom the prompt's last token looks at most in the layer just run, on average
    over its heads; `ahead`: the same in the layer about to run; `random`: drawn by lot, for a prompt's pictures the
    same places each time and others for others, so that no lucky draw moves all of them together.

    The prompt's last token asks, as in both papers: it is where the reply begins and has read the whole question, so
    what stays depends on the prompt alone, not on the reply or a candidate that is scored, and one row of attention is
    cheap. Those that stay keep their positions.
    Raises SensoriumError for stages in no order, or shares that are none.
    """

    name: str
    stages: tuple[Stage, ...]
    ranking: Ranking

    def __post_init__(self) -> None:
        for before, stage in zip((Stage(0, 1.0), *self.stages), self.stages, strict=False):
            if not 0 < stage.keep <= 1:
                raise SensoriumError(f"dropping {self.name}", f"keeps a share of {stage.keep} of the visual tokens.",
                                     "Keep more than 0 and at most 1.")
            if stage.layers <= before.layers or stage.keep > before.keep:
                raise SensoriumError(f"dropping {self.name}", f"has a stage after {stage.layers} layers that keeps "
                                     f"{stage.keep}, behind one after {before.layers} that keeps {before.keep}.",
                                     "Name stages from the first layer on, each keeping no more than the one before.")

    @classmethod
    def fastv(cls, layer: int = 2, keep: float = 0.5) -> Dropping:
        """FastV (arXiv:2403.06764): after the first `layer` layers, by the attention of the last of them."""
        return cls("fastv", (Stage(layer, keep),), "attention")

    @classmethod
    def pyramiddrop(cls, layers: Sequence[int] = (8, 16, 24), ratio: float = 0.5) -> Dropping:
        """PyramidDrop (arXiv:2410.17247): after each of `layers` the share `ratio` of what the stage before kept, by
        the attention of the layer that comes next."""
        stages = tuple(Stage(layer, ratio**number) for number, layer in enumerate(layers, start=1))
        return cls("pyramiddrop", stages, "ahead")

    def at_random(self) -> Dropping:
        """As many after the same layers, drawn by lot: what the ranking has to beat."""
        return replace(self, name=f"{self.name}-random", ranking="random")

    @property
    def spec(self) -> str:
        """Name and stages, as `fastv:2=0.5`: two replies are alike only where this is."""
        return f"{self.name}:{','.join(f'{stage.layers}={stage.keep}' for stage in self.stages)}"

    def counts(self, n_visual: int, n_layers: int) -> list[int]:
        """How many of a prompt's visual tokens each layer computes with."""
        kept = [n_visual] * n_layers
        for stage in self.stages:
            kept[stage.layers :] = [stage.count(n_visual)] * (n_layers - stage.layers)
        return kept

    def require_room(self, n_layers: int) -> None:
        """Raises SensoriumError when a model of so many layers has none left after the last stage."""
        last = self.stages[-1].layers if self.stages else 0
        if last >= n_layers:
            raise SensoriumError(f"dropping {self.name}", f"acts after {last} layers, and the language model has "
                                 f"{n_layers}: nothing would be saved.", f"Drop after at most {n_layers - 1} layers.")
