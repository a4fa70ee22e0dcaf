"""The training loop: a recipe in, a model folder out. Plain PyTorch, read from the top.

For each stage: make it ready, then step by step draw batches, add up their losses exactly, clip, step, tell, and now
and then validate and save. A run is a folder; starting it again goes on from its newest checkpoint, bit for bit on CPU.
"""

from __future__ import annotations

import math
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from sensorium.errors import SensoriumError
from sensorium.folder_lock import locked
from sensorium.model.attention import why_not_plain
from sensorium.model.checkpoint import save_model, thin_state
from sensorium.model.multimodal import MultimodalModel
from sensorium.model.unread import is_unread, make_unread, move
from sensorium.progress import ProgressCallback
from sensorium.training.allocator import keep_freed_memory
from sensorium.training.claim import claim, is_claimed
from sensorium.training.data import check_data, check_finished, provenance
from sensorium.training.flops import Utilisation
from sensorium.training.journal import Journal, read_journal
from sensorium.training.losses import plot_losses
from sensorium.training.measure import contribution_table, contributions
from sensorium.training.optimizer import set_learning_rates
from sensorium.training.packing import padded_fill, padding_note
from sensorium.training.parallel import whole
from sensorium.training.progress import Progress
from sensorium.training.ranks import ALONE, Ranks, joined
from sensorium.training.recipe import Recipe
from sensorium.training.replies import ReplyObjective
from sensorium.training.stage import Stage, prepare_stage, take_shape
from sensorium.training.start import load_start
from sensorium.training.state import find_latest, gathered, restore, save
from sensorium.training.trackers import Tracker, Tracking, open_trackers
from sensorium.training.workers import batches_ahead, workers_wanted


def train(
    recipe: Recipe, run: Path, say: Callable[[str], None] | None = None, tell: ProgressCallback | None = None
) -> Path | None:
    """Train a recipe in the folder `run`; returns the finished model's folder, or None when it was interrupted.

    Started by `torchrun`, every process calls it with the same arguments; the first one writes. Ctrl-C (or SIGTERM)
    finishes the step, saves and returns; calling again goes on. While a stage is made ready it stops at once, as
    KeyboardInterrupt: what is ready by then is kept. say: gets plain progress lines instead of the live display; tell:
    (what, done, total) of preparations. Raises SensoriumError when the run folder belongs to another recipe, is
    finished on data that has changed since, or is written by another training; and when a step's numbers are no longer
    finite.
    """
    if (run / "model").exists():
        claim(run, recipe)
        check_finished(run, recipe)
        return run / "model"
    keep_freed_memory()
    check_data(recipe)
    with joined() as ranks:
        trackers = open_trackers(recipe.trackers) if ranks.is_first else []
        with ExitStack() as held:
            with ranks.failing_together():
                if ranks.is_first:
                    held.enter_context(locked(run, "training"))
                    is_claimed(run, recipe)  # raises where it is another's
            if not ranks.is_first:
                say, tell = _silent, None
            return _Run(recipe, run, ranks, say, tell or (lambda what, done, total: None), trackers).go()


class _Run:
    """A run in one of its processes."""

    def __init__(
        self, recipe: Recipe, folder: Path, ranks: Ranks, say: Callable[[str], None] | None, tell: ProgressCallback,
        trackers: list[Tracker],
    ) -> None:
        self.recipe, self.folder, self.ranks, self.say, self.tell = recipe, folder, ranks, say, tell
        self.checkpoints = folder / "checkpoints"
        self.origin: dict[str, Any] = {}  # what the run starts from, if not from bare parts
        self.lost: list[int] = []  # numbers of the stage's samples that turned out to be damaged
        self.workers = workers_wanted(recipe.workers, ranks.device, ranks.on_this_machine)
        self.journal = Journal(folder / "journal.jsonl" if ranks.is_first else Path(os.devnull))
        self.tracking = Tracking(self.journal, trackers)

    def go(self) -> Path | None:
        """All stages from where the newest checkpoint stands. Returns what `train` does."""
        recipe, ranks = self.recipe, self.ranks
        _seed(recipe.seed)
        with ranks.in_turn():
            model = self._built()
        _seed(recipe.seed + ranks.rank)
        saved = find_latest(self.checkpoints, ranks)
        start, step = (saved["stage"], saved["step"]) if saved else (0, 0)
        with self.tracking:
            for number in range(start, len(recipe.stages)):
                stage = prepare_stage(model, recipe, number, self.tell, ranks)
                if number == start and ranks.is_first:
                    claim(self.folder, recipe)
                done = 0
                if saved is not None:
                    done = saved["stage_step"]
                    restore(model, stage, saved, trained(recipe, number))
                    saved = None  # its weights and moments are in the model and the optimizer now
                if number == start and ranks.is_first:  # what a killed run did after its last checkpoint is done again
                    self.journal.truncate_after(done or -1, stage.config.name)
                    self.tracking.start(self.folder.resolve().name, recipe.model_dump(mode="json"), self.folder)
                rows = read_journal(self.journal.path) if ranks.is_first else []
                rows = [row for row in rows if row.get("stage") == stage.config.name]
                lost = [number for row in rows for number in row.get("lost_samples", ())]
                self.lost = ranks.gather(lost)[0]
                with _interruptible() as interrupted:
                    was_stopped = self._stage(model, stage, done, step - done, interrupted)
                step += stage.total_steps - done
                if was_stopped:
                    return None
                if ranks.is_first and self.journal.path.stat().st_size:
                    plot_losses(self.journal.path, self.folder / "losses.png")
                is_sharded = stage.parallel.is_sharded
                del stage  # and with it what the optimizer holds
                if is_sharded and number + 1 < len(recipe.stages):  # the next one may bring adapters
                    model = self._taken_over(model, number)
        tensors = gathered(model, kept(recipe), ranks)
        if ranks.is_first:
            about = {"recipe": recipe.name, "seed": recipe.seed, "steps": step, "data": provenance(recipe)}
            about |= {"start": self.origin} if self.origin else {}
            save_model(model, self.folder / "model", kept(recipe), about, tensors=tensors)
        return self.folder / "model"

    def _stage(
        self, model: MultimodalModel, stage: Stage, done: int, before: int, interrupted: threading.Event
    ) -> bool:
        """Run a stage from its optimizer step `done` on, saving now and then and at its end; whether it was stopped.

        before: the run's steps before this stage.
        """
        config, total, ranks = stage.config, stage.total_steps, self.ranks
        saved_at, utilisation = time.monotonic(), Utilisation(model, ranks)
        with (
            Progress(total, config.name, start_step=done, say=self.say) as progress,
            batches_ahead(stage.objective.batch, stage.packs_from(done, ranks), self.workers) as batches,
        ):
            if done == 0 and ranks.is_first:
                for line in _announced(model, stage, self.tracking):
                    progress.note(line)
            for step in range(done + 1, total + 1):
                started = time.monotonic()
                work = [next(batches) for _ in stage.packs_of_step(step - 1, ranks)]
                waited = time.monotonic() - started
                rates = set_learning_rates(stage.optimizer, config.optimizer.share(step - 1, total))
                result = train_step(stage, work, self.recipe.precision)
                _require_finite(result, config.name, step)
                self._count_lost(stage, result.lost)
                seconds = time.monotonic() - started
                row = _journal_row(result, stage, step, rates, seconds, waited, utilisation.of(work, seconds))
                self.tracking.log(row)
                numbers = {name: row[name] for name in ("step", "loss", "samples", "tokens", "lr")}
                progress.update(**numbers, wait_s=waited)
                if stage.validation is not None and (step % self.recipe.validate_every == 0 or step == total):
                    found = validate(stage, self.recipe.precision)
                    self.tracking.log({"stage": config.name, "step": step, "validation": found})
                    progress.validated(found)
                if step == total and ranks.is_first:
                    for line in _contributed(stage, self.lost, self.tracking):
                        progress.note(line)
                late = ranks.is_first and time.monotonic() - saved_at > 60 * self.recipe.checkpoint_minutes
                is_late, is_stopped = (n > 0 for n in ranks.total([late, interrupted.is_set()]))
                if is_late or is_stopped or step == total:
                    save(self.checkpoints, model, stage, step, before + step, trained(self.recipe, stage.number))
                    saved_at = time.monotonic()
                if is_stopped:
                    if step < total:
                        progress.note(f"Stopped after step {step}; run the same command to go on.")
                    return True
        return False

    def _count_lost(self, stage: Stage, lost: Sequence[int]) -> None:
        """Raises SensoriumError in every process when more of a stage's samples are lost than may be."""
        if not lost or not isinstance(stage.objective, ReplyObjective):
            return
        self.lost += lost
        samples, bad = stage.objective.samples, len(self.lost) + len(stage.objective.measures.dropped)
        if bad > samples.max_bad * len(samples):
            what = f"{bad:,} of {len(samples):,} samples cannot be used, allowed are {samples.max_bad:.1%};"
            raise SensoriumError("data", f"{what} {len(self.lost):,} of them turned out to be damaged while training.",
                                 "The warnings above name them: mend them, or raise max_bad_rows.")

    def _built(self) -> MultimodalModel:
        """The model as its parts have it, or its start, on this process's device; where it will be sliced, layers are
        read then, unless the start has others than their part.
        """
        start = self.recipe.start
        has_own = start is not None and "language" in start.trained and self.recipe.model.lora is None
        is_sliced = self.ranks.size > 1 and self.recipe.parallel == "fsdp"
        model = self.recipe.model.build(self.tell, unread=is_sliced and not has_own)
        if start is not None:
            self.origin = load_start(model, start)
        move(model, self.ranks.device)
        return model

    def _taken_over(self, before: MultimodalModel, number: int) -> MultimodalModel:
        """A model ready to be sliced again, with what the stages up to `number` have trained in the slices of `before`.

        The language model's layers are put together when they are sliced, one by one.
        """
        model = self._built()
        take_shape(model, self.recipe, number)
        own = dict(model.named_parameters())
        for name, slices in thin_state(before, trained(self.recipe, number)).items():
            if is_unread(own[name]):
                make_unread(own[name], partial(whole, slices))
            else:
                own[name].data.copy_(whole(slices))
        return model


def _announced(model: MultimodalModel, stage: Stage, tracking: Tracking) -> list[str]:
    """What the stage is about to learn from, into the journal and as lines for people."""
    lines = [f"{stage.config.name}: {len(stage.plan):,} packs, {stage.plan.fill:.1%} full, {stage.total_steps:,} steps"]
    row: dict[str, Any] = {"stage": stage.config.name, "step": 0, "packs": len(stage.plan), "fill": stage.plan.fill}
    if isinstance(stage.objective, ReplyObjective):
        if why := why_not_plain(model.language):
            row["padded_fill"] = padded_fill(stage.plan, stage.objective.sizes)
            lines.append(padding_note(why, row["padded_fill"]))
        found = contributions(stage.objective.samples, stage.objective.measures, stage.plan)
        row["sources"] = [one.to_json() for one in found]
        lines += contribution_table(found)
    if stage.validation_plan is not None and (count := len(stage.validation_plan.unreadable)):
        row["validation_too_long"] = count
        lines.append(f"{count:,} samples of the validation are longer than the language model reads and are left out.")
    tracking.log(row)
    return lines


def _contributed(stage: Stage, lost: Sequence[int], tracking: Tracking) -> list[str]:
    """What the stage has learned from in the end, into the journal and as lines for people."""
    if not isinstance(stage.objective, ReplyObjective):
        return []
    found = contributions(stage.objective.samples, stage.objective.measures, stage.plan, lost)
    name = stage.config.name
    tracking.log({"stage": name, "step": stage.total_steps, "contributed": [one.to_json() for one in found]})
    return [f"{name} has learned from", *contribution_table(found)]


@dataclass(frozen=True)
class Step:
    """What an optimizer step was about, over all processes. lost: numbers of samples that could not be read."""

    total: float
    weight: float
    samples: int
    tokens: int
    lost: tuple[int, ...]
    gradient_norm: float

    @property
    def loss(self) -> float:
        return self.total / self.weight


def _require_finite(result: Step, stage: str, step: int) -> None:
    """Raises SensoriumError, alike in all processes, when a step has spoiled the weights; nothing is saved then."""
    if not (math.isfinite(result.loss) and math.isfinite(result.gradient_norm)):
        what = f"the loss is {result.loss:.3g}, its gradient's norm {result.gradient_norm:.3g}: it has diverged."
        raise SensoriumError(f"stage {stage} step {step}", what, "Lower its learning_rates, or warm up for longer, in "
                             "a run of another --out; this run's last checkpoint is from before and stays.")


def train_step(stage: Stage, work: list[Any], precision: str) -> Step:
    """One optimizer step over some batches: the gradient of the (weighted) mean over all their supervised tokens.

    With several processes, over those of all of them.
    """
    parallel, ranks = stage.parallel, stage.parallel.ranks
    parallel.model.train()
    stem = parallel.model.vision.stem
    stem.train(any(p.requires_grad for p in stem.parameters()))  # a frozen one has no dropout to draw
    sums, unread = np.zeros(6), list[int]()
    for i, batch in enumerate(work):
        with _autocast(parallel.model, precision):
            loss = parallel.loss(stage.objective, batch, is_last=i + 1 == len(work))
        if loss.total.requires_grad:  # text moves nothing where only what sees trains
            loss.total.backward()  # type: ignore[no-untyped-call]
        sums += float(loss.total.detach()), loss.weight, loss.samples, loss.tokens, loss.pictures, len(loss.lost)
        unread += loss.lost
    total, weight, samples, tokens, pictures, n_lost = ranks.total(sums.tolist())
    if weight == 0:
        raise SensoriumError("data", "not one sample of a step could be read.", "The warnings above name them.")
    lost = tuple(number for of_rank in ranks.gather(unread) for number in of_rank) if n_lost else ()
    if not pictures:
        parallel.forget_blank()
    for parameter in stage.parameters:
        if parameter.grad is not None:
            parameter.grad.div_(weight / ranks.size)  # the processes' gradients have been averaged
    norm = torch.nn.utils.clip_grad_norm_(stage.parameters, stage.config.optimizer.clip_norm)
    stage.optimizer.step()
    stage.optimizer.zero_grad(set_to_none=True)
    return Step(total, weight, int(samples), int(tokens), lost, float(whole(norm)))


def validate(stage: Stage, precision: str) -> dict[str, float]:
    """Mean loss and metrics over all samples of the validation objective; those that were dropped are not in it."""
    objective, parallel, ranks = stage.validation, stage.parallel, stage.parallel.ranks
    assert objective is not None and stage.validation_plan is not None
    parallel.model.eval()
    total = weight = 0.0
    sums: dict[str, list[float]] = {}
    packs = [pack.tolist() for pack in stage.validation_plan.packs]
    for first in range(0, len(packs), ranks.size):
        # Sharded layers must run everywhere, so that a process without a pack of its own runs an empty one.
        mine = packs[first + ranks.rank] if first + ranks.rank < len(packs) else []
        with torch.no_grad(), _autocast(parallel.model, precision):
            loss = parallel.loss(objective, objective.batch(mine))
        for of_rank in ranks.gather((float(loss.total), loss.weight, loss.metrics)):
            total, weight = total + of_rank[0], weight + of_rank[1]
            for name, (good, of) in of_rank[2].items():
                seen = sums.setdefault(name, [0, 0])
                seen[0], seen[1] = seen[0] + good, seen[1] + of
    parallel.reshard()
    return {"loss": total / weight} | {name: good / of for name, (good, of) in sums.items() if of}


def _autocast(model: MultimodalModel, precision: str) -> torch.autocast:
    return torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _journal_row(
    result: Step, stage: Stage, step: int, rates: dict[str, float], seconds: float, waited: float, mfu: float | None
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "stage": stage.config.name,
        "step": step,
        "loss": result.loss,
        "gradient_norm": result.gradient_norm,
        **({"lost": len(result.lost)} if result.lost else {}),
        "samples": result.samples,
        "tokens": result.tokens,
        "lr": rates,
        "seconds": round(seconds, 4),
        "waited": round(waited, 4),
    }
    if mfu is not None:
        row["mfu"] = round(mfu, 5)
    objective = stage.objective
    if isinstance(objective, ReplyObjective) and len(objective.samples.titles) > 1:
        numbers = Counter(int(n) for pack in stage.packs_of_step(step - 1, ALONE) for n in pack)
        numbers.subtract(result.lost)
        row["sources"] = _by_source(objective, numbers.elements())
    if isinstance(objective, ReplyObjective) and result.lost:
        row["lost_sources"], row["lost_samples"] = _by_source(objective, result.lost), list(result.lost)
    return row


def _by_source(objective: ReplyObjective, numbers: Iterable[int]) -> dict[str, int]:
    """How many of some samples are of which source."""
    samples = objective.samples
    return dict(Counter(samples.titles[samples.source(number)] for number in numbers))


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; a second Ctrl-C interrupts at once."""
    interrupted = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if interrupted.is_set() and number == signal.SIGINT:  # a second SIGTERM may come from a launcher as well
            raise KeyboardInterrupt
        interrupted.set()

    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _seed(seed: int) -> None:
    """All global generators: whatever a transformers module or a data reader draws from, it draws the same."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def trained(recipe: Recipe, last: int | None = None) -> list[str]:
    """The modules that the stages up to the last one (all by default) train."""
    stages = recipe.stages if last is None else recipe.stages[: last + 1]
    return sorted({str(module) for stage in stages for module in stage.learning_rates})


def kept(recipe: Recipe) -> list[str]:
    """The modules whose tensors the finished model holds: trained here, or before in what it starts from."""
    return sorted({*trained(recipe), *(recipe.start.trained if recipe.start else ())})


def _silent(line: str) -> None:
    """What the processes after the first say."""
