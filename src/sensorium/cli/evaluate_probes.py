"""`sensorium evaluate --probe`: the changed questions, asked of the model that is loaded already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.cli.terminal import Preparation, note
from sensorium.errors import SensoriumError, did_you_mean

if TYPE_CHECKING:
    from sensorium.engine.base import Sampling
    from sensorium.evaluation.asking import Asker
    from sensorium.evaluation.benchmarks import Question
    from sensorium.evaluation.response_cache import ResponseCache
    from sensorium.media.video import VideoLimits

UNTRAINED = "untrained"
_AS_IT_IS = {"engine": None, "visual_tokens": None, "compressor": None}  # the base may be of another kind; it sees none


@dataclass(frozen=True)
class Asked:
    """How the questions of a run are asked. header: what its folder is of; about: what else its replies say; limits: of
    videos."""

    asker: Asker
    identity: str
    sampling: Sampling
    cache: ResponseCache | None
    batch_size: int
    header: Mapping[str, Any]
    about: Mapping[str, Any]
    limits: VideoLimits

    def ask(self, questions: Sequence[Question], folder: Path, name: str, preparation: Preparation) -> None:
        from sensorium.evaluation.run import run
        from sensorium.evaluation.run_folder import RunFolder

        kept = RunFolder(folder / name, {**self.header, "engine": self.identity, "probe": name})
        run(
            questions, self.asker, kept, self.identity, self.sampling, 1, self.cache, self.batch_size,
            lambda _, done, total: preparation(f"probe {name}", done, total), self.about,
        )  # fmt: skip


def check_probes(names: Sequence[str], base: str | None) -> None:
    """Before anything is loaded. Raises SensoriumError for names that are none, and a base of nothing."""
    from sensorium.evaluation.probes import PROBES
    from sensorium.evaluation.probes.blind import BLIND

    for name in names:
        if name not in PROBES:
            raise SensoriumError(f"--probe {name!r}", "is not known.", did_you_mean(name, PROBES))
    blind = [one.name for one in BLIND]
    if base is not None and not set(names) & set(blind):
        raise SensoriumError("--probe-base", "is what blind probes are held against.",
                             f"Add --probe {' or '.join(blind)}.")


def ask_probes(
    names: Sequence[str], questions: Sequence[Question], asked: Asked, out: Path, preparation: Preparation
) -> None:
    """Each into a folder of its own below `out`."""
    from sensorium.evaluation.probes import FOLDER, PROBES

    for name in dict.fromkeys(names):
        changed = PROBES[name].change(questions)
        if changed:
            asked.ask(changed, out / FOLDER, name, preparation)
        else:
            note(f"{name}: the data holds all that it would ask.")


def ask_base(
    base: str, load: Mapping[str, Any], questions: Sequence[Question], asked: Asked, out: Path, preparation: Preparation
) -> None:
    """base: a model, or `untrained` for the language model as it was before ours was trained."""
    from dataclasses import replace

    from sensorium.engine.loading import load_engine
    from sensorium.evaluation.asking import Here
    from sensorium.evaluation.identity import engine_identity
    from sensorium.evaluation.probes import BASE, FOLDER
    from sensorium.evaluation.probes.blind import without_pictures

    if base == UNTRAINED:
        engine, identity = _untrained(load["name"], preparation), f"{asked.identity}-untrained"
    else:
        engine = load_engine(progress=preparation, **{**load, **_AS_IT_IS, "name": base})
        identity = engine_identity(base, engine.card, load["precision"])
    about = {**asked.about, "model": {"name": engine.card.name, "provenance": engine.card.provenance}}
    other = replace(asked, asker=Here(engine, asked.limits), identity=identity, about=about)
    other.ask(without_pictures(questions), out / FOLDER, BASE, preparation)


def compare_with_training(
    questions: Sequence[Question], training: Path, out: Path, preparation: Preparation
) -> None:
    from sensorium.evaluation.probes import FOLDER
    from sensorium.evaluation.probes.overlap import overlap_of, write_overlap

    write_overlap(overlap_of(questions, training, preparation), out / FOLDER)


def _untrained(name: str, preparation: Preparation) -> Any:
    from sensorium.engine.names import find_model
    from sensorium.engine.torch import TorchEngine
    from sensorium.model.checkpoint import read_config
    from sensorium.model.quiet import quietly

    found = find_model(name)
    if found.kind != "sensorium" or found.folder is None:
        raise SensoriumError(f"--probe-base {UNTRAINED}", "only a model folder of ours names its language model.",
                             "Name the base model itself.")
    with quietly():
        return TorchEngine(read_config(found.folder)[0].model_copy(update={"lora": None}).build(preparation), UNTRAINED)
