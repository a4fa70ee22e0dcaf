"""A plan as lines for people: what each stage costs, on this machine's devices or on GPUs that are named.

Times are of a rule of thumb: what a training step reaches of what large matrix products reach here, or of what the
maker of a GPU says that it reaches. Memory is counted but for activations, which are estimated.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sensorium.errors import SensoriumError, did_you_mean
from sensorium.model.device import best_device
from sensorium.training.flops import PEAKS, peak_by_name
from sensorium.training.measure import contribution_table
from sensorium.training.preview import StagePreview
from sensorium.training.progress import format_duration
from sensorium.training.recipe import Recipe

_EFFICIENCY = 0.4  # of what a large matrix product reaches, in a whole training step: a rule of thumb
_OF_A_PEAK = 0.3  # of what a data sheet promises: a little below what is reported of trainings of 8B in bfloat16
_SPARE = 0.9  # of a GPU's memory is for the training; the rest is CUDA's own, and lost between blocks
_SIZES = (8, 12, 16, 24, 32, 40, 48, 64, 80, 94, 141, 192)  # GB that GPUs are sold with
# Of the most sold, in GB; where there are several, the usual one. Sources as for `flops.PEAKS`.
_MEMORY = {
    "B200": 192, "H200": 141, "H100 NVL": 94, "H100": 80, "H800": 80, "GH200": 96, "A100": 80, "A800": 80, "A40": 48,
    "A30": 24, "A10": 24, "A10G": 24, "RTX A6000": 48, "RTX 3090": 24, "L40S": 48, "L40": 48, "L4": 24,
    "RTX 6000 Ada": 48, "RTX 4090": 24, "RTX 5090": 32, "V100": 32, "T4": 16, "MI300X": 192, "MI325X": 256,
    "MI250X": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Gpu:
    """A GPU to plan for. memory: bytes; peak: operations a second in bfloat16."""

    name: str
    memory: float
    peak: float

    @classmethod
    def named(cls, name: str) -> Gpu:
        """As `H100`, or `A100 40GB` where it was sold in several sizes. Raises SensoriumError for an unknown one."""
        size = re.search(r"\b(\d+) ?GB\b", name, re.I)
        chip = re.sub(r"\s*\d+ ?GB\b", "", name, flags=re.I).strip()
        peak = peak_by_name(chip)
        if peak is None:
            raise SensoriumError(f"--gpu {name}", "nobody told us what this GPU can do.",
                                 did_you_mean(chip, [known for known, _ in PEAKS]))
        memory = int(size[1]) if size else next((gb for known, gb in _MEMORY.items()
                                                 if set(known.split()) <= set(chip.split())), None)
        if memory is None:
            raise SensoriumError(f"--gpu {name}", "nobody told us how much memory it has.",
                                 f"Say it: --gpu '{chip} 80GB'.")
        return cls(name, memory * 1e9, peak)


def describe(
    found: Sequence[StagePreview], recipe: Recipe, processes: int, gpu: Gpu | None = None
) -> Iterator[str]:
    """The plan, for `processes` GPUs of a kind, or devices like this machine's, whose arithmetic is measured then."""
    rate = processes * (gpu.peak * _OF_A_PEAK if gpu else _operations_per_s(recipe.precision) * _EFFICIENCY)
    device = f"{gpu.name} ({gpu.memory / 1e9:.0f} GB)" if gpu else best_device().type
    yield f"{recipe.name}: {len(found)} stages, {recipe.precision}, {processes} x {device}" + (
        f", {recipe.parallel}" if processes > 1 else "")
    if recipe.start is not None:
        yield f"goes on from {recipe.start.model} (sha256 {recipe.start.sha256[:12]}…)"
    total = 0.0
    for one in found:
        yield f"\n{one.name}: {one.steps:,} steps of {_packs(one)}, {one.tokens_per_step:,.0f} tokens each"
        yield from (f"  {line}" for line in _stage(one, gpu))
        operations = sum(one.operations.values())
        total += operations / rate
        shares = ", ".join(f"{part} {count / operations:.0%}" for part, count in one.operations.items())
        yield f"  time     about {format_duration(operations / rate)} ({operations:.1e} operations: {shares})"
        yield from (f"  {line}" for line in contribution_table(one.sources)) if one.sources else ()
    share = f"{_EFFICIENCY:.0%} of what matrix products do here"
    if gpu:
        share = f"{_OF_A_PEAK:.0%} of what its maker promises in bfloat16"
        share += "; float32 takes several times as long" if recipe.precision == "float32" else ""
    hours = f", {total * processes / 3600:,.1f} device hours" if processes > 1 else ""
    yield f"\nIn all about {format_duration(total)}{hours}, if a step reaches {share}."


def _packs(one: StagePreview) -> str:
    return f"{one.packs_per_step} packs" if one.packs_per_step > 1 else "a pack"


def _stage(one: StagePreview, gpu: Gpu | None) -> Iterator[str]:
    trains = ", ".join(f"{name} {_count(count)}" for name, count in one.trainable.items())
    yield f"trains   {trains} of {_count(one.parameters)}"
    length, sample = one.longest
    yield f"packs    {one.packs:,}, {one.fill:.1%} full; longest sample {length:,} tokens ({sample})"
    if one.padding:
        yield f"         {one.padding}"
    times, samples = one.validations
    if times:
        yield f"checks   {times:,} times, on {samples:,} samples"
    if one.validation_too_long:
        yield f"         leave out {one.validation_too_long:,} samples longer than the language model reads"
    if one.warmup >= one.steps:
        yield f"warm-up  of {one.warmup:,} steps: the stage ends before its rates are reached"
    memory, whole = ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in one.memory.items()), one.device_memory
    yield f"memory   {whole / 1e9:.1f} GB a device: {memory}"
    fitting = next((size for size in _SIZES if whole <= size * 1e9 * _SPARE), None)
    if gpu and whole > gpu.memory * _SPARE:
        yield f"         more than {_SPARE:.0%} of {gpu.name}'s {gpu.memory / 1e9:.0f} GB: it will hardly fit"
    fits = f"GPUs of {fitting} GB and more" if fitting else "no GPU that is sold"
    remedy = "" if fitting else "; `parallel: fsdp`, `activation_checkpointing`, or fewer `max_tokens` make it smaller"
    yield f"fits     {fits}{remedy}"
    if one.cache:
        yield f"disk     {one.cache / 1e9:.1f} GB of vision features"


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
