"""The recipe: what to build, on which data, in which stages. One YAML file with the same tree as the objects it builds.

A stage is named by what it trains. Its `objective` is `words` (the word warm-up: visual tokens learn to point at the
embeddings of the names of what they cover, the language model is not run) or `replies` (next-token loss on the
assistant's words). Unknown keys are errors that suggest the nearest key.

A file may name another as its `base`, beside it, and then says only what differs. And it may name a model to `start`
from, whose parts and weights are taken over (`training.start`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from sensorium.configuration import explain, laid_over, read_yaml
from sensorium.errors import SensoriumError
from sensorium.model.language import LoraConfig
from sensorium.model.multimodal import ModelConfig
from sensorium.training.optimizer import OptimizerConfig
from sensorium.training.packing import PackConfig
from sensorium.training.ranks import Mode
from sensorium.training.replies import Weighting
from sensorium.training.start import StartConfig, from_start, require_fit
from sensorium.training.trackers import TrackerName

Module = Literal["vision", "connector", "tokens", "language"]
Tower = Literal["vision", "language"]
Task = Literal["caption", "chat", "drill", "places", "several", "video", "text", "small", "reading"]
Rate = Annotated[float, Field(gt=0, le=1)]
Pattern = Annotated[str, AfterValidator(lambda text: re.compile(text).pattern)]


class StageConfig(BaseModel):
    """One stage.

    learning_rates: the peak rate of each module that trains; what is not named is frozen.
    freeze: regular expressions; what trains by its module and is named by one of them stays frozen.
    last_blocks: of a tower, only so many of its last blocks train, and what comes after them.
    layer_decay: of a tower, each block learns at so much of the rate of the one above it.
    data: what this stage learns from, instead of the recipe's.
    samples: how many pictures (words) or conversations (replies) are shown, passes over the data included; without it,
    all of the data once.
    tasks: replies from a dataset folder only; the share of each task among the samples.
    image_size: side of the square view from this stage on (the "sharpen" of multi-stage recipes).
    lora: adapters for the language model from this stage on; then `language` trains them and nothing else of it.
    cache_features: whether what the frozen lower part of the vision tower makes of each picture is computed once and
    kept on the disk, in 16 bits; refused where that part trains, and of films. Without it, yes for a dataset folder
    of pictures wherever it can be, and no for sources: pictures by the million fill a disk, and a GPU may be faster
    than reading.
    together: replies only; at most so many conversations about one picture or film share a row and its visual tokens.
    weighting: replies only; `token` or `square`, how much the tokens of long answers count (see ReplyObjective).
    accumulate: packs a step, over all processes: a step is the same step however many share it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    objective: Literal["words", "replies"]
    learning_rates: dict[Module, Rate] = Field(min_length=1)
    freeze: tuple[Pattern, ...] = ()
    last_blocks: dict[Tower, Annotated[int, Field(ge=1)]] = {}
    layer_decay: dict[Tower, Annotated[float, Field(gt=0, le=1)]] = {}
    data: Path | None = None
    samples: int | None = Field(default=None, ge=1)
    tasks: dict[Task, Annotated[float, Field(gt=0)]] = Field(default={"caption": 1.0}, min_length=1)
    image_size: int | None = Field(default=None, ge=14, le=4096)
    lora: LoraConfig | None = None
    batch: PackConfig = PackConfig()
    cache_features: bool | None = None
    together: int = Field(default=1, ge=1)
    weighting: Weighting = "token"
    accumulate: int = Field(default=1, ge=1)
    optimizer: OptimizerConfig = OptimizerConfig()


class Recipe(BaseModel):
    """A whole training.

    start: a model whose training goes on here; `model` then says only what differs from it.
    data: a dataset folder made by `sensorium data build`, or a YAML file of sources (see `sensorium data check`);
    relative to the working folder. validation: the like, to validate on; without it a dataset folder's `val` split, and
    with sources nothing.
    precision: bfloat16 runs matrices in bfloat16 (autocast) and keeps frozen weights so; trained weights and the
    optimizer stay float32. validate_every: steps between validations. checkpoint_minutes: time between checkpoints.
    parallel: how several processes share the model, `ddp` or `fsdp`; one process does not ask.
    activation_checkpointing: keep only what goes into each layer and compute the rest again on the way back: a third
    more arithmetic, a fraction of the memory. compile: run the language model's layers through torch.compile.
    trackers: where numbers go besides the journal.
    workers: processes that read, decode and render batches ahead, for each process that trains; 0: a thread of its own
    does it; without it 0 where the CPU computes, and up to 4 beside a GPU. What is learned does not depend on it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    seed: int = Field(default=0, ge=0, lt=2**32)
    start: StartConfig | None = None
    model: ModelConfig
    data: Path
    validation: Path | None = None
    stages: tuple[StageConfig, ...] = Field(min_length=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    validate_every: int = Field(default=200, ge=1)
    validation_samples: int = Field(default=128, ge=1)
    checkpoint_minutes: float = Field(default=4.0, ge=0)
    parallel: Mode = "ddp"
    activation_checkpointing: bool = False
    compile: bool = False
    trackers: tuple[TrackerName, ...] = ()
    workers: int | None = Field(default=None, ge=0, le=256)

    @model_validator(mode="after")
    def _stages_fit_together(self) -> Recipe:
        for number, stage in enumerate(self.stages):
            before, place = self.stages[:number], f"stages[{number}]"
            if stage.name in [s.name for s in before]:
                raise ValueError(f"{place}.name: `{stage.name}` is taken by an earlier stage")
            if stage.lora is not None and self.model_at(number - 1).lora not in (None, stage.lora):
                raise ValueError(f"{place}.lora: an earlier stage already brought other adapters")
            if stage.lora is not None and self.model.lora is None and _trains_language_in_full(before):
                raise ValueError(f"{place}.lora: an earlier stage trains the language model itself, not adapters")
            if stage.lora is not None and self.model.lora is None and self.start and "language" in self.start.trained:
                raise ValueError(f"{place}.lora: the language model of the start was trained itself, not adapters; "
                                 "train it on in full, or start from what `sensorium export hf` makes of it")
            if stage.objective == "words" and "vision" in stage.learning_rates and not self.model.vision.tail_blocks:
                raise ValueError(f"{place}.learning_rates.vision: `words` needs a frozen stem; set vision.tail_blocks")
            if stage.objective == "words" and stage.cache_features is False:
                raise ValueError(f"{place}.cache_features: `words` learns from cached features only; leave it out")
        return self

    def model_at(self, stage: int) -> ModelConfig:
        """The model's configuration in a stage: adapters and a size come with the stage that names them, and stay."""
        until = self.stages[: stage + 1]
        lora = next((s.lora for s in reversed(until) if s.lora), self.model.lora)
        size = next((s.image_size for s in reversed(until) if s.image_size), self.model.vision.image_size)
        vision = self.model.vision.model_copy(update={"image_size": size})
        return self.model.model_copy(update={"lora": lora, "vision": vision})


def _trains_language_in_full(stages: tuple[StageConfig, ...]) -> bool:
    """Whether a stage before any adapters trains the language model."""
    plain = list(takewhile(lambda stage: stage.lora is None, stages))
    return any("language" in stage.learning_rates for stage in plain)


def load_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe file. Raises SensoriumError naming the file, the key and what was expected.

    changes: `KEY=VALUE`, set in the file's tree before it is read; keys as in `stages.0.samples`, values as in YAML.
    """
    tree = _read(path)
    for change in changes:
        _change(tree, change)
    try:
        recipe = Recipe.model_validate(from_start(tree, path))
    except ValidationError as error:
        raise explain(path, error, Recipe) from error
    if recipe.start is not None:
        require_fit(recipe.start, recipe.model, path)
    return recipe


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe file's tree, put over that of its base. above: the files that came here by their bases."""
    tree = read_yaml(path, "Recipes are YAML files; see recipes/.")
    if not isinstance(tree, dict):
        raise SensoriumError(path, "is not a recipe: expected keys and values.")
    base = tree.pop("base", None)
    if base is None:
        return tree
    if not isinstance(base, str) or path.resolve() in above:
        raise SensoriumError(f"{path}: base", f"expected another recipe's file, found {base!r}.",
                             "No file may be its own base, nor its base's.")
    return laid_over(_read(path.parent / base, (*above, path.resolve())), tree)


def _change(tree: Any, change: str) -> None:
    key, equals, text = change.partition("=")
    *above, last = key.split(".")
    try:
        value = yaml.safe_load(text)
        for step in above:
            tree = tree[int(step)] if isinstance(tree, list) else tree.setdefault(step, {})
        if not equals or not last:
            raise ValueError
        tree[int(last) if isinstance(tree, list) else last] = value
    except (ValueError, IndexError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise SensoriumError(f"--set {change}", "cannot be set there.", "Write KEY=VALUE, as in stages.0.samples=1000."
                             ) from error
