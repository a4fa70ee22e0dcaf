"""`sensorium train`: run a recipe, with live progress; stop and go on at will."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from sensorium.cli.terminal import Preparation, emit, emit_json, note
from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from sensorium.training.recipe import Recipe


def train(
    recipe: Annotated[Path, typer.Argument(help=(
        "A YAML file: what to build and how to train it; see recipes/. Paths in it are relative to the folder that you "
        "are in."))],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The run's folder.  [default: runs/NAME of the recipe]")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Train on this dataset instead of the recipe's.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe: stages.0.samples=1000. May be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")] = False,
    processes: Annotated[
        int,
        typer.Option(min=1, envvar="WORLD_SIZE", show_envvar=False,
                     help="Devices of this machine that share the run, a process each; with --dry-run: plan for so "
                          "many. Several machines: torchrun."),
    ] = 1,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that decode and render ahead, for each process that trains; 0: none. "
                                 "[default: 0 on a CPU, up to 4 beside a GPU]", show_default=False),
    ] = None,
    gpu: Annotated[
        str | None, typer.Option(help="With --dry-run: plan for such GPUs: H100, 'A100 40GB', …")
    ] = None,
    plain: Annotated[bool, typer.Option(help="Plain lines instead of the live display, for log files.")] = False,
    json: Annotated[bool, typer.Option("--json", help="At the end, print one JSON object for programs.")] = False,
) -> None:
    """Train a model by a recipe.

    The run's folder holds the journal, the loss plot, checkpoints and at the end the model. Ctrl-C saves and stops
    (exit code 130); the same command goes on where it stopped. A finished run is not trained again.

    \b
    Examples:
      sensorium data build scenes --out runs/scenes
      sensorium train recipes/default.yaml --out runs/mine
      sensorium train recipes/default.yaml --out runs/mine --plain >> train.log 2>&1
      sensorium train recipes/default.yaml --set stages.2.samples=20000 --dry-run
      sensorium train recipes/llava-1.5.yaml --processes 8 --workers 4
      sensorium train recipes/llava-1.5.yaml --dry-run --processes 8 --gpu H100
      torchrun --nproc-per-node 8 -m sensorium train recipes/llava-1.5.yaml --plain
      sensorium chat runs/mine

    \b
    --json prints: {"run": PATH, "finished": true or false, "model": PATH or null}; with --dry-run the plan
    """
    if processes > 1 and not dry_run and "RANK" not in os.environ:
        from sensorium.training.launch import launch

        raise typer.Exit(launch(sys.argv[1:], processes))
    with _said_once():
        _run(recipe, out, data, set_ or (), dry_run, processes, workers, gpu, plain, json)


@contextmanager
def _said_once() -> Iterator[None]:
    """What a person can mend is the same for all processes on a machine, and the first says it, unless one has met it
    alone.
    """
    try:
        yield
    except SensoriumError as error:
        from sensorium.training.launch import tell_torchrun
        from sensorium.training.workers import WorkerKilled

        tell_torchrun(error)
        if os.environ.get("LOCAL_RANK", "0") == "0" or isinstance(error, WorkerKilled):
            raise
        raise typer.Exit(2) from error


def _run(
    recipe: Path, out: Path | None, data: Path | None, set_: Sequence[str], dry_run: bool, processes: int,
    workers: int | None, gpu: str | None, plain: bool, json: bool,
) -> None:
    from sensorium.training.recipe import load_recipe

    plan = load_recipe(recipe, set_)
    if data is not None:
        plan = plan.model_copy(update={"data": data})
    if workers is not None:
        plan = plan.model_copy(update={"workers": workers})
    if dry_run:
        _preview(plan, processes, gpu, out, json)
        return
    run = out or Path("runs") / plan.name
    model = _train(plan, run, plain)
    if os.environ.get("RANK", "0") != "0":  # the first process speaks for all
        raise typer.Exit(130 if model is None else 0)
    if json:
        emit_json({"run": str(run), "finished": model is not None, "model": str(model) if model else None})
    if model is None:
        again = f"sensorium train {recipe} --out {run}" + (f" --data {data}" if data else "")
        again += "".join(f" --set {quote(change)}" for change in set_)
        note(f"Stopped; everything is saved in {run}. Go on with: {again}")
        raise typer.Exit(130)
    if not json:
        emit(f"The model is in {model}")
        note(f"Talk with it: sensorium chat {run}")


def _preview(plan: Recipe, processes: int, gpu: str | None, out: Path | None, as_json: bool) -> None:
    from sensorium.training.describe import Gpu, describe
    from sensorium.training.preview import preview

    planned_for = Gpu.named(gpu) if gpu else None  # complains about the name before anything is opened
    with Preparation() as preparation:
        found = preview(plan, processes, preparation, out)
    if as_json:
        emit_json({"recipe": plan.name, "processes": processes, "stages": [stage.to_json() for stage in found]})
    else:
        for line in describe(found, plan, processes, planned_for):
            emit(line)


def _train(plan: Recipe, run: Path, plain: bool) -> Path | None:
    from sensorium.model.quiet import quietly
    from sensorium.training.loop import train

    with Preparation() as preparation, quietly():
        return train(plan, run, say=note if plain else None, tell=preparation)
