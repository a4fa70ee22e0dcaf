"""`sensorium rescore`: score a finished run again, by other rules; no model is loaded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sensorium.cli.terminal import emit, emit_json, note

if TYPE_CHECKING:
    from rich.table import Table

    from sensorium.evaluation.results import Results

WIDTH = 110  # of the table where there is no terminal to ask
ALL = "all"


def rescore(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="The --out of `sensorium evaluate`.")],
    variant: Annotated[
        str | None, typer.Option(metavar="official|vlmevalkit|lmms-eval|…|all", help="Whose rules; `all` side by side.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print results.json instead of a table.")] = False,
) -> None:
    """Score a run's replies again.

    With one variant DIR/results.json is written anew; with `all` nothing is written, and the table shows how much the
    same replies differ by protocol alone.

    \b
    Examples:
      sensorium rescore runs/mme --variant lmms-eval
      sensorium rescore runs/mme --variant all
    """
    from sensorium.evaluation.results import score_run

    if variant != ALL:
        results = score_run(run, variant)
        results.write(run)
        show_results(results, json)
        return
    first = score_run(run)
    from sensorium.evaluation.benchmarks.choice import find_benchmark

    each = [score_run(run, name) for name in find_benchmark(first.benchmark).variants]
    if json:
        emit_json({one.variant: one.model_dump(mode="json") for one in each})
    else:
        _print(_side_by_side(each))


def show_results(results: Results, json: bool) -> None:
    """The table on standard output, remarks beside it; or all of it as JSON."""
    if json:
        emit_json(results.model_dump(mode="json"))
        return
    _print(results.table())
    if (probes := results.probes.table()) is not None:
        _print(probes)
    for remark in results.remarks():
        note(f"note: {remark}")


def _side_by_side(each: list[Results]) -> Table:
    from rich.table import Table

    from sensorium.evaluation.benchmarks.choice import find_benchmark
    from sensorium.evaluation.results import shown

    title = f"{each[0].model.get('name')} on {find_benchmark(each[0].benchmark).title}: the same replies by all rules"
    table = Table("score", *(one.variant for one in each), title=title, caption=f"asked as {each[0].prompt}")
    by = [{score.name: score.value for score in one.scores} for one in each]
    for name in dict.fromkeys(name for scores in by for name in scores):
        table.add_row(name, *(shown(scores[name]) if name in scores else "–" for scores in by))
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    with console.capture() as captured:
        console.print(table)
    emit(captured.get(), end="")
