"""`sensorium evaluate scenes`: our own held-out scenes, with and without the picture."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.cli.terminal import Preparation, emit, emit_json, note
from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from sensorium.data.dataset import Dataset
    from sensorium.engine import Engine
    from sensorium.evaluation import Report

WIDTH = 110  # of the table where there is no terminal to ask


def evaluate_scenes(
    data: Path, out: Path, load: dict[str, Any], splits: Sequence[str], blind: bool, speech: bool, limit: int | None,
    json: bool,
) -> None:
    """Measure, write and show. load: arguments of `load_engine`; splits: none for all test splits."""
    from sensorium.data.dataset import Dataset
    from sensorium.data.records import TEST_SPLITS
    from sensorium.engine.loading import load_engine
    from sensorium.engine.names import find_model
    from sensorium.evaluation import Report
    from sensorium.evaluation.identity import engine_identity
    from sensorium.folder_lock import locked

    dataset = Dataset(data)
    splits = splits or [name for name in TEST_SPLITS if name in dataset.splits]
    if not splits:
        remedy = f"Name one with --split: {', '.join(dataset.splits)}."
        raise SensoriumError(data, "has none of the test splits.", remedy)
    for name in splits:
        dataset.folder(name)
    found = find_model(load["name"])
    with locked(out, "evaluation"), Preparation() as preparation:
        loaded = load_engine(progress=preparation, **load)
        identity = engine_identity(load["name"], loaded.card, load["precision"])
        about: dict[str, Any] = {"name": loaded.card.name, "fingerprint": identity}
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
