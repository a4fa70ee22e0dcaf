"""AdamW with a learning rate for each module, and the schedule: linear warm-up, then a cosine.

A multimodal model is made of parts of very different age: a connector that starts from noise beside a language model
that has read the world. One rate for both either starves the one or spoils the other, so a stage gives each module
its own peak rate, and one share of the peak, common to all, moves through the run.

Used by `training.loop`; knows the names of modules only as keys.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.optim import AdamW

from sensorium.errors import SensoriumError, did_you_mean

LearningRates = dict[str, float]  # module name -> peak rate; a stage names exactly the modules that it trains
NamedParameters = Sequence[tuple[str, nn.Parameter]]

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


class OptimizerConfig(BaseModel):
    """AdamW (arXiv:1711.05101), its schedule, and the norm to which gradients are clipped.

    beta2 is 0.95 and not AdamW's 0.999: short runs of a few thousand steps must forget the first, wild gradients of a
    fresh connector. `warmup_steps`, when given, is used instead of `warmup_share` of the stage's steps.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: float = Field(default=1e-8, gt=0.0)
    weight_decay: float = Field(default=0.01, ge=0.0)
    clip_norm: float = Field(default=1.0, gt=0.0)
    warmup_steps: int | None = Field(default=None, ge=0)
    warmup_share: float = Field(default=0.03, ge=0.0, le=1.0)
    min_share: float = Field(default=0.0, ge=0.0, le=1.0)

    def warmup(self, total_steps: int) -> int:
        """Steps of warm-up in a stage of that many steps."""
        return round(self.warmup_share * total_steps) if self.warmup_steps is None else self.warmup_steps

    def share(self, step: int, total_steps: int) -> float:
        """`learning_rate_share` with this schedule."""
        return learning_rate_share(step, total_steps, self.warmup(total_steps), self.min_share)


def build_optimizer(
    groups: Mapping[str, NamedParameters],
    learning_rates: Mapping[str, float],
    config: OptimizerConfig,
    shares: Mapping[str, float] | None = None,
) -> AdamW:
    """AdamW over `parameter_groups`."""
    # Fused: one pass over memory for the whole update, on CPU too, where the plain one is bound by memory traffic.
    chosen = parameter_groups(groups, learning_rates, config, shares)
    return AdamW(chosen, betas=config.betas, eps=config.eps, fused=True)


def parameter_groups(
    groups: Mapping[str, NamedParameters],
    learning_rates: Mapping[str, float],
    config: OptimizerConfig,
    shares: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """The parameters that require a gradient, each module at its own rate.

    groups: module name -> its named parameters; frozen ones are passed over. learning_rates: module name -> peak rate.
    shares: parameter name -> share of its module's rate; 1 where it is not in it.
    A module becomes up to two parameter groups for each share: matrices and tables decay; what has one dimension
    (norms, biases, LayerScale) does not, since pulling a norm's gain to 0 only fights the loss.
    Raises SensoriumError when a name is unknown, a rate is not a positive number, a module with a rate has nothing to
    train, or a trainable module has no rate: it would gather gradients and never move.
    """
    trainable = {name: [p for _, p in parameters if p.requires_grad] for name, parameters in groups.items()}
    share_of = {id(p): (shares or {}).get(name, 1.0) for parameters in groups.values() for name, p in parameters}
    for name, rate in learning_rates.items():
        _check_rate(name, rate, trainable)
    for name, parameters in trainable.items():
        if parameters and name not in learning_rates:
            where = f"learning_rates.{name}"
            raise SensoriumError(where, "this module is trainable but has no rate.", "Give it one, or freeze it.")
    return [
        {"params": chosen, "lr": rate * share, "name": name, "peak_rate": rate * share, "weight_decay": decay}
        for name, rate in learning_rates.items()
        for share in sorted({share_of[id(p)] for p in trainable[name]}, reverse=True)
        for decay, chosen in _split_by_decay(
            (p for p in trainable[name] if share_of[id(p)] == share), config.weight_decay
        )
    ]


def _check_rate(name: str, rate: float, trainable: Mapping[str, list[nn.Parameter]]) -> None:
    where = f"learning_rates.{name}"
    if name not in trainable:
        raise SensoriumError(where, "there is no such module.", did_you_mean(name, trainable))
    if not (math.isfinite(rate) and rate > 0):
        raise SensoriumError(where, f"{rate} is not a positive number.", "To freeze a module, leave its rate out.")
    if not trainable[name]:
        raise SensoriumError(where, "nothing in this module is trainable.", "Leave its rate out, or unfreeze it.")


def _split_by_decay(parameters: Iterable[nn.Parameter], decay: float) -> list[tuple[float, list[nn.Parameter]]]:
    """(weight decay, parameters) for those that decay and those that do not; an empty half is left out."""
    parameters = list(parameters)
    halves = [(decay, [p for p in parameters if p.ndim > 1]), (0.0, [p for p in parameters if p.ndim <= 1])]
    return [(decay, half) for decay, half in halves if half]


def learning_rate_share(step: int, total_steps: int, warmup_steps: int, min_share: float) -> float:
    """The share of the peak rate, min_share–1, at which step `step` (the first is 0) is taken.

    Warm-up is linear and its first step is not wasted at 0: (step + 1) / warmup_steps. Then half a cosine falls from 1
    at step `warmup_steps` to `min_share` at step `total_steps`, where it stays. A floor does not lift the warm-up.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if step >= total_steps:
        return min_share
    done = (step - warmup_steps) / (total_steps - warmup_steps)
    return min_share + (1.0 - min_share) * 0.5 * (1.0 + math.cos(math.pi * done))


def set_learning_rates(optimizer: AdamW, share: float) -> LearningRates:
    """Move each module to `share` of its peak rate; returns each module's highest rate now, for the journal."""
    rates: LearningRates = {}
    for group in optimizer.param_groups:
        group["lr"] = share * group["peak_rate"]
        rates[group["name"]] = max(group["lr"], rates.get(group["name"], 0.0))
    return rates
