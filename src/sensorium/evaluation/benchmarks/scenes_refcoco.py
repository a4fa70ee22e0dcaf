"""Where is it? RefCOCO's form about our own scenes: things that a picture shows once, and their boxes in pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sensorium.evaluation.benchmarks import refcoco
from sensorium.evaluation.benchmarks.base import Answer, Benchmark, Question
from sensorium.evaluation.benchmarks.layouts import Data
from sensorium.evaluation.benchmarks.scenes_truth import by_split, shows, thing
from sensorium.evaluation.scorers.outcome import Outcome


def read(data: Data, prompt: str) -> Iterator[Question]:
    for split in data.scene_splits:
        sizes = {scene.id: (scene.width, scene.height) for scene in data.scenes.scenes(split)}
        for probe in data.scenes.probes(split, "grounding"):
            assert probe.name is not None and probe.box is not None, "the reader of probes has seen to it"
            width, height = sizes[probe.scene]
            # The corners as RefCOCO's scorer reads a reply's: thousandths over 999 of the sides.
            box = [corner * side / 999 for corner, side in zip(probe.box.corners, (width, height) * 2, strict=True)]
            phrase = thing(probe.name)
            truth = {"phrase": phrase, "box": box, "width": width, "height": height, "split": split}
            yield Question(f"{split}/{probe.id}", f"{split}/{probe.scene}", split, refcoco.asked(phrase, prompt), truth,
                           shows(probe.image), f"{split}/probes.jsonl {probe.id}")  # fmt: skip


def score(answers: Sequence[Answer], variant: str) -> Outcome:
    return by_split("scenes-refcoco", answers, variant, refcoco.score)


SCENES_REFCOCO = Benchmark(
    "scenes-refcoco", "scenes in RefCOCO's form", refcoco.REFCOCO.prompts, refcoco.REFCOCO.variants, 64, read, score,
    refcoco.judge, scored_by=refcoco.REFCOCO.scored_by,
)  # fmt: skip
