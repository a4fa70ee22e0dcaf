"""Where a run's pictures are: its data read again, checked to be the data that the run is of.

Runs keep no pictures and no paths; both belong to whoever has the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from sensorium.conversation import Image, Video
from sensorium.data.dataset import Dataset
from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks import Data
from sensorium.evaluation.benchmarks.choice import find_benchmark
from sensorium.evaluation.replies import read_replies
from sensorium.evaluation.run_folder import read_run

Media = Mapping[str, Callable[[], tuple[Image | Video, ...]]]  # by the samples' ids; raises SensoriumError


def benchmark_media(run: Path, data: Path, media: Path | None) -> Media:
    """Raises SensoriumError when the data is not that of the run."""
    header, _ = read_run(run)
    source = Data(data, media, header["split"])
    if source.sha256 != header["data"]:
        raise _other(data, run)
    questions = find_benchmark(header["benchmark"]).read(source, header["prompt"])
    return {question.id: question.media for question in questions}


def scenes_media(run: Path, dataset: Dataset) -> Media:
    """Raises SensoriumError when the dataset is not that of the run."""
    found: dict[str, Callable[[], tuple[Image | Video, ...]]] = {}
    for path in sorted(run.glob("replies-*.jsonl")):
        header, replies = read_replies(path)
        if header.get("data") != dataset.info.get("fingerprint"):
            raise _other(dataset.root, run)
        split = str(header.get("split"))
        pictures = {probe.id: probe.images for probe in dataset.probes(split)}
        for reply in replies:
            # Questions in pairs have the probe's id with /0 and /1 behind it.
            if paths := pictures.get(reply.id) or pictures.get(reply.id.rpartition("/")[0]):
                found[f"{split}/{reply.id}"] = _shown(paths)
    return found


def _shown(paths: tuple[str, ...]) -> Callable[[], tuple[Image | Video, ...]]:
    return lambda: tuple(map(Image, paths))


def _other(data: Path, run: Path) -> SensoriumError:
    return SensoriumError(data, f"is not the data that {run} is a run of.", "Name that with --data, or leave it out.")
