"""A worse model out of a good one: noise on what it has learnt to see by, the same every time.

    python benchmarks/weaken.py runs/weak                       the default model, its connector under noise
    python benchmarks/weaken.py runs/weak --noise 0.5 --module vision --module connector --seed 1
    sensorium compare-methods -d runs/scenes -o runs/weak-methods --model runs/weak --engine auto --method correct

What mends a weak model may harm a strong one; both must be measured. Each weight of the modules gets normal noise of
`--noise` times the spread of its tensor, so the checkpoint stays what it was in form, size and parts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file

from sensorium.errors import SensoriumError
from sensorium.model.checkpoint import read_config, write_checkpoint
from sensorium.model.folder import model_folder
from sensorium.parts.cache import whole_or_nothing

MODULES = ("connector", "vision")


def weaken(folder: Path, out: Path, noise: float, seed: int, modules: tuple[str, ...]) -> int:
    """Write the noisy checkpoint; returns how many tensors were changed. Raises SensoriumError when `out` exists."""
    if out.exists():
        raise SensoriumError(out, "exists already.", "Choose another folder, or remove it.")
    config, content = read_config(folder)
    tensors = load_file(folder / "trained.safetensors")
    draw = torch.Generator().manual_seed(seed)
    changed = 0
    for name in sorted(tensors):
        weight = tensors[name]
        if name.partition(".")[0] in modules and weight.dim() > 1:  # norms and biases keep the signal's size
            drawn = torch.randn(weight.shape, generator=draw)
            spread = float(weight.float().std())
            tensors[name] = (weight.float() + noise * spread * drawn).to(weight.dtype)
            changed += 1
    weakened = {"noise": noise, "seed": seed, "modules": list(modules)}
    about = dict(content.get("provenance") or {}) | {"weakened": weakened}
    with whole_or_nothing(out) as scratch:
        write_checkpoint(scratch, config, tensors, content["trained"], content["parts"], about)
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--noise", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--module", action="append", choices=MODULES)
    options = parser.parse_args()
    modules = tuple(options.module or ("connector",))
    changed = weaken(model_folder(options.model), options.out, options.noise, options.seed, modules)
    print(f"{changed} tensors of {', '.join(modules)} under noise of {options.noise}: {options.out}")


if __name__ == "__main__":
    main()
