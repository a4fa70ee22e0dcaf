"""`sensorium evaluate`: ask a model the questions of a benchmark, keep every reply, score them.

The options, and which of the two kinds of evaluation they go to: `evaluate_benchmark` or `evaluate_scenes`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sensorium.cli.options import ApiKeyOption, CompressorOption, VisualTokens
from sensorium.cli.video import MaxBytes, MaxPixels, MaxSeconds, SamplingOf, Watching
from sensorium.errors import SensoriumError, did_you_mean

PRECISIONS = ("float32", "bfloat16")
SCENES = "scenes"
# Options that belong to the one or the other: a benchmark has protocols, our own scenes have blind runs.
_OF_SCENES = ("blind", "speech")
_OF_BENCHMARKS = (
    "media", "prompt", "variant", "max_new_tokens", "temperature", "seed", "repeats", "batch_size", "workers",
    "ray_address", "cache", "probe", "probe_base", "training_data", "frames", "sampling", "subtitles", "max_pixels",
    "max_seconds", "max_bytes",
)
_OF_VIDEOS = ("frames", "sampling", "subtitles", "max_pixels", "max_seconds", "max_bytes")  # fmt: skip

# What is asked, of whom, how: the options in the order of the help.
BenchmarkName = Annotated[str, typer.Argument(metavar="BENCHMARK", help="`scenes`, or one of those below.")]
DataPath = Annotated[Path, typer.Option("--data", "-d", help="Its file or folder, on this disk.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The folder for all replies and results.json.")]
Model = Annotated[
    str, typer.Option("--model", "-m", help="`default`, a folder, a hub id, or an address: http://HOST/v1#MODEL.")
]
Media = Annotated[Path | None, typer.Option(help="Folder of pictures or videos, if not beside the data.")]
Split = Annotated[
    list[str] | None, typer.Option("--split", help="Only files with that word; of scenes: its splits, repeatable.")
]
Prompt = Annotated[
    str | None, typer.Option(metavar="official|vlmevalkit|lmms-eval|…", help="Whose protocol asks.")
]
Variant = Annotated[
    str | None, typer.Option(metavar="official|vlmevalkit|lmms-eval|…", help="Whose rules score.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Ask only so many pictures of each task.")]
MaxNewTokens = Annotated[int | None, typer.Option(min=1, help="Of a reply; each benchmark has its own.")]
Temperature = Annotated[float, typer.Option(min=0, help="0 is greedy.")]
Seed = Annotated[int, typer.Option(help="Of the sampling.")]
Repeats = Annotated[int, typer.Option(min=1, help="Replies to each question; above 1 needs a temperature.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Questions asked together.")]
WorkerCount = Annotated[int, typer.Option(min=1, help="Engines that answer at once, by Ray; one needs no Ray.")]
RayAddress = Annotated[str | None, typer.Option(help="Of a cluster; this machine if left out.")]
Cache = Annotated[bool, typer.Option(help="Use replies that were given before, in any run.")]
Probes = Annotated[
    list[str] | None,
    typer.Option(metavar="no-picture|grey|shuffled|sizes|rotate|…", help="Also ask changed questions; repeatable."),
]
ProbeBase = Annotated[
    str | None, typer.Option(metavar="MODEL|untrained", help="Of blind probes: the base model, for the leakage.")
]
TrainingData = Annotated[
    Path | None, typer.Option(help="A dataset or sources.yaml; look for the test's texts and pictures in it.")
]
Blind = Annotated[bool, typer.Option(help="Of scenes: also ask with grey pictures.")]
Speech = Annotated[bool, typer.Option(help="Of scenes: also compare plain talk with the untrained model.")]
Precision = Annotated[
    str, typer.Option(help="Of torch, transformers: float32, or bfloat16, several times faster where built in.")
]
EngineName = Annotated[
    str | None, typer.Option(metavar="torch|llamacpp|transformers|remote|auto",
                             help="What computes; what runs the model, and of ours torch, if left out.")
]
Frames = Annotated[int | None, typer.Option(min=1, help="Of each video at most; 8 if left out.")]
Subtitles = Annotated[bool, typer.Option(help="Of videos: also tell the lines that are said at the frames' times.")]
Quantization = Annotated[str, typer.Option(metavar="q8_0|q4_0|f16", help="Of llamacpp's weights.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print results.json instead of a table.")]


def evaluate(
    context: typer.Context, benchmark: BenchmarkName, data: DataPath, out: Out, model: Model = "default",
    media: Media = None, split: Split = None, prompt: Prompt = None, variant: Variant = None, frames: Frames = None,
    sampling: SamplingOf = None, subtitles: Subtitles = False, max_pixels: MaxPixels = None,
    max_seconds: MaxSeconds = None, max_bytes: MaxBytes = None, limit: Limit = None,
    max_new_tokens: MaxNewTokens = None, temperature: Temperature = 0.0, seed: Seed = 0, repeats: Repeats = 1,
    batch_size: BatchSize = 64, workers: WorkerCount = 1, ray_address: RayAddress = None, cache: Cache = True,
    probe: Probes = None, probe_base: ProbeBase = None, training_data: TrainingData = None, blind: Blind = True,
    speech: Speech = True, precision: Precision = "float32", engine: EngineName = None, api_key: ApiKeyOption = None,
    quantization: Quantization = "q8_0", visual_tokens: VisualTokens = None, compressor: CompressorOption = None,
    json: AsJson = False,
) -> None:  # fmt: skip
    """Measure a model on a benchmark.

    Benchmarks: mme, pope, vqav2, okvqa, textvqa, refcoco, caption (COCO), chartqa, docvqa, infovqa, mathvista, mcq
    (MMBench, MMStar, …), videomme, easy-vqa; made of our own scenes, without a licence or a download, scenes-mme,
    scenes-pope, scenes-caption, scenes-refcoco, and scenes, beside blind scores and chance. Data is read from this disk
    in the official layout, as lmms-lab's parquet, or as VLMEvalKit's TSV.

    Every reply is kept in OUT before anything is scored; a run that was stopped goes on where it was, and
    `sensorium rescore OUT` scores it again by other rules without asking.

    Probes ask the same questions without the picture, with a grey one, with another question's (shuffled), with smaller
    ones (sizes); with the options rotated; or for a word of the test's own sentences (slots). Of videos: with one frame
    (single-frame), with subtitles alone (subtitles-only), with fewer (frames). What they find is in results.json.

    \b
    Examples:
      sensorium evaluate scenes --data runs/scenes --out runs/mine/scores --model runs/mine
      sensorium evaluate scenes --data runs/scenes --out quick --split test_seen --limit 20 --no-blind --no-speech
      sensorium evaluate mme --data MME_Benchmark_release_version --out runs/mme --engine auto
      sensorium evaluate mcq --data MMBench_DEV_EN.tsv --out runs/mmbench --prompt official --workers 4
      sensorium evaluate videomme --data Video-MME --out runs/videomme --frames 32 --subtitles
      sensorium evaluate scenes-mme --data runs/scenes --out runs/blind --probe no-picture --probe grey
      sensorium evaluate scenes-mme --data runs/scenes --out runs/fewer --visual-tokens 16 --compressor tome
      sensorium evaluate pope --data coco --media val2014 --out runs/pope --temperature 0.7 --repeats 5
    """
    _check_benchmark(benchmark, out)
    if precision not in PRECISIONS:
        raise SensoriumError("--precision", f"{precision!r} is not known.", did_you_mean(precision, PRECISIONS))
    load: dict[str, Any] = {"name": model, "precision": precision, "engine": engine, "quantization": quantization,
                            "api_key": api_key, "visual_tokens": visual_tokens, "compressor": compressor}  # fmt: skip
    if benchmark == SCENES:
        from sensorium.cli.evaluate_scenes import evaluate_scenes

        _refuse(context, _OF_BENCHMARKS, "is of other benchmarks than `scenes`.")
        evaluate_scenes(data, out, load, split or (), blind, speech, limit, json)
        return
    from sensorium.cli.evaluate_benchmark import Probing, Run, Workers, evaluate_benchmark
    from sensorium.evaluation.benchmarks.choice import find_benchmark

    _refuse(context, _OF_SCENES, "is of `scenes` alone.")
    if (chosen := find_benchmark(benchmark)).modality != "video":
        _refuse(context, _OF_VIDEOS, f"is about videos; {chosen.title} shows none.")
    run = Run(
        name=benchmark, data=data, out=out, media=media, splits=tuple(split or ()), prompt=prompt, variant=variant,
        frames=frames, frame_sampling=sampling, subtitles=subtitles,
        limits=Watching(max_pixels=max_pixels, max_seconds=max_seconds, max_bytes=max_bytes).limits,
        limit=limit, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, repeats=repeats,
        batch_size=batch_size, uses_cache=cache,
    )  # fmt: skip
    probing = Probing(tuple(probe or ()), probe_base, training_data)
    evaluate_benchmark(run, load, Workers(workers, ray_address), probing, json)


def _check_benchmark(name: str, out: Path) -> None:
    if name == SCENES:
        return
    if Path(name).exists():
        raise SensoriumError(name, "is a path, and the name of a benchmark comes first.",
                             f"Write: sensorium evaluate {SCENES} --data {name} --out {out}")
    from sensorium.evaluation.benchmarks.choice import find_benchmark

    find_benchmark(name, SCENES)


def _refuse(context: typer.Context, names: tuple[str, ...], why: str) -> None:
    """Options given by the user that would do nothing here."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise SensoriumError(f"--{name.replace('_', '-')}", why)
