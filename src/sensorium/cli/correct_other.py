"""The other ways of `sensorium correct`: Woodpecker's own protocol, and a finished run of a benchmark corrected."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sensorium.cli.terminal import Preparation, note
from sensorium.errors import SensoriumError, did_you_mean

if TYPE_CHECKING:
    from sensorium.correction.woodpecker import Woodpecker
    from sensorium.evaluation.benchmarks import Data
    from sensorium.evaluation.corrected import Corrects

PROTOCOLS = ("sensorium", "woodpecker")
GROUNDING_DINO = "IDEA-Research/grounding-dino-tiny"  # of the detectors here, the one nearest to the paper's
PATIENCE = (60.0, 2)  # with a server: a silent one must not hold up a batch for long
_NOT_OF_WOODPECKER = ("verifier", "editor", "risk", "doubtful", "add_missing", "scenes", "memo")


def check_protocol(context: typer.Context, protocol: str, options: Mapping[str, Any]) -> None:
    """Raises SensoriumError for a protocol that is not known, or options that are not of it."""
    if protocol not in PROTOCOLS:
        raise SensoriumError("--protocol", f"`{protocol}` is not known.", did_you_mean(protocol, PROTOCOLS))
    if protocol == "sensorium":
        if options["llm"]:
            raise SensoriumError("--llm", "is of --protocol woodpecker.", "Name an engine with --engine.")
        return
    for name in _NOT_OF_WOODPECKER:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            raise SensoriumError(option, "has no place in --protocol woodpecker.", "Leave it out.")
    if not options["llm"]:
        raise SensoriumError("--llm", "is missing: Woodpecker's stages are a language model's.",
                             "Name one, such as http://HOST/v1#MODEL.")  # fmt: skip
    if not options["judge"]:
        raise SensoriumError("--judge", "is missing: somebody must answer questions about the picture.",
                             "Name a model, such as `default`.")  # fmt: skip


def load_woodpecker(
    llm: str, judge: str, detector: str | None, budget: tuple[float | None, int | None], preparation: Preparation
) -> Woodpecker:
    from sensorium.correction import Budget
    from sensorium.correction.language import load_parser
    from sensorium.correction.verifiers.open_vocabulary import OpenVocabulary
    from sensorium.correction.woodpecker import Woodpecker
    from sensorium.engine.loading import load_engine

    load_parser(preparation)
    options: dict[str, Any] = {"api_key": os.environ.get("OPENAI_API_KEY"), "patience": PATIENCE}
    writer = load_engine(llm, preparation, **options)
    answers = writer if judge == llm else load_engine(judge, preparation, **options)
    return Woodpecker(writer, OpenVocabulary(detector or GROUNDING_DINO, preparation), answers, budget=Budget(*budget))


def check_run(run: Path, data: Path | None, media: Path | None, out: Path | None) -> tuple[Data, Path]:
    """What a run is corrected from and to. Raises SensoriumError for what is missing, before anything is loaded."""
    from sensorium.evaluation.benchmarks import Data
    from sensorium.evaluation.run_folder import read_run

    if data is None or out is None:
        missing = "--data" if data is None else "--out"
        raise SensoriumError(missing, "is missing.", "--run needs the data that was asked about, and a new folder.")
    header, _ = read_run(run)
    return Data(data, media, header["split"]), out


def correct_finished_run(
    corrector: Corrects, name: str, run: Path, data: Data, out: Path, json: bool, preparation: Preparation
) -> None:
    """`--run`: its replies corrected, in a run folder of its own, scored by the benchmark's rules."""
    from sensorium.cli.rescore import show_results
    from sensorium.evaluation.corrected import correct_run
    from sensorium.evaluation.results import score_run

    correct_run(run, data, corrector, name, out, preparation)
    results = score_run(out)
    results.write(out)
    show_results(results, json)
    note(f"Written: {out}. Before and after: sensorium compare {run} {out}")
