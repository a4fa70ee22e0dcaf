"""One stage made ready: the model's trainable parts chosen, data opened, packs planned, optimizer built.

Kept apart from the loop so that the loop can be read as what happens in time, and this as what there is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.optim import AdamW

from sensorium.errors import SensoriumError
from sensorium.model.attention import is_plain, use_grouped_attention, why_not_plain
from sensorium.model.language import add_lora
from sensorium.model.multimodal import MultimodalModel
from sensorium.model.unread import converted_to
from sensorium.progress import ProgressCallback
from sensorium.training.data import longest_read, training_objective, validation_objective
from sensorium.training.objective import Objective
from sensorium.training.optimizer import build_optimizer
from sensorium.training.packing import Indices, PackConfig, PackPlan, Sizes, plan_packs
from sensorium.training.parallel import Parallel, compile_layers
from sensorium.training.ranks import ALONE, Ranks
from sensorium.training.recipe import Recipe, StageConfig
from sensorium.training.replies import ReplyObjective
from sensorium.training.trainable import choose_trainable, rate_shares


@dataclass
class Stage:
    """What the loop works with. total_steps: optimizer steps of this stage."""

    number: int
    config: StageConfig
    objective: Objective
    validation: Objective | None
    plan: PackPlan
    parallel: Parallel
    optimizer: AdamW
    parameters: list[nn.Parameter]
    total_steps: int
    validation_plan: PackPlan | None = None

    def packs_of_step(self, step: int, ranks: Ranks) -> list[Indices]:
        """What a process works on in a step, counted from 0: every size-th of the step's packs.

        The last step of a stage may have fewer packs than the others; a process that is left without gets empty ones.
        """
        first = step * self.config.accumulate
        packs = self.plan.packs[first + ranks.rank : first + self.config.accumulate : ranks.size]
        empty = np.empty(0, dtype=np.int64)
        return packs + [empty] * (self.config.accumulate // ranks.size - len(packs)) if ranks.size > 1 else packs

    def packs_from(self, step: int, ranks: Ranks) -> Iterator[list[int]]:
        """What a process works on from a step on, step after step."""
        for later in range(step, self.total_steps):
            yield from (pack.tolist() for pack in self.packs_of_step(later, ranks))


def prepare_stage(
    model: MultimodalModel, recipe: Recipe, number: int, tell: ProgressCallback, ranks: Ranks = ALONE
) -> Stage:
    """Freeze and unfreeze, add adapters where the stage brings them, open the data, share the model among processes.

    Raises SensoriumError when the stage asks for what the data does not hold, or its packs of a step cannot be shared
    evenly.
    """
    config = recipe.stages[number]
    require_even_shares(config, ranks.size)
    take_shape(model, recipe, number)
    require_rows_to_share(model, config)
    if model.device.type == "cpu":
        use_grouped_attention(model.language)
    model.packs = is_plain(model.language)
    choose_trainable(model, config)
    to_precision(model, recipe.precision, keep=trained_in_full_later(recipe, number))
    with ranks.in_turn():
        objective = training_objective(model, recipe, number, tell)
        validation = validation_objective(model, recipe, number, tell)
    longest = longest_read(model)
    plan = plan_packs(objective.sizes, config.batch, recipe.seed * 1000 + number, longest, objective.name)
    of_validation = validation_plan(validation.sizes, config.batch, longest) if validation is not None else None
    total_steps = math.ceil(len(plan) / config.accumulate)
    if recipe.compile:
        compile_layers(model)
    parallel = Parallel(model, ranks, recipe.parallel, recipe.precision)
    model.blank = None  # an earlier stage may have had to look
    if parallel.must_look and isinstance(objective, ReplyObjective):
        objective.always_look()
    groups = choose_trainable(model, config)  # once more: their slices may stand in their places now
    rates = {str(name): rate for name, rate in config.learning_rates.items()}
    optimizer = build_optimizer(groups, rates, config.optimizer, rate_shares(model, config))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return Stage(
        number, config, objective, validation, plan, parallel, optimizer, parameters, total_steps, of_validation
    )


def validation_plan(sizes: Sizes, config: PackConfig, longest: int | None, samples: int = 16) -> PackPlan:
    """Packs of all that a stage is validated on, less what is longer than the language model reads.

    With no more samples than `samples` in each: every logit of a batch stands in memory there. Raises SensoriumError
    when nothing is left.
    """
    budget = config.model_copy(update={"max_samples": samples, "too_long": "alone"})
    try:
        return plan_packs(sizes, budget, seed=0, longest=longest)
    except SensoriumError as error:
        raise SensoriumError("validation", "has no sample that the model can read.", error.remedy) from error


def require_rows_to_share(model: MultimodalModel, config: StageConfig) -> None:
    """Raises SensoriumError where conversations are to share a row and the language model would mix them."""
    if config.together > 1 and (why := why_not_plain(model.language)):
        raise SensoriumError(f"stage {config.name}: together", f"conversations in one row would mix: {why}.",
                             "Set it to 1.")


def require_even_shares(config: StageConfig, processes: int) -> None:
    """Raises SensoriumError where a step's packs cannot be dealt out evenly."""
    if config.accumulate % processes:
        raise SensoriumError(f"stage {config.name}: accumulate", f"{config.accumulate} packs a step cannot be shared "
                             f"evenly by {processes} processes.", f"Set it to a multiple of {processes}.")


def take_shape(model: MultimodalModel, recipe: Recipe, number: int) -> None:
    """Make the model what it is in a stage: its view's size, and adapters where it has none yet.

    Adapters are drawn by the recipe's seed alone, so that neither earlier stages nor other processes change them.
    """
    wanted = recipe.model_at(number)
    model.vision.require_whole_patches(wanted.vision.image_size)
    if wanted.lora is not None and model.config.lora is None:
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            add_lora(model.language, wanted.lora)
    model.config, model.vision.config = wanted, wanted.vision
    if recipe.activation_checkpointing:
        for tower in (model.vision.stem, model.language):
            tower.activation_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]


def to_precision(model: MultimodalModel, precision: str, keep: bool = False) -> None:
    """Frozen weights of the language model in the recipe's precision, whatever trains in float32.

    keep: leave frozen weights in float32 too, because a later stage trains them and rounding cannot be undone.
    """
    frozen = torch.bfloat16 if precision == "bfloat16" and not keep else torch.float32
    for parameter in model.language.parameters():
        parameter.data = converted_to(parameter, dtype=torch.float32 if parameter.requires_grad else frozen)


def trained_in_full_later(recipe: Recipe, number: int) -> bool:
    """Whether a later stage trains the language model itself, not adapters."""
    later = range(number + 1, len(recipe.stages))
    return any("language" in recipe.stages[n].learning_rates and recipe.model_at(n).lora is None for n in later)
