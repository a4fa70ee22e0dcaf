"""From a budget of visual tokens to a dropping.

A budget counts what a picture costs on average over the language model's layers, since that is what it is to be
compared by: 16 tokens by `pool` are 16 in every layer, and FastV that keeps 16 of 64 after two layers of 30 is at 19.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sensorium.errors import SensoriumError, did_you_mean
from sensorium.model.dropping.dropping import Dropping, Stage

FASTV_LAYERS = 2  # run with all visual tokens, as in the paper's best trade
PYRAMID_STAGES = 4  # of equal depth, as in the paper


def dropping_for(name: str, budget: int, n_layers: int, visual_tokens: int) -> Dropping:
    """A dropping by its name in DROPPINGS that runs a picture of so many visual tokens at `budget` of them, on average
    over the layers; at less than one token below it, since tokens are whole.

    FastV keeps all of them for two layers; PyramidDrop takes four stages of equal depth, with the ratio between them
    that fits. Shares are what is kept to: a picture of more tiles, or a prompt of several pictures, keeps as large a
    part of its tokens, not as many.
    Raises SensoriumError for an unknown name, too few layers, or a budget that the first layers use up alone.
    """
    if name not in DROPPINGS:
        raise SensoriumError("dropping", f"`{name}` is not known.", did_you_mean(name, DROPPINGS))
    if budget < 1:
        raise SensoriumError("visual tokens", f"{budget} a picture leave nothing to see.", "Allow at least 1.")
    return DROPPINGS[name](min(budget, visual_tokens), n_layers, visual_tokens)


def _fastv(budget: int, n_layers: int, visual_tokens: int) -> Dropping:
    [kept] = _fit("fastv", (FASTV_LAYERS,), budget, n_layers, visual_tokens)
    return Dropping.fastv(FASTV_LAYERS, kept / visual_tokens)


def _pyramiddrop(budget: int, n_layers: int, visual_tokens: int) -> Dropping:
    layers = [n_layers * i // PYRAMID_STAGES for i in range(1, PYRAMID_STAGES)]
    kept = _fit("pyramiddrop", layers, budget, n_layers, visual_tokens)
    stages = tuple(Stage(layer, n / visual_tokens) for layer, n in zip(layers, kept, strict=True))
    return Dropping("pyramiddrop", stages, "ahead")


def _fit(name: str, layers: Sequence[int], budget: int, n_layers: int, visual_tokens: int) -> list[int]:
    """How many tokens each stage keeps so that, each the same share of the one before, they come nearest the budget."""
    if n_layers <= len(layers) or layers[-1] >= n_layers:
        raise SensoriumError(f"dropping {name}", f"needs more layers than the {n_layers} that the language model has.",
                             "Use a compressor that works before the language model.")
    depths = [end - start for start, end in zip((0, *layers), (*layers, n_layers), strict=True)]

    def cost(kept: Sequence[int]) -> int:
        return sum(depth * n for depth, n in zip(depths, (visual_tokens, *kept), strict=True))

    least = -(-cost([1] * len(layers)) // n_layers)
    if budget < least:
        raise SensoriumError("visual tokens", f"{budget} on average are less than {name} can keep to: the first "
                             f"{layers[0]} of {n_layers} layers see all {visual_tokens} of a picture.",
                             f"Allow at least {least}, or use a compressor that works before the language model.")
    low, high = 0.0, 1.0
    for _ in range(50):  # halvings: beyond them two shares are one number
        ratio = (low + high) / 2
        fits = cost(_kept(ratio, len(layers), visual_tokens)) <= budget * n_layers
        low, high = (ratio, high) if fits else (low, ratio)
    return _kept(1.0 if budget == visual_tokens else low, len(layers), visual_tokens)


def _kept(ratio: float, n_stages: int, visual_tokens: int) -> list[int]:
    return [Stage(1, max(ratio**number, 1e-9)).count(visual_tokens) for number in range(1, n_stages + 1)]


DROPPINGS: dict[str, Callable[[int, int, int], Dropping]] = {
    "fastv": _fastv,
    "pyramiddrop": _pyramiddrop,
    "fastv-random": lambda *asked: _fastv(*asked).at_random(),
    "pyramiddrop-random": lambda *asked: _pyramiddrop(*asked).at_random(),
}


@dataclass(frozen=True)
class DroppingBudget:
    """What is asked for before the model is known. budget: visual tokens of a picture on average over the layers;
    method: a name in DROPPINGS. Only the torch engine drops between layers."""

    budget: int
    method: str
    engines: ClassVar[tuple[str, ...]] = ("torch",)

    def fitted(self, n_layers: int, visual_tokens: int) -> Dropping:
        """Raises SensoriumError as `dropping_for` does."""
        return dropping_for(self.method, self.budget, n_layers, visual_tokens)
