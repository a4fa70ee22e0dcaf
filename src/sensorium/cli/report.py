"""`sensorium report`: one HTML file about a run, or about two."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli.terminal import note


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The --out of `sensorium evaluate`.")],
    second: Annotated[
        Path | None, typer.Argument(metavar="RUN2", help="Another run of the same questions, to be compared with RUN.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path("report.html"),
    data: Annotated[
        Path | None, typer.Option("--data", "-d", help="What the run asked about, to show its pictures.")
    ] = None,
    media: Annotated[Path | None, typer.Option(help="Folder of pictures, if not beside the data.")] = None,
    variant: Annotated[
        str | None, typer.Option(metavar="official|vlmevalkit|lmms-eval|…", help="Whose rules judge the replies.")
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Questions that are shown in full.")] = 60,
    choose: Annotated[
        str, typer.Option(metavar="errors|random|all", help="Which: errors first, any, or all.")
    ] = "errors",
    seed: Annotated[int, typer.Option(help="Of the choice.")] = 0,
    megabytes: Annotated[float, typer.Option(min=0, help="Of all pictures in the file, at most.")] = 12.0,
    side: Annotated[int, typer.Option(min=16, max=4096, help="Of a picture, at most, in pixels.")] = 480,
) -> None:
    """Write a report to look at, in one HTML file that needs no network.

    Scores with intervals, a radar of tasks, replies that could not be read and what they do to the score, what was not
    asked, and questions with pictures, truth, reply and how it was understood. Two runs are compared, and shown where
    they differ. Pictures are in it when --data names what the run was asked about.

    \b
    Examples:
      sensorium report runs/mme --data MME_Benchmark_release_version
      sensorium report runs/before runs/after --data runs/scenes --out before-and-after.html
      sensorium report runs/mme --samples 200 --choose random --seed 7
    """
    from sensorium import __version__
    from sensorium.evaluation.report_page import Choice, Sources, make_report

    choice = Choice(samples, choose, seed, megabytes, side)
    made = make_report(run, second, Sources(data, media), choice, variant, __version__)
    made.write(out)
    size = f"{out.stat().st_size / 1e6:.1f} MB"
    pictures = f"{made.pictures} pictures" if data else "no pictures without --data"
    note(f"Written: {out} ({size}; {made.shown} of {made.of} questions, {pictures})")
