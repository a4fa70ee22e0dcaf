"""A run as `compare` sees it: questions by their ids with what each reply was worth, and the official score of them.

Runs of benchmarks are judged and scored by their own rules; runs of our scenes have stored whether each reply was
right, and their scores are those of MME.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.data.records import PAIR_SUBSETS
from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks.choice import find_benchmark
from sensorium.evaluation.intervals import Clusters
from sensorium.evaluation.replies import ScenesReply, read_judged
from sensorium.evaluation.run_folder import REPLIES, read_header, read_run
from sensorium.evaluation.scorers.outcome import Outcome

SCENES = "scenes"


@dataclass(frozen=True)
class Item:
    """One question as a run answered it: worth 0-1, the mean of its repeats."""

    task: str
    cluster: str
    truth: Any
    worth: float
    is_binary: bool


@dataclass(frozen=True)
class Run:
    """name: of the model; how: what else must be alike for a fair comparison, by what it is called. outcome: the
    official score of the questions of these ids, in their order."""

    folder: Path
    name: str
    benchmark: str
    how: Mapping[str, Any]
    items: Mapping[str, Item]
    outcome: Callable[[Sequence[str]], Outcome]


def kind_of(folder: Path) -> str:
    """The benchmark's name. Raises SensoriumError for a folder that is no finished run."""
    return SCENES if _scenes_files(folder) else str(read_header(folder)["benchmark"])


def load_run(folder: Path, variant: str | None) -> tuple[Run, str]:
    """The run, and the variant by which it is judged. Raises SensoriumError for a folder that is no finished run."""
    if files := _scenes_files(folder):
        return _scenes(folder, files), SCENES
    header, answers = read_run(folder)
    benchmark = find_benchmark(header["benchmark"])
    chosen = benchmark.known_variant(variant, header["prompt"])
    worth: dict[str, list[float]] = {}
    binary: dict[str, bool] = {}
    for repeat in range(header["repeats"]):
        of_repeat = [answer for answer in answers if answer.repeat == repeat]
        for answer, judged in zip(of_repeat, benchmark.judge(of_repeat, chosen), strict=True):
            worth.setdefault(answer.id, []).append(judged.worth)
            binary[answer.id] = judged.is_binary and header["repeats"] == 1
    about = {answer.id: answer for answer in reversed(answers)}  # the first reply to each
    items = {
        name: Item(about[name].task, about[name].cluster, about[name].truth, sum(values) / len(values), binary[name])
        for name, values in worth.items()
    }
    how = {"prompt": header["prompt"], "sampling": header["sampling"], "replies to each": header["repeats"]}

    def outcome(names: Sequence[str]) -> Outcome:
        return benchmark.score([about[name] for name in names], chosen)

    return Run(folder, str(header["model"]["name"]), benchmark.name, how, items, outcome), chosen


def _scenes_files(folder: Path) -> list[Path]:
    return [] if (folder / REPLIES).is_file() else sorted(folder.glob("replies-*.jsonl"))


def _scenes(folder: Path, files: Sequence[Path]) -> Run:
    """A run of `sensorium evaluate scenes`: all splits, seeing. Tasks are split and subset."""
    items: dict[str, Item] = {}
    replies: dict[str, ScenesReply] = {}
    for path in files:
        header, rows = read_judged(path)
        if header.get("blind"):
            continue
        split = str(header.get("split"))
        for reply, is_right in rows:
            name, task = f"{split}/{reply.id}", f"{split} {reply.subset}"
            items[name] = Item(task, f"{split}/{reply.scene}", reply.truth, float(is_right), True)
            replies[name] = reply
    if not items:
        raise SensoriumError(folder, "holds no replies of a model that saw the pictures.")

    def outcome(names: Sequence[str]) -> Outcome:
        return _scenes_outcome([(name, items[name]) for name in names if replies[name].subset in PAIR_SUBSETS])

    return Run(folder, _model_of_scenes(folder), SCENES, {}, items, outcome)


def _scenes_outcome(asked: Sequence[tuple[str, Item]]) -> Outcome:
    """Of questions of yes and no, task by task: of 200, and the share of pictures with both answers right, percent."""
    pairs: dict[str, dict[str, list[float]]] = {}
    for name, item in asked:
        pairs.setdefault(item.task, {}).setdefault(name.rpartition("/")[0], []).append(item.worth)
    values, intervals = {}, {}
    for task, pictures in pairs.items():
        sums = Clusters()
        for picture, right in pictures.items():
            sums.add(picture, sum(right) / len(right), float(all(right)))
        means = sums.rows.mean(0)
        values[task] = {"score": 100 * float(means.sum()), "accuracy+": 100 * float(means[1])}
        intervals[task] = {"score": sums.interval(lambda means: 100 * means.sum(-1)),
                           "accuracy+": sums.interval(lambda means: 100 * means[..., 1])}  # fmt: skip
    return Outcome(SCENES, SCENES, values, intervals)


def _model_of_scenes(folder: Path) -> str:
    try:
        return str(json.loads((folder / "results.json").read_text(encoding="utf-8"))["model"]["name"])
    except (OSError, ValueError, LookupError, TypeError):
        return folder.name  # the replies are what counts; a name is only for the eye
