"""POPE's questions about our own scenes: is there an X? Negatives by its three rules, from a truth that is complete.

COCO's annotations miss things, so that some of POPE's noes are yes; composed scenes hold exactly what their rows say.
As in POPE's generator: pictures with at least three names, at most 500 of them, three that are there and three that
are not in turn, asked about in each of three sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from sensorium.data.records import Scene
from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks import pope
from sensorium.evaluation.benchmarks.base import SHORT_ANSWER, Answer, Benchmark, Question
from sensorium.evaluation.benchmarks.layouts import Data
from sensorium.evaluation.benchmarks.scenes_truth import Absent, by_split, one, shows
from sensorium.evaluation.scorers.outcome import Outcome

NAMES = 3  # asked about that are there, and as many that are not
MOST_PICTURES = 500
_TEXT = "Is there {} in the image?"


def read(data: Data, prompt: str) -> Iterator[Question]:
    for split in data.scene_splits:
        scenes = list(data.scenes.scenes(split, "plain"))
        rich = [scene for scene in scenes if len(scene.counts) >= NAMES]
        if not rich:
            raise SensoriumError(data.path / split, f"has no picture with {NAMES} different things.",
                                 "Choose another --split.")
        absent, draw = Absent(scenes), Random(f"pope {split}")
        chosen = rich if len(rich) <= MOST_PICTURES else sorted(draw.sample(rich, MOST_PICTURES), key=lambda s: s.id)
        for rule in pope.SETS:
            for scene in chosen:
                yield from _about(scene, split, rule, absent, draw, prompt)


def _about(scene: Scene, split: str, rule: str, absent: Absent, draw: Random, prompt: str) -> Iterator[Question]:
    present, used = list(scene.counts), list[str]()
    for turn, name in enumerate(present[:NAMES]):
        other = absent.pick(rule, name, present, used, draw)
        if other is None:  # so few names in the whole split that this picture shows or has been asked about all
            return
        used.append(other)
        for place, (asked, answer) in enumerate(((name, "yes"), (other, "no"))):
            text = _TEXT.format(one(asked)) + (SHORT_ANSWER if prompt == "lmms-eval" else "")
            picture = f"{split}/{scene.id}"
            yield Question(f"{rule}/{picture}/{2 * turn + place}", picture, rule, text,
                           {"answer": answer, "sets": [rule], "split": split}, shows(scene.image),
                           f"{split}/scenes.jsonl {scene.id}")  # fmt: skip


def score(answers: Sequence[Answer], variant: str) -> Outcome:
    return by_split("scenes-pope", answers, variant, pope.score)


SCENES_POPE = Benchmark(
    "scenes-pope", "scenes in POPE's form", pope.POPE.prompts, pope.POPE.variants, 16, read, score, pope.judge
)
