"""What the stages of a recipe train and are validated on: dataset folders and files of sources, made into objectives.

A dataset folder (`sensorium data build`) has scenes, splits and tasks; a file of sources (`sensorium data check`) has
other people's datasets, and such folders beside them, and says itself how they are mixed. Either is told from the other
by its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sensorium.conversation import Image
from sensorium.data.dataset import Dataset
from sensorium.data.sources import load_sources
from sensorium.errors import SensoriumError
from sensorium.model.checkpoint import read_config
from sensorium.model.multimodal import MultimodalModel
from sensorium.progress import ProgressCallback
from sensorium.rendering import Renderer
from sensorium.training.features import FeatureCache, build_feature_cache, require_frozen_stem
from sensorium.training.measure import mean_tokens
from sensorium.training.objective import Objective
from sensorium.training.packing import Room
from sensorium.training.recipe import Recipe, StageConfig
from sensorium.training.replies import ReplyObjective
from sensorium.training.samples import SamplePictures, Samples, SceneSamples, SourceSamples, row_files
from sensorium.training.words import WordObjective, require_places

_PIECES, _PIECE = 16, 1 << 16  # of a file, and bytes of each


def check_data(recipe: Recipe) -> None:
    """Raises SensoriumError where data that the recipe names is not there, before anything is made."""
    for place in {recipe.data, recipe.validation, *(stage.data for stage in recipe.stages)} - {None}:
        assert place is not None
        if not place.is_absolute() and not place.exists():
            raise SensoriumError(place, f"is not there. A recipe's paths are relative to where you are, {Path.cwd()}.",
                                 "Go to another folder, or change `data` (--data).")
        if is_sources(place):
            load_sources(place)
        else:
            Dataset(place)


def is_sources(place: Path) -> bool:
    """Whether `data` names a file of sources and not a dataset folder."""
    return place.suffix in (".yaml", ".yml")


def provenance(recipe: Recipe) -> dict[str, Any]:
    """The name and the fingerprint of a recipe's data, and of what some stages have of their own, by stage.

    Of sources the fingerprint is of the file that names them, and `rows` of what lies beneath, pictures left out.
    """
    own = {stage.name: _identity(stage.data) for stage in recipe.stages if stage.data is not None}
    return _identity(recipe.data) | ({"stages": own} if own else {})


def _identity(place: Path) -> dict[str, Any]:
    if is_sources(place):
        rows = hashlib.sha256()
        for source in load_sources(place).sources:
            for file in row_files(source):
                rows.update(_content_mark(file))
        return {"name": place.stem, "fingerprint": hashlib.sha256(place.read_bytes()).hexdigest(),
                "rows": rows.hexdigest()}
    info = Dataset(place).info
    return {key: info.get(key) for key in ("name", "fingerprint")}


def _content_mark(path: Path) -> bytes:
    """A hash of a file's size and of pieces from end to end: of all of it up to a megabyte, of a terabyte at once.

    Not of its time of change: a copy on another machine is the same data. Raises OSError.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(f"{path.name} {size} ".encode())
    with path.open("rb") as file:
        for number in range(_PIECES):
            file.seek(max(number * _PIECE, number * (size - _PIECE) // (_PIECES - 1)))
            digest.update(file.read(_PIECE))
    return digest.digest()


def check_finished(run: Path, recipe: Recipe) -> None:
    """Raises SensoriumError when a finished run's model was trained on what the recipe's data no longer is.

    Data that is gone by now says nothing against the model.
    """
    then = read_config(run / "model")[1].get("provenance", {}).get("data", {})
    try:
        now = provenance(recipe)
    except (OSError, SensoriumError):
        return
    pairs = [(recipe.data, then, now)]
    pairs += [(stage.data, then.get("stages", {}).get(stage.name, {}), now["stages"][stage.name])
              for stage in recipe.stages if stage.data is not None]
    for place, before, after in pairs:
        # Runs of earlier versions, and dataset folders, have no mark of their rows.
        if any(before.get(key) not in (None, after.get(key)) for key in ("fingerprint", "rows")):
            raise SensoriumError(place, f"has changed since the model in {run} was trained on it.",
                                 "Choose another --out to train on it as it is now, or put it back.")


def training_objective(model: MultimodalModel, recipe: Recipe, number: int, tell: ProgressCallback) -> Objective:
    """What a stage trains on. Raises SensoriumError when it asks for what the data does not hold."""
    config = recipe.stages[number]
    if config.objective == "words":
        place = config.data or recipe.data
        return _words(model, recipe, place, "train", config.samples, recipe.seed * 1000 + number, tell)
    samples = training_samples(model, recipe, number, tell)
    cache = _cache_for(model, recipe, config, samples, config.data or recipe.data, "train", tell)
    return ReplyObjective(model, samples, cache, config.weighting, tell, room_of(model, config))


def longest_read(model: MultimodalModel) -> int | None:
    """Tokens that the language model has positions for; None where its configuration does not say."""
    config: Any = model.language.config
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def room_of(model: MultimodalModel, config: StageConfig) -> Room | None:
    """What a sample may take before its pictures are cut into fewer tiles.

    Raises SensoriumError where features are kept: they are of the pictures as they are cut when there is room.
    """
    room = config.batch.room(longest_read(model))
    if room is not None and config.cache_features:
        raise SensoriumError(f"stage {config.name}: batch.too_long", "is `fewer_tiles`, and features are kept of all "
                             "tiles.", "Leave `cache_features` out, or choose another policy.")
    return room


def training_samples(model: MultimodalModel, recipe: Recipe, number: int, tell: ProgressCallback) -> Samples:
    """The conversations that a stage of replies trains on. Of the model only the tokenizer and the shape are asked."""
    config = recipe.stages[number]
    place, seed = config.data or recipe.data, recipe.seed * 1000 + number
    if not is_sources(place):
        return _scenes(config, Dataset(place), "train", config.samples, seed, tell)
    if "tasks" in config.model_fields_set or config.together > 1:
        raise SensoriumError(f"stage {config.name}", f"`tasks` and `together` are for dataset folders; {place} names "
                             "sources.", "Give the sources weights, tasks, and `rewrite: {tasks: …}`, in that file.")
    settings = load_sources(place)
    tokens = None
    if settings.shares == "tokens":
        renderer = Renderer.of(model)
        tokens = mean_tokens(SourceSamples(settings.alone(), None, seed), renderer)
    return SourceSamples(settings, config.samples, seed, tokens)


def validation_objective(
    model: MultimodalModel, recipe: Recipe, number: int, tell: ProgressCallback
) -> Objective | None:
    """What a stage is validated on: the same samples at every stage of a kind, whatever the stage's seed."""
    config = recipe.stages[number]
    place = validation_place(recipe, number)
    if place is None:
        return None
    if config.objective == "words":
        return _words(model, recipe, place, "val", recipe.validation_samples, 0, tell)
    samples = validation_samples(recipe, number, place, tell)
    cache = _cache_for(model, recipe, config, samples, place, "val", tell)
    return ReplyObjective(model, samples, cache, config.weighting, tell, room_of(model, config))


def validation_place(recipe: Recipe, number: int) -> Path | None:
    """The data that a stage is validated on; None where there is none."""
    config = recipe.stages[number]
    place = recipe.validation or config.data or recipe.data
    return None if is_sources(place) and (config.objective == "words" or recipe.validation is None) else place


def validation_samples(recipe: Recipe, number: int, place: Path, tell: ProgressCallback) -> Samples:
    """The conversations that a stage of replies is validated on."""
    count = recipe.validation_samples
    if not is_sources(place):
        return _scenes(recipe.stages[number], Dataset(place), "val", count, 0, tell)
    settings = load_sources(place).alone()
    whole = SourceSamples(settings, None, 0)
    drawn = SourceSamples(settings, min(count, len(whole)), 0)
    drawn.max_bad = 1.0  # of a hundred samples two bad ones say little; training counts on all of its own
    return drawn


def word_data(model: MultimodalModel, place: Path) -> tuple[Dataset, list[str]]:
    """The scenes of a word warm-up, and the names in them that are learned.

    Raises SensoriumError where the data or the model is none for it.
    """
    if is_sources(place):
        raise SensoriumError(place, "is a file of sources; the word warm-up needs scenes, whose every thing is known.",
                             "Give it a dataset folder, or leave the warm-up out.")
    if stem_trains(model):
        raise SensoriumError("objective: words", "needs a frozen vision stem.",
                             "Set vision.tail_blocks, or leave `vision` out of learning_rates.")
    require_places(model)
    data = Dataset(place)
    # Held-out names are no negatives either: to push visual tokens away from them would spoil the test of them.
    held_out = set(data.info.get("held_out", {}).get("objects", ()))
    return data, [name for name in data.info.get("vocabulary", ()) if name not in held_out]


def stem_trains(model: MultimodalModel) -> bool:
    """Whether a stage trains the lower part of the vision tower, whose output can then not be kept in a cache."""
    return any(p.requires_grad for p in model.vision.stem.parameters())


def _words(
    model: MultimodalModel, recipe: Recipe, place: Path, split: str, samples: int | None, seed: int,
    tell: ProgressCallback,
) -> WordObjective:
    data, names = word_data(model, place)
    scenes = data.scenes(split, "plain")  # what is smaller than a token has no token to teach
    cache = _cache(model, recipe, _scene_pictures(data, split), split, tell)
    return WordObjective(model, scenes, cache, samples or len(scenes), seed, names)


def _scenes(
    config: StageConfig, data: Dataset, split: str, samples: int | None, seed: int, tell: ProgressCallback
) -> SceneSamples:
    tell(f"reading conversations of {split}", 0, 0)
    tasks: dict[str, float] = {
        task: share for task, share in config.tasks.items() if split == "train" or data.conversations(split, [task])
    }
    if not tasks:
        raise SensoriumError(f"{data.root}: split {split!r}", f"has no conversation of {', '.join(config.tasks)}.",
                             "Build the data with them, or change the stage's tasks.")
    return SceneSamples.of(data, split, tasks, samples, seed, config.together)


def keeps_features(model: MultimodalModel, config: StageConfig, place: Path) -> bool:
    """Whether a stage reads pictures of `place` from the feature cache. Raises SensoriumError where it asks for it and
    cannot have it.
    """
    if config.cache_features:
        require_frozen_stem(model, f"stage {config.name}: cache_features")
        if _shows_films(place):
            raise SensoriumError(f"stage {config.name}: cache_features", f"{place} shows films, whose frames are many "
                                 "and seen once: their features are not kept.",
                                 "Leave `cache_features` out, or give pictures and films stages of their own.")
    of_one_cut = config.batch.too_long != "fewer_tiles" and model.config.views.has_one_size
    wanted = config.cache_features
    if wanted is None:
        wanted = of_one_cut and not is_sources(place) and not _shows_films(place)
    return wanted and not stem_trains(model)


def _shows_films(place: Path) -> bool:
    """Whether a dataset folder, or any of the sources that a file names, shows films."""
    if is_sources(place):
        return any(source.shows_films() for source in load_sources(place).sources)
    data = Dataset(place)
    return any(data.has_films(split) for split in data.splits)


def _cache_for(
    model: MultimodalModel, recipe: Recipe, config: StageConfig, samples: Samples, place: Path, split: str,
    tell: ProgressCallback,
) -> FeatureCache | None:
    """The feature cache of what a stage of replies shows, or None where it has none."""
    if not keeps_features(model, config, place):
        return None
    if is_sources(place):
        tell(f"looking for pictures of {split}", 0, 0)
        return _cache(model, recipe, SamplePictures(samples), split, tell, skip_damaged=True)
    return _cache(model, recipe, _scene_pictures(Dataset(place), split), split, tell)


def _scene_pictures(data: Dataset, split: str) -> list[str]:
    return [scene.image for scene in data.scenes(split)]


def _cache(
    model: MultimodalModel, recipe: Recipe, pictures: Sequence[Image | str], split: str, tell: ProgressCallback,
    skip_damaged: bool = False,
) -> FeatureCache:
    precision = torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32

    def told(done: int, total: int) -> None:
        tell(f"vision features of {split}", done, total)

    return build_feature_cache(model, pictures, precision, told, skip_damaged)
