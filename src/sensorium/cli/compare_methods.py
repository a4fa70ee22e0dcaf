"""`sensorium compare-methods`: what decoding methods and correction gain, harm and cost, side by side."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.terminal import Preparation, emit, emit_json, note
from sensorium.errors import SensoriumError, did_you_mean

if TYPE_CHECKING:
    from sensorium.correction import Corrector
    from sensorium.engine import Engine
    from sensorium.engine.methods import Method, SelfConsistency
    from sensorium.evaluation.methods import Row, Way

WIDTH = 160  # of tables where there is no terminal to ask
_WAYS = ("none", "vcd", "icd", "cfg", "marine", "dola", "self-consistency", "correct")
_BENCHMARKS = ("scenes-mme", "scenes-pope", "scenes-caption")


@dataclass(frozen=True)
class Chosen:
    """What --method asks for. decoding: (as it was written, method); corrects: whether correction is asked for."""

    decoding: tuple[tuple[str, Method | SelfConsistency], ...]
    corrects: bool


def compare_methods(
    data: Annotated[Path, typer.Option("--data", "-d", help="A dataset of scenes, or data of mme or pope.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for all runs, methods.json and methods.md.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="`default`, a folder, a hub id, or an address.")
    ] = "default",
    method: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:SETTING=VALUE,…]",
                     help="vcd, icd, cfg, marine, dola, self-consistency, correct; repeatable; all if left out."),
    ] = None,
    benchmark: Annotated[
        list[str] | None, typer.Option(help="scenes-mme, scenes-pope, scenes-caption, mme, pope; repeatable.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only files, or a split of scenes, with that word.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask only about so many pictures of each task.")] = None,
    verifier: Annotated[
        list[str] | None, typer.Option(help="Of correct: detector, colour, text, open_vocabulary, asked.")
    ] = None,
    risk: Annotated[
        float, typer.Option(help="Of correct: edit where the chance of being true is at most this.")
    ] = 0.05,
    engine: Annotated[
        str | None, typer.Option(metavar="torch|llamacpp|auto|…", help="Decoding methods need torch, the default.")
    ] = None,
    precision: Annotated[str, typer.Option(help="Of torch: float32 or bfloat16.")] = "float32",
    batch_size: Annotated[int, typer.Option(min=1, help="Questions asked together.")] = 64,
    cache: Annotated[bool, typer.Option(help="Use replies that were given before, in any run.")] = True,
    timed: Annotated[bool, typer.Option(help="Ask the first questions again on each way to take the time.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print methods.json instead of tables.")] = False,
) -> None:
    """Compare ways to keep a model from telling what is not there.

    Each way is asked the same questions: plainly, by decoding methods, and plainly with `sensorium correct` behind. For
    each task: score and change with 95 % intervals by picture; what was wrong and is fixed; what was right and is
    harmed; how many replies can be read; recall; length; time for a question, passes of the language model for a token,
    and calls of verifiers. Runs are ordinary ones in OUT/WAY/BENCHMARK; the same command goes on where it was stopped.

    \b
    Examples:
      sensorium compare-methods --data runs/scenes --split test_seen --limit 50 --out runs/methods
      sensorium compare-methods -d runs/scenes -o runs/methods --method vcd --method vcd:alpha=0.5 --method correct
      sensorium compare-methods -d runs/scenes -o runs/mme --method correct --engine auto --benchmark scenes-mme
    """
    from sensorium.engine.names import find_model

    chosen = _chosen(method or list(_WAYS))
    names = benchmark or list(_BENCHMARKS)
    _check(names, chosen, verifier or [])
    found = find_model(model)
    if engine is None and found.kind == "sensorium":
        engine = "torch"
    load = {"name": model, "precision": precision, "engine": engine}
    with Preparation() as preparation:
        rows, about = _rows(load, chosen, names, data, split, limit, out, (verifier, risk), batch_size, cache, timed,
                            preparation)  # fmt: skip
    from sensorium.evaluation.methods_table import write

    content = write(rows, about, out)
    if json:
        emit_json(content)
    else:
        _show(rows)
    note(f"Written: {out / 'methods.json'}, {out / 'methods.md'}, {out}/*/*/replies.jsonl")


def _chosen(written: list[str]) -> Chosen:
    from sensorium.engine.methods import METHODS, parse_method

    decoding, corrects = [], False
    for one in dict.fromkeys(written):
        if one == "correct":
            corrects = True
        elif one != "none":
            if one.partition(":")[0] not in METHODS:
                raise SensoriumError(f"--method {one!r}", "is not known.", did_you_mean(one, _WAYS))
            decoding.append((one, parse_method(one)))
    return Chosen(tuple(decoding), corrects)


def _check(names: list[str], chosen: Chosen, verifiers: list[str]) -> None:
    """Find what is wrong with the options before anything is loaded."""
    from sensorium.evaluation.gains import DESCRIBED, YES_NO

    for name in names:
        if name not in (*YES_NO, *DESCRIBED):
            raise SensoriumError(f"--benchmark {name!r}", "is not compared.", did_you_mean(name, (*YES_NO, *DESCRIBED)))
    if verifiers and not chosen.corrects:
        raise SensoriumError("--verifier", "is of the method `correct`.", "Add --method correct.")


def _rows(
    load: dict[str, Any], chosen: Chosen, names: list[str], data: Path, split: str | None, limit: int | None,
    out: Path, how: tuple[list[str] | None, float], batch_size: int, cache: bool, timed: bool, preparation: Preparation,
) -> tuple[list[Row], dict[str, Any]]:  # fmt: skip
    from sensorium.engine.loading import load_engine
    from sensorium.evaluation.benchmarks import BENCHMARKS, Data
    from sensorium.evaluation.methods import Trial, compare_ways
    from sensorium.evaluation.response_cache import ResponseCache, default_path

    preparation("reading the questions", 0, 0)
    source = Data(data, None, split)
    for name in names:
        next(iter(BENCHMARKS[name].read(source, BENCHMARKS[name].prompts[0])))
    engine = load_engine(progress=preparation, **load)
    ways = _ways(engine, load, chosen, preparation)
    make = _make_corrector(engine, how, preparation) if chosen.corrects else None
    about = {"model": {"name": engine.card.name, "identity": ways[0].identity, "provenance": engine.card.provenance},
             "data": {"name": source.path.name, "split": split}, "limit": limit}  # fmt: skip
    known = ResponseCache(default_path()) if cache else None
    rows: list[Row] = []
    for name in names:
        trial = Trial(BENCHMARKS[name], source, limit, out, known, about, batch_size)
        rows += compare_ways(trial, ways, make, preparation, timed)
    return rows, about


def _ways(engine: Engine, load: dict[str, Any], chosen: Chosen, preparation: Preparation) -> list[Way]:
    from sensorium.correction.grounding import with_detector
    from sensorium.engine.methods import decoding
    from sensorium.evaluation.identity import engine_identity
    from sensorium.evaluation.methods import PLAIN, Way

    def identity(of: Engine) -> str:
        return engine_identity(load["name"], of.card, load["precision"])

    ways = [Way(PLAIN, PLAIN, engine, identity(engine))]
    for written, method in chosen.decoding:
        asking = decoding(engine, with_detector(method, preparation))
        folder = written.replace(":", "-").replace("=", "").replace(",", "-").replace("/", "")
        ways.append(Way(folder, method.spec, asking, identity(asking), method.passes))
    return ways


def _make_corrector(
    engine: Engine, how: tuple[list[str] | None, float], preparation: Preparation
) -> Callable[[], Corrector]:
    from sensorium.correction import VERIFIERS, Corrector, Policy, Setting
    from sensorium.correction.language import load_parser

    names, risk = how
    for name in names or ():
        if name not in VERIFIERS:
            raise SensoriumError("--verifier", f"`{name}` is not known.", did_you_mean(name, VERIFIERS))
    load_parser(preparation)

    def make() -> Corrector:
        setting = Setting(engine, progress=preparation)
        verifiers = [VERIFIERS[name](setting) for name in dict.fromkeys(names or ("detector", "colour"))]
        return Corrector(verifiers, policy=Policy(risk=risk))

    return make


def _show(rows: list[Row]) -> None:
    from rich.console import Console

    from sensorium.evaluation.methods_table import tables

    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    with console.capture() as captured:
        for table in tables(rows):
            console.print(table)
    emit(captured.get(), end="")
