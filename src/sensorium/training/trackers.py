"""Where a run's numbers go besides its journal: TensorBoard, Weights & Biases, trackio.

The journal is always there and is the truth: what a killed run did after its last checkpoint is cut off it, and a
journal that cannot be written stops the run. Trackers are for people who look on, often over a network: one that fails
is warned of once and left out, and the training goes on without it.

They are told flat numbers, `lr/vision` or `seen/chart-qa`, under a step that counts through all stages. `Numbers` makes
these from the journal's rows, and goes on from what the journal holds when a run is resumed.

Used by `training.loop`, in the first process only. To add one: a class with the three methods and a line in TRACKERS,
or, in a distribution of its own, an entry point of the group `sensorium.trackers`.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Protocol, Self

from pydantic import AfterValidator

from sensorium.errors import SensoriumError, did_you_mean
from sensorium.files import write_whole
from sensorium.registry import callable_, with_added
from sensorium.training.journal import Journal, Row, read_journal

PROJECT = "sensorium"  # under which runs are listed where a service asks for one
log = logging.getLogger(__name__)


class Tracker(Protocol):
    """Somewhere to look at a run. Made before anything else of the run, so that what is not installed is known at once:
    making one raises SensoriumError with the command that installs it.
    """

    def start(self, name: str, config: Mapping[str, Any], folder: Path) -> None:
        """name: of the run; config: its recipe, as JSON has it; folder: the run's own, the same when it is resumed."""
        ...

    def log(self, row: Mapping[str, float]) -> None:
        """row: `step`, which counts through all stages and may come twice, and numbers by name."""
        ...

    def finish(self) -> None:
        """The run ended or was interrupted."""
        ...


class TensorBoardTracker:
    """Event files in the run's folder `tensorboard`, for `tensorboard --logdir runs`."""

    def __init__(self) -> None:
        self._library = _library("torch.utils.tensorboard", "tensorboard")
        self._writer: Any = None

    def start(self, name: str, config: Mapping[str, Any], folder: Path) -> None:
        self._folder, self._config = folder / "tensorboard", config

    def log(self, row: Mapping[str, float]) -> None:
        step = int(row["step"])
        if self._writer is None:
            # The purge hides what a killed run wrote of this step and of later ones: they are done again.
            self._writer = self._library.SummaryWriter(str(self._folder), purge_step=step, flush_secs=30)
            self._writer.add_text("recipe", f"```json\n{json.dumps(self._config, indent=2)}\n```", step)
        for name, number in row.items():
            if name != "step":
                self._writer.add_scalar(name, number, step)

    def finish(self) -> None:
        if self._writer is not None:
            self._writer.close()


class WandbTracker:
    """Weights & Biases. A resumed run goes on under the id in its folder, and passes over steps that are there already.

    Whether it talks to their service or to a folder is W&B's own setting (`wandb offline`, WANDB_MODE).
    """

    def __init__(self) -> None:
        self._library = _library("wandb")

    def start(self, name: str, config: Mapping[str, Any], folder: Path) -> None:
        project = os.environ.get("WANDB_PROJECT", PROJECT)  # theirs, which an argument would overrule
        self._run = self._library.init(
            project=project, name=name, config=dict(config), dir=str(folder), id=_run_id(folder), resume="allow"
        )

    def log(self, row: Mapping[str, float]) -> None:
        numbers = dict(row)
        step = int(numbers.pop("step"))
        if step >= self._run.starting_step:  # W&B refuses earlier ones, each with a warning
            self._run.log(numbers, step=step)

    def finish(self) -> None:
        self._run.finish()


class TrackioTracker:
    """trackio, Hugging Face's local dashboard (`trackio show`). It knows runs by their names, so that the name has the
    id in the run's folder behind it. Steps that are done again after a kill stand in it twice.
    """

    def __init__(self) -> None:
        self._library = _library("trackio")

    def start(self, name: str, config: Mapping[str, Any], folder: Path) -> None:
        unique = f"{name}-{_run_id(folder)}"
        self._run = self._library.init(project=PROJECT, name=unique, config=dict(config), resume="allow")

    def log(self, row: Mapping[str, float]) -> None:
        numbers = dict(row)
        self._run.log(numbers, step=int(numbers.pop("step")))

    def finish(self) -> None:
        self._run.finish()


TRACKERS: dict[str, Callable[[], Tracker]] = {
    "tensorboard": TensorBoardTracker, "wandb": WandbTracker, "trackio": TrackioTracker,
}  # fmt: skip


@cache
def all_trackers() -> dict[str, Callable[[], Tracker]]:
    """Our trackers and those that installed distributions add."""
    return with_added("sensorium.trackers", TRACKERS, callable_)


def _known(name: str) -> str:
    if name not in TRACKERS and name not in all_trackers():
        raise ValueError(f"there is no tracker `{name}`. {did_you_mean(name, all_trackers())}")
    return name


TrackerName = Annotated[str, AfterValidator(_known)]


def open_trackers(names: Iterable[str]) -> list[Tracker]:
    """Trackers by name. Raises SensoriumError where a library is not installed."""
    return [(TRACKERS.get(name) or all_trackers()[name])() for name in dict.fromkeys(names)]


class Tracking:
    """A run's journal and its trackers, as one that tells all of them. Use it in a `with` block, or call `finish`."""

    def __init__(self, journal: Journal, trackers: Sequence[Tracker] = ()) -> None:
        self.journal = journal
        self._trackers = list(trackers)
        self._is_started = False
        self._numbers = Numbers()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def start(self, name: str, config: Mapping[str, Any], folder: Path) -> None:
        """Begin, or go on after the rows that the journal holds now."""
        self._is_started = True
        if self._trackers:
            for row in read_journal(self.journal.path):
                self._numbers.of(row)
            self._each(lambda tracker: tracker.start(name, config, folder))

    def log(self, row: Row) -> None:
        """Write a row into the journal, and tell the trackers its numbers if it has any."""
        self.journal.write(row)
        numbers = self._numbers.of(row)
        if numbers:
            self._each(lambda tracker: tracker.log({"step": self._numbers.step} | numbers))

    def finish(self) -> None:
        try:
            if self._is_started:
                self._each(lambda tracker: tracker.finish())
        finally:
            self.journal.close()

    def _each(self, tell: Callable[[Tracker], None]) -> None:
        """Tell every tracker; one that fails is told nothing more."""
        for tracker in tuple(self._trackers):
            try:
                tell(tracker)
            except Exception as error:  # noqa: BLE001 (other people's libraries, over a network)
                self._trackers.remove(tracker)
                why = f"{type(error).__name__}: {error}"
                log.warning("%s failed and is left out from now on (%s)", type(tracker).__name__, why)


class Numbers:
    """A run's journal rows, in their order, as flat numbers. step: of the newest row, counted through all stages."""

    def __init__(self) -> None:
        self.step = 0
        self._stage: str | None = None
        self._before = 0
        self._seen: Counter[str] = Counter()

    def of(self, row: Row) -> dict[str, float]:
        """The numbers of a row, with the samples seen until then, in all and (`seen/NAME`) of each source."""
        if "step" not in row:
            return {}
        if row.get("stage") != self._stage:
            self._stage, self._before = row.get("stage"), self.step
        self.step = self._before + row["step"]
        numbers = flatten(row)
        if "loss" in row:
            self._seen.update({"samples_seen": row["samples"]})
            self._seen.update({f"seen/{source}": samples for source, samples in row.get("sources", {}).items()})
            numbers |= self._seen
        return numbers


def flatten(row: Row) -> dict[str, float]:
    """The numbers of a journal row by flat names; what it does not say, or says as null, is left out.

    Speeds are over the whole step; waiting_share is the share of it spent waiting for data.
    """
    found = {name: row.get(name) for name in ("loss", "gradient_norm", "mfu")}
    for kind in ("lr", "validation"):
        found |= {f"{kind}/{name}": number for name, number in row.get(kind, {}).items()}
    if row.get("seconds"):  # rounded to 0 it tells of no speed
        parts = {"samples_per_s": "samples", "tokens_per_s": "tokens", "waiting_share": "waited"}
        found |= {name: row[part] / row["seconds"] for name, part in parts.items()}
    return {name: float(number) for name, number in found.items() if isinstance(number, int | float)}


def _library(module: str, package: str = "") -> Any:
    """A module that is imported only when somebody asks for its tracker."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = package or module
        raise SensoriumError(f"trackers: {package}", f"is not installed ({error}).",
                             f"Run `pip install {package}`, or take it out of the recipe's trackers.") from error


def _run_id(folder: Path) -> str:
    """What a service knows the run by, the same whenever it is resumed. Not from torch's or Python's generators, which
    belong to the training.
    """
    path = folder / "tracking-id"
    if not path.exists():
        write_whole(path, uuid.uuid4().hex[:12])
    return path.read_text().strip()
