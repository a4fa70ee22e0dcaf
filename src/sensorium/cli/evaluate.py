"""`sensorium evaluate`: measure a model on the held-out scenes of a dataset, with and without the picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.terminal import Preparation, emit, emit_json, note
from sensorium.errors import SensoriumError, did_you_mean

if TYPE_CHECKING:
    from sensorium.data.dataset import Dataset
    from sensorium.engine import Engine
    from sensorium.engine.names import Named
    from sensorium.evaluation import Report

PRECISIONS = ("float32", "bfloat16")
WIDTH = 110  # of the table where there is no terminal to ask


def evaluate(
    data: Annotated[Path, typer.Argument(help="A dataset folder, as `sensorium data build scenes` makes it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for results.json, table.md and all replies.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="`default`, a model folder, a hub id, or a server's address: http://HOST/v1#MODEL.")
    ] = "default",
    split: Annotated[
        list[str] | None, typer.Option("--split", help="What to measure; repeatable. All test splits if left out.")
    ] = None,
    blind: Annotated[bool, typer.Option(help="Also ask with grey pictures, to see what looking adds.")] = True,
    speech: Annotated[bool, typer.Option(help="Also compare plain talk with the untrained language model.")] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask only so many pictures of each kind.")] = None,
    precision: Annotated[
        str, typer.Option(help="Of torch, transformers: float32, or bfloat16, several times faster where built in.")
    ] = "float32",
    engine: Annotated[
        str | None, typer.Option(metavar="torch|llamacpp|transformers|remote|auto",
                                 help="What computes; what runs the model, and of ours torch, if left out.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="OPENAI_API_KEY", show_default=False, help="Of the server, for an address.")
    ] = None,
    quantization: Annotated[str, typer.Option(metavar="q8_0|q4_0|f16", help="Of llamacpp's weights.")] = "q8_0",
    json: Annotated[bool, typer.Option("--json", help="Print results.json instead of a table.")] = False,
) -> None:
    """Measure a model on held-out scenes.

    Existence, count, position and color are asked in MME's shape (two questions a picture, a score of 200), then
    captions and boxes. Each score stands beside the blind score (grey pictures) and chance. Every reply is kept in
    OUT/replies-*.jsonl; a run that was stopped goes on where it was, and a larger --limit asks only what is new.

    \b
    Examples:
      sensorium evaluate runs/scenes --out runs/mine/scores --model runs/mine
      sensorium evaluate runs/scenes --out quick --split test_seen --limit 20 --no-blind --no-speech
      sensorium evaluate runs/scenes --out small --engine llamacpp --quantization q4_0
    """
    from sensorium.data.dataset import Dataset
    from sensorium.data.records import TEST_SPLITS
    from sensorium.engine.loading import load_engine
    from sensorium.engine.names import find_model
    from sensorium.evaluation import Report

    if precision not in PRECISIONS:
        raise SensoriumError("--precision", f"{precision!r} is not known.", did_you_mean(precision, PRECISIONS))
    dataset = Dataset(data)
    splits = split or [name for name in TEST_SPLITS if name in dataset.splits]
    if not splits:
        remedy = f"Name one with --split: {', '.join(dataset.splits)}."
        raise SensoriumError(data, "has none of the test splits.", remedy)
    for name in splits:
        dataset.folder(name)
    found = find_model(model)
    with Preparation() as preparation:
        loaded = load_engine(  # it checks the names
            model, preparation, precision, engine, quantization, api_key=api_key,  # type: ignore[arg-type]
        )
        how = loaded.card.provenance.get("quantization", precision)
        name = loaded.card.name
        about: dict[str, Any] = {"name": name, "fingerprint": f"{_fingerprint(found, name)}-{how}"}
        about["provenance"] = loaded.card.provenance
        from_data = {key: dataset.info.get(key) for key in ("name", "fingerprint", "seed")}
        report = Report(about, from_data, limit)
        for name in splits:
            for is_blind in (False, True) if blind else (False,):
                _measure(report, loaded, dataset, name, is_blind, out, preparation)
                report.write(out)
        if speech and found.kind != "sensorium":
            note("Plain talk is not compared: only a model folder of ours names its untrained language model.")
        elif speech:
            assert found.folder is not None
            report.speech = _speech(loaded, found.folder, preparation)
            report.write(out)
    _show(report, out, json)


def _measure(
    report: Report, engine: Engine, dataset: Dataset, split: str, blind: bool, out: Path, preparation: Preparation
) -> None:
    from sensorium.evaluation import ReplyFile, evaluate_scenes

    header = {"model": report.model["fingerprint"], "data": report.data["fingerprint"], "split": split, "blind": blind}
    what = f"{split}, {'blind' if blind else 'seeing'}"
    keep = ReplyFile(out / f"replies-{split}{'-blind' if blind else ''}.jsonl", header)
    report.add(
        evaluate_scenes(
            engine, dataset, split, blind, report.limit, lambda done, total: preparation(what, done, total), keep
        )
    )


def _speech(engine: Engine, folder: Path, preparation: Preparation) -> Any:
    """The comparison with the language model as its part gives it: no adapters, nothing of ours loaded."""
    from sensorium.engine.torch import TorchEngine
    from sensorium.evaluation import evaluate_speech, speech_references
    from sensorium.model.checkpoint import read_config
    from sensorium.model.quiet import quietly

    preparation("asking the plain language model", 0, 0)
    with quietly():
        plain = TorchEngine(read_config(folder)[0].model_copy(update={"lora": None}).build(preparation), "plain")
    references = speech_references(plain)
    return evaluate_speech(engine, references, lambda done, total: preparation("speech", done, total))


def _show(report: Report, out: Path, json: bool) -> None:
    from rich.console import Console

    from sensorium.evaluation.report import speech_line

    if json:
        emit_json(report.to_json())
        return
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    with console.capture() as captured:
        console.print(report.table())
    emit(captured.get(), end="")
    if report.speech is not None:
        emit(speech_line(report.speech))
    note(f"Written: {out / 'results.json'}, {out / 'table.md'}, {out}/replies-*.jsonl")


def _fingerprint(found: Named, name: str) -> str:
    """sha256 over the checkpoint's files: replies of other weights must not be mixed with these.

    Of an address, which shows no files, over itself and the model's name there.
    """
    import hashlib

    from sensorium.parts.hub import hub_folder
    from sensorium.parts.package import sha256_of

    if found.kind == "remote":
        return hashlib.sha256(f"{found.base_url} {name}".encode()).hexdigest()
    folder = found.folder or hub_folder(found.name)
    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".gguf"))
    return hashlib.sha256("".join(f"{path.name} {sha256_of(path)}\n" for path in files).encode()).hexdigest()
