"""`sensorium evaluate`: ask a model the questions of a benchmark, keep every reply, score them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.options import ApiKeyOption
from sensorium.cli.terminal import Preparation, note
from sensorium.cli.video import SamplingOf
from sensorium.errors import SensoriumError, did_you_mean

if TYPE_CHECKING:
    from sensorium.engine.base import Sampling
    from sensorium.evaluation.asking import Asker
    from sensorium.evaluation.benchmarks import Benchmark, Data

PRECISIONS = ("float32", "bfloat16")
SCENES = "scenes"
# Options that belong to the one or the other: a benchmark has protocols, our own scenes have blind runs.
_OF_SCENES = ("blind", "speech")
_OF_BENCHMARKS = (
    "media", "prompt", "variant", "max_new_tokens", "temperature", "seed", "repeats", "batch_size", "workers",
    "ray_address", "cache", "probe", "probe_base", "training_data", "frames", "sampling", "subtitles",
)
_OF_VIDEOS = ("frames", "sampling", "subtitles")  # fmt: skip


def evaluate(
    context: typer.Context,
    benchmark: Annotated[str, typer.Argument(metavar="BENCHMARK", help="`scenes`, or one of those below.")],
    data: Annotated[Path, typer.Option("--data", "-d", help="Its file or folder, on this disk.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for all replies and results.json.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="`default`, a folder, a hub id, or an address: http://HOST/v1#MODEL.")
    ] = "default",
    media: Annotated[Path | None, typer.Option(help="Folder of pictures or videos, if not beside the data.")] = None,
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Only files with that word; of scenes: its splits, repeatable.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(metavar="official|vlmevalkit|lmms-eval|…", help="Whose protocol asks.")
    ] = None,
    variant: Annotated[
        str | None, typer.Option(metavar="official|vlmevalkit|lmms-eval|…", help="Whose rules score.")
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Of each video at most; 8 if left out.")] = None,
    sampling: SamplingOf = None,
    subtitles: Annotated[
        bool, typer.Option(help="Of videos: also tell the lines that are said at the frames' times.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask only so many pictures of each task.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Of a reply; each benchmark has its own.")] = None,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    repeats: Annotated[int, typer.Option(min=1, help="Replies to each question; above 1 needs a temperature.")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions asked together.")] = 64,
    workers: Annotated[int, typer.Option(min=1, help="Engines that answer at once, by Ray; one needs no Ray.")] = 1,
    ray_address: Annotated[str | None, typer.Option(help="Of a cluster; this machine if left out.")] = None,
    cache: Annotated[bool, typer.Option(help="Use replies that were given before, in any run.")] = True,
    probe: Annotated[
        list[str] | None,
        typer.Option(metavar="no-picture|grey|shuffled|rotate|slots", help="Also ask changed questions; repeatable."),
    ] = None,
    probe_base: Annotated[
        str | None, typer.Option(metavar="MODEL|untrained", help="Of blind probes: the base model, for the leakage.")
    ] = None,
    training_data: Annotated[
        Path | None, typer.Option(help="A dataset or sources.yaml; look for the test's texts and pictures in it.")
    ] = None,
    blind: Annotated[bool, typer.Option(help="Of scenes: also ask with grey pictures.")] = True,
    speech: Annotated[bool, typer.Option(help="Of scenes: also compare plain talk with the untrained model.")] = True,
    precision: Annotated[
        str, typer.Option(help="Of torch, transformers: float32, or bfloat16, several times faster where built in.")
    ] = "float32",
    engine: Annotated[
        str | None, typer.Option(metavar="torch|llamacpp|transformers|remote|auto",
                                 help="What computes; what runs the model, and of ours torch, if left out.")
    ] = None,
    api_key: ApiKeyOption = None,
    quantization: Annotated[str, typer.Option(metavar="q8_0|q4_0|f16", help="Of llamacpp's weights.")] = "q8_0",
    json: Annotated[bool, typer.Option("--json", help="Print results.json instead of a table.")] = False,
) -> None:
    """Measure a model on a benchmark.

    Benchmarks: mme, pope, vqav2, okvqa, textvqa, refcoco, caption (COCO), chartqa, docvqa, infovqa, mathvista, mcq
    (MMBench, MMStar, …), videomme, easy-vqa; made of our own scenes, without a licence or a download, scenes-mme,
    scenes-pope, scenes-caption, scenes-refcoco, and scenes, beside blind scores and chance. Data is read from this disk
    in the official layout, as lmms-lab's parquet, or as VLMEvalKit's TSV.

    Every reply is kept in OUT before anything is scored; a run that was stopped goes on where it was, and
    `sensorium rescore OUT` scores it again by other rules without asking.

    Probes ask the same questions without the picture, with a grey one, with another question's (shuffled); with the
    options rotated; or for a word of the test's own sentences (slots). What they find is in results.json.

    \b
    Examples:
      sensorium evaluate scenes --data runs/scenes --out runs/mine/scores --model runs/mine
      sensorium evaluate scenes --data runs/scenes --out quick --split test_seen --limit 20 --no-blind --no-speech
      sensorium evaluate mme --data MME_Benchmark_release_version --out runs/mme --engine auto
      sensorium evaluate mcq --data MMBench_DEV_EN.tsv --out runs/mmbench --prompt official --workers 4
      sensorium evaluate videomme --data Video-MME --media videos --out runs/videomme --frames 32 --subtitles
      sensorium evaluate scenes-mme --data runs/scenes --out runs/blind --probe no-picture --probe grey
      sensorium evaluate pope --data coco --media val2014 --out runs/pope --temperature 0.7 --repeats 5
    """
    _check_benchmark(benchmark, out)
    if precision not in PRECISIONS:
        raise SensoriumError("--precision", f"{precision!r} is not known.", did_you_mean(precision, PRECISIONS))
    load: dict[str, Any] = {"name": model, "precision": precision, "engine": engine, "quantization": quantization,
                            "api_key": api_key}  # fmt: skip
    if benchmark == SCENES:
        from sensorium.cli.evaluate_scenes import evaluate_scenes

        _refuse(context, _OF_BENCHMARKS, "is of other benchmarks than `scenes`.")
        evaluate_scenes(data, out, load, split or (), blind, speech, limit, json)
        return
    _refuse(context, _OF_SCENES, "is of `scenes` alone.")
    if repeats > 1 and not temperature:
        raise SensoriumError("--repeats", "greedy replies are all the same.", "Choose a --temperature above 0.")
    from sensorium.cli.evaluate_probes import Asked, ask_base, ask_probes, check_probes, compare_with_training
    from sensorium.engine.base import Sampling
    from sensorium.evaluation.benchmarks import BENCHMARKS, Data
    from sensorium.evaluation.identity import engine_identity
    from sensorium.evaluation.response_cache import ResponseCache, default_path
    from sensorium.evaluation.run import limited, run
    from sensorium.evaluation.run_folder import RunFolder

    chosen = BENCHMARKS[benchmark]
    if chosen.modality != "video":
        _refuse(context, _OF_VIDEOS, f"is about videos; {chosen.title} shows none.")
    elif sampling is not None:
        from sensorium.media.sampling import parse_sampling

        parse_sampling(sampling)
    asked_as = chosen.known_prompt(prompt)
    chosen.known_variant(variant, asked_as)
    check_probes(probe or (), probe_base)
    if split and len(split) > 1:
        raise SensoriumError("--split", "one word at most; it chooses among the files of the data.")
    source = Data(data, media, split[0] if split else None, frames, sampling, subtitles)
    speaking = Sampling(max_new_tokens or chosen.max_new_tokens, temperature, seed=seed)
    with Preparation() as preparation:
        preparation("reading the questions", 0, 0)
        questions = limited(chosen.read(source, asked_as), limit)
        with closing(_asker(chosen, load, workers, ray_address, preparation)) as asker:
            identity = engine_identity(model, asker.card, precision)
            header = _asked(chosen, asked_as, source, identity, speaking)
            folder = RunFolder(out, header)
            known = ResponseCache(default_path()) if cache else None
            about = {"model": {"name": asker.card.name, "provenance": asker.card.provenance}, "limit": limit,
                     "data_about": {"name": source.path.name, "layout": source.layout}}  # fmt: skip
            run(questions, asker, folder, identity, speaking, repeats, known, batch_size, preparation, about)
            asked = Asked(asker, identity, speaking, known, batch_size, header, about)
            ask_probes(probe or (), questions, asked, out, preparation)
        if probe_base is not None:
            ask_base(probe_base, load, questions, asked, out, preparation)
        if training_data is not None:
            compare_with_training(questions, training_data, out, preparation)
    _finish(out, variant, json)


def _asked(benchmark: Benchmark, prompt: str, data: Data, identity: str, sampling: Sampling) -> dict[str, Any]:
    """What makes the replies of a run those of this run and no other."""
    from dataclasses import asdict

    return {
        "benchmark": benchmark.name, "prompt": prompt, "data": data.sha256, "split": data.split, "engine": identity,
        "sampling": asdict(sampling) | {"stop": list(sampling.stop)},
    } | (
        {"videos": {"frames": data.frames, "sampling": data.sampling, "subtitles": data.with_subtitles}}
        if benchmark.modality == "video" else {}
    )  # fmt: skip


def _asker(benchmark: Benchmark, load: dict[str, Any], workers: int, address: str | None, preparation: Any) -> Asker:
    from sensorium.evaluation.asking import Here

    asker: Asker
    if workers > 1 or address is not None:
        from sensorium.evaluation.workers import RayWorkers

        preparation(f"starting {workers} workers", 0, 0)
        asker = RayWorkers(workers, load, address)
    else:
        from sensorium.engine.loading import load_engine

        asker = Here(load_engine(progress=preparation, **load))
    if benchmark.modality not in asker.card.modalities:
        asker.close()
        able = ", ".join(asker.card.modalities)
        raise SensoriumError(load["name"], f"takes {able}; {benchmark.title} shows it {benchmark.modality}.",
                             "Choose a --model and --engine that take it.")
    return asker


def _finish(out: Path, variant: str | None, json: bool) -> None:
    from sensorium.cli.rescore import show_results
    from sensorium.evaluation.results import score_run

    results = score_run(out, variant)
    results.write(out)
    show_results(results, json)
    note(f"Written: {out / 'results.json'}, {out / 'replies.jsonl'}")


def _check_benchmark(name: str, out: Path) -> None:
    if name == SCENES:
        return
    if Path(name).exists():
        raise SensoriumError(name, "is a path, and the name of a benchmark comes first.",
                             f"Write: sensorium evaluate {SCENES} --data {name} --out {out}")
    from sensorium.evaluation.benchmarks import BENCHMARKS

    if name not in BENCHMARKS:
        raise SensoriumError(f"benchmark {name!r}", "is not known.", did_you_mean(name, [SCENES, *BENCHMARKS]))


def _refuse(context: typer.Context, names: tuple[str, ...], why: str) -> None:
    """Options given by the user that would do nothing here."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise SensoriumError(f"--{name.replace('_', '-')}", why)
