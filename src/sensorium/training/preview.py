"""What a recipe would do, before anything is spent: packs, steps, longest sample, memory of a device, time.

Data is opened and measured exactly as training does it (and the measures are kept for it); the model is a skeleton on
torch's `meta` device, so a model far too large for this machine can be planned on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.data.dataset import Dataset
from sensorium.data.draw import passes
from sensorium.errors import SensoriumError
from sensorium.model.attention import why_not_plain
from sensorium.model.language import language_folder
from sensorium.model.multimodal import MultimodalModel
from sensorium.model.pretrained import require_weights
from sensorium.model.summary import TRAINING_BYTES, skeleton
from sensorium.model.vision import vision_folder
from sensorium.progress import ProgressCallback
from sensorium.rendering import Renderer
from sensorium.training.claim import is_claimed
from sensorium.training.data import (
    check_data,
    check_finished,
    is_sources,
    keeps_features,
    longest_read,
    room_of,
    stem_trains,
    training_samples,
    validation_place,
    validation_samples,
    word_data,
)
from sensorium.training.flops import StepCost
from sensorium.training.measure import Contribution, contributions, measure
from sensorium.training.optimizer import parameter_groups
from sensorium.training.packing import Indices, PackPlan, Sizes, padded_fill, padding_note, plan_packs
from sensorium.training.recipe import Recipe, StageConfig
from sensorium.training.stage import (
    require_even_shares,
    require_rows_to_share,
    trained_in_full_later,
    validation_plan,
)
from sensorium.training.start import load_start
from sensorium.training.trackers import open_trackers
from sensorium.training.trainable import choose_trainable, rate_shares
from sensorium.training.words import word_sizes

# Bytes that a transformer layer keeps for the backward pass, for each token and channel: 34 in 16-bit arithmetic,
# attention scores left out (Korthikanti et al., arXiv:2205.05198, section 4.1); about twice that in 32-bit. With
# activation checkpointing only what goes into the layer, and one layer at a time in full.
_KEPT, _KEPT_CHECKPOINTED = 34, 2


@dataclass(frozen=True)
class StagePreview:
    """One stage. trainable: parameters that train, by module; parameters: of the whole model.

    longest: (tokens, sample's name); padding: a line about it where packs are padded; memory: bytes of a device for
    weights, for gradients and optimizer, and an estimate for activations (of a pack with nothing but pictures, where
    the encoder trains); operations: floating-point operations of the stage, part by part, an estimate; cache: bytes of
    vision features on the disk, 0 where none are kept; warmup: steps;
    validations: how often the stage is validated, and on how many samples each time; validation_too_long: samples that
    are longer than the language model reads, and left out of it.
    """

    name: str
    trainable: dict[str, int]
    parameters: int
    packs: int
    fill: float
    padding: str
    steps: int
    packs_per_step: int
    tokens_per_step: float
    longest: tuple[int, str]
    sources: tuple[Contribution, ...]
    memory: dict[str, float]
    operations: dict[str, float]
    cache: int
    warmup: int
    validations: tuple[int, int]
    validation_too_long: int

    @property
    def device_memory(self) -> float:
        """Bytes of a device, all in all."""
        return sum(self.memory.values())

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return vars(self) | {"sources": [one.to_json() for one in self.sources]}


def preview(recipe: Recipe, processes: int, tell: ProgressCallback, run: Path | None = None) -> list[StagePreview]:
    """Plan every stage. processes: how many devices would share the run; run: its folder, if it is to be this one.

    Raises SensoriumError where training would before its first step: parts or data that are not there, a setting that
    does not fit them, too many bad samples, a sample that is too long, a tracker that is not installed, a folder of
    another run. What only the pixels of a picture or the weights of a hub's model can tell is left to training.
    """
    if run is not None:
        is_claimed(run, recipe)
        if (run / "model").exists():
            check_finished(run, recipe)
    check_data(recipe)
    open_trackers(recipe.trackers)
    require_weights(vision_folder(recipe.model.vision.part, tell), recipe.model.vision.part)
    require_weights(language_folder(recipe.model.language.part, tell), recipe.model.language.part)
    if recipe.start is not None:
        load_start(skeleton(recipe.model, tell), recipe.start)
    computed: set[tuple[Path, int]] = set()
    return [_preview(recipe, number, processes, tell, computed) for number in range(len(recipe.stages))]


def _preview(
    recipe: Recipe, number: int, processes: int, tell: ProgressCallback, computed: set[tuple[Path, int]]
) -> StagePreview:
    """computed: datasets whose vision features an earlier stage has put into the cache, and at which size."""
    config = recipe.stages[number]
    require_even_shares(config, processes)
    model = skeleton(recipe.model_at(number), tell, with_tokenizer=True)
    require_rows_to_share(model, config)
    groups = choose_trainable(model, config)
    rates = {str(name): rate for name, rate in config.learning_rates.items()}
    parameter_groups(groups, rates, config.optimizer, rate_shares(model, config))  # for what it would refuse
    trainable = {name: sum(p.numel() for _, p in group if p.requires_grad) for name, group in groups.items()}
    trainable = {name: count for name, count in trainable.items() if count}
    parameters = sum(p.numel() for p in model.parameters())
    found = _packs(recipe, number, model, tell)
    plan, sizes = found.plan, found.sizes
    steps = math.ceil(len(plan) / config.accumulate)
    validation = _validation(recipe, number, model, tell)
    used = np.concatenate(plan.packs)
    why = why_not_plain(model.language) if config.objective == "replies" else ""
    operations = _operations(recipe, number, model, sizes, found.supervised, used)
    shown = int(sizes.visual.sum()) // model.tokens_per_picture
    new, cache = _features(recipe, number, model, computed, {"train": shown, "val": validation.pictures})
    times = math.ceil(steps / recipe.validate_every) if validation.samples else 0
    operations |= {"features": new} if new else {}
    operations |= {"validation": times * validation.operations} if times else {}
    return StagePreview(
        name=config.name,
        trainable=trainable,
        parameters=parameters,
        packs=len(plan),
        fill=plan.fill,
        padding=padding_note(why, padded_fill(plan, sizes)) if why else "",
        steps=steps,
        packs_per_step=config.accumulate,
        tokens_per_step=int(sizes.whole[used].sum()) / len(plan) * config.accumulate,
        longest=found.longest,
        sources=found.sources,
        memory=_memory(recipe, number, model, sum(trainable.values()), processes),
        operations=operations,
        cache=cache,
        warmup=config.optimizer.warmup(steps),
        validations=(times, validation.samples),
        validation_too_long=validation.too_long,
    )


@dataclass(frozen=True)
class _Packs:
    """What a stage goes through. supervised [samples]: tokens that are learned of each."""

    plan: PackPlan
    sizes: Sizes
    supervised: Indices
    sources: tuple[Contribution, ...]
    longest: tuple[int, str]


def _packs(recipe: Recipe, number: int, model: MultimodalModel, tell: ProgressCallback) -> _Packs:
    config, seed = recipe.stages[number], recipe.seed * 1000 + number
    if config.objective == "words":
        data, _ = word_data(model, config.data or recipe.data)
        scenes = data.scenes("train", "plain")
        rows = passes(len(scenes), config.samples or len(scenes), seed)
        sizes = word_sizes(model.sight, scenes, rows)
        plan = plan_packs(sizes, config.batch, seed, longest_read(model))
        name = scenes[int(rows[sizes.whole.argmax()])].id if model.sight.config.depends_on_size else "any picture"
        return _Packs(plan, sizes, np.zeros(len(rows), dtype=np.int64), (), (int(sizes.whole.max()), name))
    samples = training_samples(model, recipe, number, tell)
    measures = measure(samples, Renderer.of(model), tell, room_of(model, config))
    plan = plan_packs(measures.sizes, config.batch, seed, longest_read(model), lambda i: samples[i][0].where)
    longest = int(measures.sizes.whole.argmax())
    name = "+".join(talk.id for talk in samples[longest])
    sources = tuple(contributions(samples, measures, plan))
    return _Packs(plan, measures.sizes, measures.supervised, sources, (int(measures.sizes.whole[longest]), name))


@dataclass(frozen=True)
class _Validation:
    """What one validation goes through, forward only. too_long: samples that are left out of it; pictures: of all that
    there are to validate on.
    """

    samples: int = 0
    pictures: int = 0
    operations: float = 0.0
    too_long: int = 0


def _validation(recipe: Recipe, number: int, model: MultimodalModel, tell: ProgressCallback) -> _Validation:
    """Open and measure what the stage is validated on. Raises SensoriumError as training does."""
    config, place = recipe.stages[number], validation_place(recipe, number)
    if place is None:
        return _Validation()
    if config.objective == "words":
        data, _ = word_data(model, place)
        scenes, count = data.scenes("val", "plain"), recipe.validation_samples
        pictures, sizes = len(scenes), word_sizes(model.sight, scenes, passes(len(scenes), count, 0))
        used, supervised, too_long = np.arange(count), np.zeros(count, dtype=np.int64), 0
    else:
        samples = validation_samples(recipe, number, place, tell)
        measures = measure(samples, Renderer.of(model), tell, room_of(model, config))
        pictures = int(measures.sizes.visual.sum()) // model.tokens_per_picture
        plan = validation_plan(measures.sizes, config.batch, longest_read(model))
        used, sizes, supervised = np.concatenate(plan.packs), measures.sizes, measures.supervised
        too_long = len(plan.unreadable)
    training = {p for p in model.parameters() if p.requires_grad}
    keeps = keeps_features(model, config, place)
    cost = StepCost.of(model.requires_grad_(False))
    for parameter in training:
        parameter.requires_grad_(True)
    operations = _part_operations(config, model, cost, keeps, sizes, supervised, used)
    return _Validation(len(used), pictures, sum(operations.values()), too_long)


def _operations(
    recipe: Recipe, number: int, model: MultimodalModel, sizes: Sizes, supervised: Indices, used: Indices
) -> dict[str, float]:
    """Of the stage's samples `used`, forward and backward. A sample of several conversations counts as one."""
    keeps = _keeps_features(recipe, number, model)
    found = _part_operations(recipe.stages[number], model, StepCost.of(model), keeps, sizes, supervised, used)
    again = 4 / 3 if recipe.activation_checkpointing else 1  # the forward pass once more
    return {part: count * (again if part in ("vision", "language") else 1) for part, count in found.items()}


def _part_operations(
    config: StageConfig, model: MultimodalModel, cost: StepCost, keeps_features: bool, sizes: Sizes,
    supervised: Indices, used: Indices,
) -> dict[str, float]:
    patches = math.prod(model.vision.grid)
    pictures = int(sizes.visual[used].sum()) / model.tokens_per_picture
    vision = cost.tail.flops(patches, patches**2)
    if not keeps_features:
        vision += cost.stem.flops(patches, patches**2)
    found = {"vision": pictures * vision, "connector": pictures * cost.connector}
    if config.objective == "replies":
        tokens = sizes.whole[used].astype(np.float64)
        found |= {"language": cost.language.flops(tokens.sum(), np.square(tokens).sum()),
                  "head": cost.head * int(supervised[used].sum())}
    return found


def _keeps_features(recipe: Recipe, number: int, model: MultimodalModel) -> bool:
    config = recipe.stages[number]
    return keeps_features(model, config, config.data or recipe.data)


def _features(
    recipe: Recipe, number: int, model: MultimodalModel, computed: set[tuple[Path, int]], shown: dict[str, int]
) -> tuple[float, int]:
    """Operations that fill the feature cache before the stage, and its bytes on the disk, both an upper limit: another
    run may have filled it, and sources may show a picture twice. shown: how many pictures training and validation show.
    Raises SensoriumError for one of a dataset folder that is not there.
    """
    if not _keeps_features(recipe, number, model):
        return 0.0, 0
    patches, places = math.prod(model.vision.grid), [(recipe.stages[number].data or recipe.data, "train")]
    validation = validation_place(recipe, number)
    if validation is not None and keeps_features(model, recipe.stages[number], validation):
        places.append((validation, "val"))
    n_new = n_pictures = 0
    for place, split in places:
        count = shown[split] if is_sources(place) else _pictures_there(Dataset(place), split)
        n_pictures += count
        if (key := (Path(place, split), recipe.model_at(number).vision.image_size)) not in computed:
            computed.add(key)
            n_new += count
    return n_new * StepCost.of(model).stem.flops(patches, patches**2), 2 * n_pictures * patches * model.vision.width


def _pictures_there(data: Dataset, split: str) -> int:
    paths = {scene.image for scene in data.scenes(split)}
    if missing := next((path for path in sorted(paths) if not Path(path).is_file()), None):
        raise SensoriumError(missing, "is not there, and a scene of the dataset shows it.", "Build the data again.")
    return len(paths)


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
    if stem_trains(model):  # a frozen one keeps nothing
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
