"""`sensorium compare`: two runs over the same questions; which is better, and could it be chance?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sensorium.cli.terminal import emit, emit_json, note

if TYPE_CHECKING:
    from rich.table import Table

    from sensorium.evaluation.compare import Comparison

WIDTH = 110  # of the table where there is no terminal to ask


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="The --out of a run.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The --out of another; what is said is said of B.")],
    variant: Annotated[
        str | None, typer.Option(metavar="official|vlmevalkit|lmms-eval|…", help="Whose rules judge the replies.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Compare two runs, question by question.

    B - A with a 95 % interval from errors clustered by picture; p of a permutation test that flips whole pictures, for
    tasks adjusted by Holm; McNemar's counts; the verdict on B; and the smallest difference that data like these would
    have shown in four of five tries. Then the official scores, also those that are no means (F1, CIDEr, the sums of
    MME), whole pictures of both runs resampled together.

    \b
    Examples:
      sensorium compare runs/mme-before runs/mme-after
      sensorium compare runs/a runs/b --json
    """
    from sensorium.evaluation.compare import compare as compare_runs

    found = compare_runs(first, second, variant)
    if json:
        emit_json(found.to_json())
    else:
        _show(found)


def _show(found: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table

    a, b = (f"{run.name} ({run.folder.name})" for run in (found.first, found.second))
    title = f"{found.first.benchmark}: B = {b} against A = {a}"
    table = Table("task", "A", "B", "B - A", "95 %", "p", "only A : only B", "detectable", "B is", title=title)
    for row in found.tasks:
        table.add_row(*row.cells)
    table.add_section()
    table.add_row(*found.overall.cells)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    with console.capture() as captured:
        console.print(table)
        if found.scores:
            console.print(_scores(found))
    emit(captured.get(), end="")
    overall = found.overall.difference
    emit(f"All {found.overall.questions} questions about {overall.mean.clusters} pictures or videos: "
         f"B is {found.overall.verdict}.")  # fmt: skip
    for remark in found.notes:
        note(f"note: the runs differ beside the model: {remark}")


def _scores(found: Comparison) -> Table:
    from rich.table import Table

    from sensorium.evaluation.paired_scores import COLUMNS

    table = Table(*COLUMNS, title=f"The scores of {found.first.benchmark}, by the rules of {found.variant}")
    for score in found.scores:
        table.add_row(*score.cells)
    return table
