"""One stage made ready: the model's trainable parts chosen, data opened, packs planned, optimizer built.

Kept apart from the loop so that the loop can be read as what happens in time, and this as what there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.optim import AdamW

from sensorium.data.dataset import Dataset
from sensorium.data.sources import load_sources
from sensorium.errors import SensoriumError
from sensorium.model.attention import is_plain, use_grouped_attention
from sensorium.model.language import add_lora
from sensorium.model.multimodal import MultimodalModel
from sensorium.progress import ProgressCallback
from sensorium.rendering import Renderer
from sensorium.training.features import FeatureCache, build_feature_cache
from sensorium.training.measure import mean_tokens
from sensorium.training.objective import Objective
from sensorium.training.optimizer import build_optimizer
from sensorium.training.packing import Indices, PackPlan, plan_packs
from sensorium.training.parallel import Parallel, compile_layers
from sensorium.training.ranks import ALONE, Ranks
from sensorium.training.recipe import Recipe, StageConfig
from sensorium.training.replies import ReplyObjective
from sensorium.training.samples import SceneSamples, SourceSamples
from sensorium.training.trainable import choose_trainable, rate_shares
from sensorium.training.words import WordObjective


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

    def packs_of_step(self, step: int, ranks: Ranks) -> list[Indices]:
        """What a process works on in a step, counted from 0: every size-th of the step's packs."""
        first = step * self.config.accumulate
        return self.plan.packs[first + ranks.rank : first + self.config.accumulate : ranks.size]


def prepare_stage(
    model: MultimodalModel, recipe: Recipe, number: int, tell: ProgressCallback, ranks: Ranks = ALONE
) -> Stage:
    """Freeze and unfreeze, add adapters where the stage brings them, open the data, share the model among processes.

    Raises SensoriumError when the stage has less than one step of data, asks for what the data does not hold, or has
    fewer batches a step than there are processes.
    """
    config = recipe.stages[number]
    if config.accumulate % ranks.size:
        raise SensoriumError(f"stage {config.name}: accumulate", f"{config.accumulate} batches a step cannot be shared "
                             f"evenly by {ranks.size} processes.", f"Set it to a multiple of {ranks.size}.")
    take_shape(model, recipe, number)
    if config.together > 1 and not is_plain(model.language):
        what = "not all layers of this language model are plain attention; conversations in one row would mix."
        raise SensoriumError(f"stage {config.name}: together", what, "Set it to 1.")
    if model.device.type == "cpu":
        use_grouped_attention(model.language)
    choose_trainable(model, config)
    to_precision(model, recipe.precision, keep=_trained_in_full_later(recipe, number))
    with ranks.in_turn():
        objective = _objective(model, recipe, config, number, tell)
        validation = _validation(model, recipe, config, tell)
    plan = plan_packs(objective.sizes, config.batch, recipe.seed * 1000 + number)
    total_steps = len(plan) // config.accumulate
    if total_steps == 0:
        raise SensoriumError(f"stage {config.name}", "has less data than one step takes.", "Raise `samples`.")
    if recipe.compile:
        compile_layers(model)
    parallel = Parallel(model, ranks, recipe.parallel, recipe.precision)
    if parallel.is_sharded and isinstance(objective, ReplyObjective):
        objective.always_look()
    groups = choose_trainable(model, config)  # once more: their slices may stand in their places now
    rates = {str(name): rate for name, rate in config.learning_rates.items()}
    optimizer = build_optimizer(groups, rates, config.optimizer, rate_shares(model, config))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return Stage(number, config, objective, validation, plan, parallel, optimizer, parameters, total_steps)


def take_shape(model: MultimodalModel, recipe: Recipe, number: int) -> None:
    """Make the model what it is in a stage: its view's size, and adapters where it has none yet.

    Adapters are drawn by the recipe's seed alone, so that neither earlier stages nor other processes change them.
    """
    wanted = recipe.model_at(number)
    if wanted.lora is not None and model.config.lora is None:
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            add_lora(model.language, wanted.lora)
    model.config, model.vision.config = wanted, wanted.vision
    if recipe.activation_checkpointing:
        for tower in (model.vision.stem, model.language):
            tower.activation_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]


def check_data(recipe: Recipe) -> None:
    """Raises SensoriumError where data that the recipe names is not there, before anything is made."""
    for place in {recipe.data, recipe.validation, *(stage.data for stage in recipe.stages)} - {None}:
        assert place is not None
        if is_sources(place):
            load_sources(place)
        else:
            Dataset(place)


def to_precision(model: MultimodalModel, precision: str, keep: bool = False) -> None:
    """Frozen weights of the language model in the recipe's precision, whatever trains in float32.

    keep: leave frozen weights in float32 too, because a later stage trains them and rounding cannot be undone.
    """
    frozen = torch.bfloat16 if precision == "bfloat16" and not keep else torch.float32
    for parameter in model.language.parameters():
        parameter.data = parameter.data.to(torch.float32 if parameter.requires_grad else frozen)


def _trained_in_full_later(recipe: Recipe, number: int) -> bool:
    """Whether a later stage trains the language model itself, not adapters."""
    later = range(number + 1, len(recipe.stages))
    return any("language" in recipe.stages[n].learning_rates and recipe.model_at(n).lora is None for n in later)


def _objective(
    model: MultimodalModel, recipe: Recipe, config: StageConfig, number: int, tell: ProgressCallback
) -> Objective:
    """What the stage trains on."""
    place, seed = config.data or recipe.data, recipe.seed * 1000 + number
    if config.objective == "words":
        return _words(model, recipe, place, "train", config.samples, seed, tell)
    if is_sources(place):
        return _from_sources(model, config, place, config.samples, seed, tell)
    return _from_folder(model, recipe, config, place, "train", config.samples, seed, tell)


def _validation(
    model: MultimodalModel, recipe: Recipe, config: StageConfig, tell: ProgressCallback
) -> Objective | None:
    """What the stage is validated on: the same samples at every stage of a kind, whatever the stage's seed."""
    place, samples = recipe.validation or config.data or recipe.data, recipe.validation_samples
    if is_sources(place):
        if config.objective == "words" or recipe.validation is None:
            return None
        settings = load_sources(place).alone()
        whole = SourceSamples(settings, None, 0)
        drawn = SourceSamples(settings, min(samples, len(whole)), 0)
        return ReplyObjective(model, drawn, None, config.weighting, tell)
    if config.objective == "words":
        return _words(model, recipe, place, "val", samples, 0, tell)
    return _from_folder(model, recipe, config, place, "val", samples, 0, tell)


def is_sources(place: Path) -> bool:
    """Whether `data` names a file of sources and not a dataset folder."""
    return place.suffix in (".yaml", ".yml")


def _words(
    model: MultimodalModel, recipe: Recipe, place: Path, split: str, samples: int | None, seed: int,
    tell: ProgressCallback,
) -> WordObjective:
    if is_sources(place):
        raise SensoriumError(place, "is a file of sources; the word warm-up needs scenes, whose every thing is known.",
                             "Give it a dataset folder, or leave the warm-up out.")
    data = Dataset(place)
    cache = _cache(model, recipe, data, split, tell)
    if cache is None:
        raise SensoriumError("objective: words", "needs a frozen vision stem.",
                             "Set vision.tail_blocks, or leave `vision` out of learning_rates.")
    # Held-out names are no negatives either: to push visual tokens away from them would spoil the test of them.
    held_out = set(data.info.get("held_out", {}).get("objects", ()))
    names = [name for name in data.info["vocabulary"] if name not in held_out]
    scenes = data.scenes(split)
    return WordObjective(model, scenes, cache, samples or len(scenes), seed, names)


def _from_folder(
    model: MultimodalModel, recipe: Recipe, config: StageConfig, place: Path, split: str, samples: int | None,
    seed: int, tell: ProgressCallback,
) -> ReplyObjective:
    data = Dataset(place)
    cache = _cache(model, recipe, data, split, tell)
    tell(f"reading conversations of {split}", 0, 0)
    tasks: dict[str, float] = {
        task: share for task, share in config.tasks.items() if split == "train" or data.conversations(split, [task])
    }
    if not tasks:
        raise SensoriumError(f"{data.root}: split {split!r}", f"has no conversation of {', '.join(config.tasks)}.",
                             "Build the data with them, or change the stage's tasks.")
    drawn = SceneSamples.of(data, split, tasks, samples, seed, config.together)
    return ReplyObjective(model, drawn, cache, config.weighting, tell)


def _from_sources(
    model: MultimodalModel, config: StageConfig, place: Path, samples: int | None, seed: int, tell: ProgressCallback
) -> ReplyObjective:
    if "tasks" in config.model_fields_set or config.together > 1:
        raise SensoriumError(f"stage {config.name}", f"`tasks` and `together` are for dataset folders; {place} names "
                             "sources.", "Give the sources weights, and `rewrite: {tasks: …}`, in that file.")
    settings = load_sources(place)
    tokens = None
    if settings.shares == "tokens":
        renderer = Renderer(model.tokenizer, model.tokens_per_picture)
        tokens = mean_tokens(SourceSamples(settings.alone(), None, seed), renderer)
    return ReplyObjective(model, SourceSamples(settings, samples, seed, tokens), None, config.weighting, tell)


def _cache(
    model: MultimodalModel, recipe: Recipe, data: Dataset, split: str, tell: ProgressCallback
) -> FeatureCache | None:
    """The feature cache of a split, or None when the stem trains in this stage."""
    if any(p.requires_grad for p in model.vision.stem.parameters()):
        return None
    paths = [scene.image for scene in data.scenes(split)]
    precision = torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32
    return build_feature_cache(
        model, paths, precision, lambda done, total: tell(f"vision features of {split}", done, total)
    )
