"""`sensorium evaluate BENCHMARK`: the way from the options of the command to results.json."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.cli.terminal import Preparation, note
from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from sensorium.cli.evaluate_probes import Asked
    from sensorium.engine.base import Sampling
    from sensorium.evaluation.asking import Asker
    from sensorium.evaluation.benchmarks import Benchmark, Data, Question
    from sensorium.media.video import VideoLimits


@dataclass(frozen=True)
class Run:
    """What is asked, and how; as the options name it, None where the benchmark's own is meant.

    frames, frame_sampling, subtitles, limits: of videos.
    """

    name: str
    data: Path
    out: Path
    media: Path | None
    splits: tuple[str, ...]
    prompt: str | None
    variant: str | None
    frames: int | None
    frame_sampling: str | None
    subtitles: bool
    limits: VideoLimits
    limit: int | None
    max_new_tokens: int | None
    temperature: float
    seed: int
    repeats: int
    batch_size: int
    uses_cache: bool

    @cached_property
    def benchmark(self) -> Benchmark:
        from sensorium.evaluation.benchmarks.choice import find_benchmark

        return find_benchmark(self.name)

    @cached_property
    def source(self) -> Data:
        from sensorium.evaluation.benchmarks import Data

        split = self.splits[0] if self.splits else None
        return Data(self.data, self.media, split, self.frames, self.frame_sampling, self.subtitles)

    @property
    def asked_as(self) -> str:
        return self.benchmark.known_prompt(self.prompt)

    @property
    def sampling(self) -> Sampling:
        from sensorium.engine.base import Sampling

        return Sampling(self.max_new_tokens or self.benchmark.max_new_tokens, self.temperature, seed=self.seed)

    def check(self) -> None:
        """Before anything is read or loaded. Raises SensoriumError for options that do not fit."""
        if self.repeats > 1 and not self.temperature:
            raise SensoriumError("--repeats", "greedy replies are all the same.", "Choose a --temperature above 0.")
        if len(self.splits) > 1:
            raise SensoriumError("--split", "one word at most; it chooses among the files of the data.")
        self.benchmark.known_variant(self.variant, self.asked_as)
        if self.frame_sampling is not None:
            from sensorium.media.sampling import parse_sampling

            if parse_sampling(self.frame_sampling)[0] == "subtitles" and not self.subtitles:
                raise SensoriumError("--sampling subtitles", "goes by what is said.", "Add --subtitles.")

    def questions(self) -> list[Question]:
        from sensorium.evaluation.run import limited

        return limited(self.benchmark.read(self.source, self.asked_as), self.limit)


@dataclass(frozen=True)
class Workers:
    """address: of a cluster; None for this machine."""

    count: int
    address: str | None


@dataclass(frozen=True)
class Probing:
    names: tuple[str, ...]
    base: str | None
    training_data: Path | None


def evaluate_benchmark(run: Run, load: dict[str, Any], workers: Workers, probing: Probing, json: bool) -> None:
    """Ask, probe, score, show. load: arguments of `load_engine`."""
    from sensorium.cli.evaluate_probes import ask_base, ask_probes, check_probes, compare_with_training
    from sensorium.folder_lock import locked

    run.check()
    check_probes(probing.names, probing.base)
    with locked(run.out, "evaluation"):
        with Preparation() as preparation:
            preparation("reading the questions", 0, 0)
            questions = run.questions()
            with closing(_asker(run, load, workers, preparation)) as asker:
                asked = _asked(run, asker, load)
                _ask(run, questions, asked, preparation)
                ask_probes(probing.names, questions, asked, run.out, preparation)
            if probing.base is not None:
                ask_base(probing.base, load, questions, asked, run.out, preparation)
            if probing.training_data is not None:
                compare_with_training(questions, probing.training_data, run.out, preparation)
        _finish(run, json)


def _asker(run: Run, load: dict[str, Any], workers: Workers, preparation: Preparation) -> Asker:
    from sensorium.evaluation.asking import Here

    asker: Asker
    benchmark = run.benchmark
    limits = run.limits if benchmark.modality == "video" else None
    if workers.count > 1 or workers.address is not None:
        from sensorium.evaluation.workers import RayWorkers

        preparation(f"starting {workers.count} workers", 0, 0)
        asker = RayWorkers(workers.count, load, workers.address, limits)
    else:
        from sensorium.engine.loading import load_engine

        asker = Here(load_engine(progress=preparation, **load), limits)
    if benchmark.modality not in asker.card.modalities:
        asker.close()
        able = ", ".join(asker.card.modalities)
        raise SensoriumError(load["name"], f"takes {able}; {benchmark.title} shows it {benchmark.modality}.",
                             "Choose a --model and --engine that take it.")
    return asker


def _asked(run: Run, asker: Asker, load: dict[str, Any]) -> Asked:
    """Of whom and how. Its header is what makes the replies of a run those of this run and no other."""
    from sensorium.cli.evaluate_probes import Asked
    from sensorium.evaluation.identity import engine_identity
    from sensorium.evaluation.response_cache import ResponseCache, default_path

    identity = engine_identity(load["name"], asker.card, load["precision"])
    header = {
        "benchmark": run.name, "prompt": run.asked_as, "data": run.source.sha256, "split": run.source.split,
        "engine": identity, "sampling": asdict(run.sampling) | {"stop": list(run.sampling.stop)},
    } | (
        {"videos": {"frames": run.frames, "sampling": run.frame_sampling, "subtitles": run.subtitles}}
        if run.benchmark.modality == "video" else {}
    )  # fmt: skip
    about = {"model": {"name": asker.card.name, "provenance": asker.card.provenance}, "limit": run.limit,
             "data_about": {"name": run.source.path.name, "layout": run.source.layout}}  # fmt: skip
    cache = ResponseCache(default_path()) if run.uses_cache else None
    return Asked(asker, identity, run.sampling, cache, run.batch_size, header, about, run.limits)


def _ask(run: Run, questions: list[Question], asked: Asked, preparation: Preparation) -> None:
    from sensorium.evaluation import run as runs
    from sensorium.evaluation.run_folder import RunFolder

    folder = RunFolder(run.out, asked.header)
    runs.run(questions, asked.asker, folder, asked.identity, asked.sampling, run.repeats, asked.cache, run.batch_size,
             preparation, asked.about)  # fmt: skip


def _finish(run: Run, json: bool) -> None:
    from sensorium.cli.rescore import show_results
    from sensorium.evaluation.results import score_run

    results = score_run(run.out, run.variant)
    results.write(run.out)
    show_results(results, json)
    note(f"Written: {run.out / 'results.json'}, {run.out / 'replies.jsonl'}")
