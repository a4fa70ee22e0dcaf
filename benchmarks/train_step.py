"""How much faster is our training step than the plain way, on the same model, data, seed and precision?

Ours: full packs without padding, conversations about one picture sharing its tokens as the recipe says, logits for
supervised positions only, vision features from the cache, on CPUs attention by plain products. Plain: batches of fixed
size in random order padded to their longest, logits and loss over every position of the whole vocabulary, the frozen
vision stem run on every picture at every step, PyTorch's own attention. Both go through the same `train_step` with the
same trainable parts and optimizer, see exactly the same conversations, and take turns, so that whatever else the
machine does hits both.

    python benchmarks/train_step.py runs/scenes --recipe recipes/default.yaml

Target: a ratio of at least 2. Preparing batches (reading, rendering, opening pictures) is timed with both; filling the
cache is not: it is paid once and shared by all passes and stages, and its time is printed apart.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from plain import PlainObjective, apart, now

from sensorium.data.dataset import ConversationRow, Dataset
from sensorium.model.attention import use_grouped_attention
from sensorium.model.device import best_device
from sensorium.model.language import add_lora
from sensorium.model.multimodal import MultimodalModel
from sensorium.training.features import build_feature_cache
from sensorium.training.loop import train_step
from sensorium.training.optimizer import build_optimizer
from sensorium.training.packing import plan_packs
from sensorium.training.parallel import Parallel
from sensorium.training.ranks import ALONE
from sensorium.training.recipe import Recipe, StageConfig, load_recipe
from sensorium.training.replies import ReplyObjective
from sensorium.training.samples import SceneSamples
from sensorium.training.stage import Stage, to_precision
from sensorium.training.trainable import choose_trainable


@dataclass
class Side:
    """One of the two ways: its stage, attention and batches; what it has taken so far."""

    name: str
    stage: Stage
    attention: str
    batches: list[list[int]]
    seconds: float = 0.0
    samples: int = 0
    supervised: float = 0.0
    padded_tokens: int = 0
    tokens: int = 0

    def step(self, model: MultimodalModel, indices: Sequence[int], precision: str, is_timed: bool = True) -> None:
        model.language.set_attn_implementation(self.attention)  # type: ignore[operator]
        started = now()
        batch = self.stage.objective.batch(indices)
        done = train_step(self.stage, [batch], precision)
        if is_timed:
            self.seconds += now() - started
            self.samples += done.samples
            self.supervised += batch.n_supervised
            self.padded_tokens += batch.input_ids.numel()
            self.tokens += done.tokens

    @property
    def samples_per_s(self) -> float:
        return self.samples / self.seconds

    @property
    def padding(self) -> float:
        """Share of the positions that are nothing but padding."""
        return 1 - self.tokens / self.padded_tokens


def main() -> None:
    options = _options()
    recipe = load_recipe(options.recipe)
    torch.manual_seed(options.seed)
    number = [stage.name for stage in recipe.stages].index(options.stage)
    model = staged_model(recipe, number)
    ours, plain = sides(model, recipe, number, options)
    sizes = f"{options.samples} conversations in {len(ours.batches)} and {len(plain.batches)} steps"
    print(f"stage {options.stage}, {recipe.precision}, {torch.get_num_threads()} threads, {sizes}")
    for side in (ours, plain):  # memory is claimed and kernels are chosen before anything is timed
        side.step(model, side.batches[0], recipe.precision, is_timed=False)
    for side, indices in alternate(ours, plain):
        side.step(model, indices, recipe.precision)
        print(f"  {side.name:5}  {side.samples:4} conversations  {side.samples_per_s:6.2f}/s", flush=True)
    report(ours, plain, options.json)


def staged_model(recipe: Recipe, number: int) -> MultimodalModel:
    """The recipe's model with the adapters of a stage, untrained."""
    model = recipe.model.build().to(best_device())
    wanted = recipe.model_at(number)
    if wanted.lora is not None:
        add_lora(model.language, wanted.lora)
        model.config = wanted
    return model


def sides(model: MultimodalModel, recipe: Recipe, number: int, options: argparse.Namespace) -> tuple[Side, Side]:
    """Both ways to train the model on the same drawn conversations."""
    config = recipe.stages[number]
    groups = choose_trainable(model, config)
    to_precision(model, recipe.precision)
    rates = {str(name): rate for name, rate in config.learning_rates.items()}
    optimizer = build_optimizer(groups, rates, config.optimizer)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    rows = chosen_rows(Dataset(options.data), config, options.samples)
    shares = {str(task): share for task, share in config.tasks.items() if rows[task]}
    paths = [str(i.source) for task in rows.values() for row in task for i in row.conversation().images]
    started = now()
    cache = build_feature_cache(model, paths, torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32)
    print(f"feature cache: {now() - started:.1f} s for {len(set(paths))} pictures (not timed below)")
    drawn = SceneSamples(rows, shares, options.samples, options.seed, config.together)
    ours = ReplyObjective(model, drawn, cache)
    alone = apart(drawn)
    plain = PlainObjective(model, alone)

    budget = config.batch.model_copy(update={"max_samples": min(options.batch, config.batch.max_samples or 10**9)})
    plan = plan_packs(ours.sizes, budget, options.seed)
    batches = [pack.tolist() for pack in plan.packs]
    order = np.random.default_rng(options.seed).permutation(len(alone))
    plain_batches = [part.tolist() for part in np.array_split(order, len(batches))]  # as many steps as ours

    usual = model.language.config._attn_implementation  # type: ignore[union-attr]
    attention = "grouped" if model.device.type == "cpu" else str(usual)
    if attention != usual:
        use_grouped_attention(model.language)

    def stage(objective: ReplyObjective) -> Stage:
        return Stage(number, config, objective, objective, plan, Parallel(model, ALONE), optimizer, parameters,
                     len(batches))

    return Side("ours", stage(ours), attention, batches), Side("plain", stage(plain), str(usual), plain_batches)


def chosen_rows(data: Dataset, config: StageConfig, samples: int) -> Mapping[str, Sequence[ConversationRow]]:
    """The conversations about the first so many pictures that each is drawn as often as in the recipe.

    Drawn from all pictures, a short benchmark would hardly meet one twice, and sharing would look useless; drawn from
    too few, it would look better than it is.
    """
    n_scenes = len(data.scenes("train"))
    wanted = min(n_scenes, max(1, round(samples * n_scenes / (config.samples or samples))))
    scenes = {scene.id for scene in data.scenes("train")[:wanted]}
    rows = {str(task): data.conversations("train", [task]) for task in config.tasks}
    return {task: [row for row in found if row.scene is None or row.scene in scenes] for task, found in rows.items()}


def alternate(first: Side, second: Side) -> Iterator[tuple[Side, Sequence[int]]]:
    """ABAB until both have taken all their batches."""
    for index in range(max(len(first.batches), len(second.batches))):
        for side in (first, second):
            if index < len(side.batches):
                yield side, side.batches[index]


def report(ours: Side, plain: Side, as_json: bool) -> None:
    assert (ours.samples, ours.supervised) == (plain.samples, plain.supervised), "both must see the same conversations"
    ratio = ours.samples_per_s / plain.samples_per_s
    if as_json:
        print(json.dumps({"ours": ours.samples_per_s, "plain": plain.samples_per_s, "ratio": ratio}))
        return
    for side in (ours, plain):
        speed = f"{side.samples_per_s:6.2f} samples/s  {side.tokens / side.seconds:6.0f} tokens/s"
        print(f"{side.name:5}  {speed}  padding {side.padding:.0%}  ({side.samples} samples in {side.seconds:.1f} s)")
    print(f"ratio  {ratio:.2f}  (target 2)")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a dataset folder made by `sensorium data build scenes`")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/default.yaml"))
    parser.add_argument("--stage", default="instruct", help="a stage of the recipe whose objective is `replies`")
    parser.add_argument("--samples", type=int, default=96, help="conversations")
    parser.add_argument("--batch", type=int, default=16, help="most rows in a batch of ours")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    main()
