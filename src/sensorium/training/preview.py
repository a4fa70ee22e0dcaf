"""What a recipe would do, before anything is spent: packs, steps, longest sample, memory of a device, time.

Data is opened and measured exactly as training does it (and the measures are kept for it); the model is a skeleton on
torch's `meta` device, so a model far too large for this machine can be planned on it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sensorium.data.dataset import Dataset
from sensorium.model.device import best_device
from sensorium.model.multimodal import MultimodalModel
from sensorium.model.summary import TRAINING_BYTES, skeleton
from sensorium.progress import ProgressCallback
from sensorium.rendering import Renderer
from sensorium.training.data import check_data, training_samples
from sensorium.training.measure import Contribution, contribution_table, contributions, measure
from sensorium.training.packing import PackPlan, Sizes, plan_packs
from sensorium.training.progress import format_duration
from sensorium.training.recipe import Recipe
from sensorium.training.stage import longest_read, require_even_shares, trained_in_full_later
from sensorium.training.trainable import choose_trainable

# Bytes that a transformer layer keeps for the backward pass, for each token and channel: 34 in 16-bit arithmetic,
# attention scores left out (Korthikanti et al., arXiv:2205.05198, section 4.1); about twice that in 32-bit. With
# activation checkpointing only what goes into the layer, and one layer at a time in full.
_KEPT, _KEPT_CHECKPOINTED = 34, 2
_EFFICIENCY = 0.4  # of what a large matrix product reaches, in a whole training step: a rule of thumb


@dataclass(frozen=True)
class StagePreview:
    """One stage. trainable: parameters that train, by module; parameters: of the whole model.

    longest: (tokens, sample's name); memory: bytes of a device for weights, for gradients and optimizer, and an
    estimate for activations (of a pack with nothing but pictures, where the encoder trains); operations: floating-point
    operations of the stage in the language model, an estimate; warmup: steps.
    """

    name: str
    trainable: dict[str, int]
    parameters: int
    packs: int
    fill: float
    steps: int
    packs_per_step: int
    tokens_per_step: float
    longest: tuple[int, str]
    sources: tuple[Contribution, ...]
    memory: dict[str, float]
    operations: float
    warmup: int


def preview(recipe: Recipe, processes: int, tell: ProgressCallback) -> list[StagePreview]:
    """Plan every stage. processes: how many devices would share the run.

    Raises SensoriumError where training would: parts or data that are not there, too many bad samples, a sample that is
    too long.
    """
    check_data(recipe)
    return [_preview(recipe, number, processes, tell) for number in range(len(recipe.stages))]


def _preview(recipe: Recipe, number: int, processes: int, tell: ProgressCallback) -> StagePreview:
    config = recipe.stages[number]
    require_even_shares(config, processes)
    model = skeleton(recipe.model_at(number), tell, with_tokenizer=True)
    groups = choose_trainable(model, config)
    trainable = {name: sum(p.numel() for _, p in group if p.requires_grad) for name, group in groups.items()}
    trainable = {name: count for name, count in trainable.items() if count}
    parameters = sum(p.numel() for p in model.parameters())
    plan, sizes, sources, longest = _packs(recipe, number, model, tell)
    tokens = int(sizes.whole.sum() - sizes.whole[list(plan.too_long)].sum())
    steps = math.ceil(len(plan) / config.accumulate)
    memory = _memory(recipe, number, model, sum(trainable.values()), processes)
    # Forward 2 operations a parameter and token, backward 2 for what gradients pass through and 2 for what trains.
    passed = sum(p.numel() for p in model.decoder.parameters())
    if config.objective == "words":
        passed = 0
    per_token = 4 * passed + 2 * sum(trainable.values())
    return StagePreview(
        config.name, trainable, parameters, len(plan), plan.fill, steps, config.accumulate, tokens / max(1, len(plan))
        * config.accumulate, longest, tuple(sources), memory, float(per_token) * tokens,
        config.optimizer.warmup(steps),
    )


def _packs(
    recipe: Recipe, number: int, model: MultimodalModel, tell: ProgressCallback
) -> tuple[PackPlan, Sizes, list[Contribution], tuple[int, str]]:
    config, seed = recipe.stages[number], recipe.seed * 1000 + number
    if config.objective == "words":
        count = config.samples or len(Dataset(config.data or recipe.data).scenes("train"))
        sizes = Sizes.of([0] * count, [model.tokens_per_picture] * count)
        return plan_packs(sizes, config.batch, seed), sizes, [], (model.tokens_per_picture, "any picture")
    samples = training_samples(model, recipe, number, tell)
    measures = measure(samples, Renderer(model.tokenizer, model.tokens_per_picture), tell)
    plan = plan_packs(measures.sizes, config.batch, seed, longest_read(model))
    longest = int(measures.sizes.whole.argmax())
    name = "+".join(talk.id for talk in samples[longest])
    return plan, measures.sizes, contributions(samples, measures, plan), (int(measures.sizes.whole[longest]), name)


def _memory(recipe: Recipe, number: int, model: MultimodalModel, trainable: int, processes: int) -> dict[str, float]:
    """Bytes of one device. `fsdp` slices weights, gradients and optimizer; activations are each device's own."""
    config = recipe.stages[number]
    slices = processes if recipe.parallel == "fsdp" else 1
    language = sum(p.numel() for p in model.language.parameters() if not p.requires_grad)
    others = sum(p.numel() for p in model.parameters() if not p.requires_grad) - language
    in_bfloat16 = recipe.precision == "bfloat16"
    small = 2 if in_bfloat16 and not trained_in_full_later(recipe, number) else 4
    decoder = model.language.config.get_text_config()  # type: ignore[union-attr, operator]
    width, layers = decoder.hidden_size, decoder.num_hidden_layers
    kept = _KEPT_CHECKPOINTED * layers + _KEPT if recipe.activation_checkpointing else _KEPT * layers
    tokens = 0 if config.objective == "words" else config.batch.max_tokens
    activations = tokens * width * kept
    if any(p.requires_grad for p in model.vision.stem.parameters()):  # a frozen one keeps nothing
        tower = model.vision.stem.config
        pictures = (config.batch.max_visual or tokens) / model.tokens_per_picture
        patches = pictures * model.vision.grid[0] * model.vision.grid[1]
        layers = model.vision.n_layers
        kept = _KEPT_CHECKPOINTED * layers + _KEPT if recipe.activation_checkpointing else _KEPT * layers
        activations += patches * tower.hidden_size * kept  # type: ignore[union-attr, operator]
    return {
        "weights": (small * language + 4 * others + 4 * trainable) / slices,
        "gradients and optimizer": (TRAINING_BYTES - 4) * trainable / slices,
        "activations, about": activations * (1 if in_bfloat16 else 2),
    }


def describe(found: Sequence[StagePreview], recipe: Recipe, processes: int) -> Iterator[str]:
    """The plan as lines for people; measures this machine's arithmetic for the estimate of the time."""
    rate = _operations_per_s(recipe.precision) * _EFFICIENCY * processes
    device = best_device().type
    yield f"{recipe.name}: {len(found)} stages, {recipe.precision}, {processes} x {device}" + (
        f", {recipe.parallel}" if processes > 1 else "")
    total = 0.0
    for one in found:
        trains = ", ".join(f"{name} {_count(count)}" for name, count in one.trainable.items())
        step = f"{one.packs_per_step} packs" if one.packs_per_step > 1 else "a pack"
        yield f"\n{one.name}: {one.steps:,} steps of {step}, {one.tokens_per_step:,.0f} tokens each"
        yield f"  trains   {trains} of {_count(one.parameters)}"
        length, sample = one.longest
        yield f"  packs    {one.packs:,}, {one.fill:.1%} full; longest sample {length:,} tokens ({sample})"
        memory = ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in one.memory.items())
        if one.warmup >= one.steps:
            yield f"  warm-up  of {one.warmup:,} steps: the stage ends before its rates are reached"
        yield f"  memory   {sum(one.memory.values()) / 1e9:.1f} GB a device: {memory}"
        total += one.operations / rate
        yield f"  time     about {format_duration(one.operations / rate)} ({one.operations:.1e} operations)"
        yield from (f"  {line}" for line in contribution_table(one.sources)) if one.sources else ()
    share = f"{_EFFICIENCY:.0%} of what matrix products do here"
    yield f"\nIn all about {format_duration(total)}, if a step reaches {share}."


def _operations_per_s(precision: str) -> float:
    """What a product of large matrices reaches on this device, in a fraction of a second."""
    device, dtype = best_device(), torch.bfloat16 if precision == "bfloat16" else torch.float32
    side = 4096 if device.type == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in "ab")
    speeds = []
    for _ in range(6):
        started = time.perf_counter()
        float((a @ b).sum())  # to a number, so that a GPU is waited for
        speeds.append(2 * side**3 / (time.perf_counter() - started))
    return float(np.median(speeds[1:]))


def _count(number: int) -> str:
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return str(number)
