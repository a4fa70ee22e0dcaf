"""Benchmarks by name, one file each. Adding one is a file here and a line in `BENCHMARKS`.

An installed distribution adds one by an entry point of the group `sensorium.benchmarks`: see `choice`.

Our own scenes are here in the forms of four known benchmarks (`scenes-…`); `evaluation.scenes` measures them with
chance and blind runs in one table.
"""

from sensorium.evaluation.benchmarks.base import Answer, Benchmark, Judged, Question
from sensorium.evaluation.benchmarks.caption import CAPTION
from sensorium.evaluation.benchmarks.chartqa import CHARTQA
from sensorium.evaluation.benchmarks.docvqa import DOCVQA, INFOVQA
from sensorium.evaluation.benchmarks.easy_vqa import EASY_VQA
from sensorium.evaluation.benchmarks.layouts import Data, MissingMedia
from sensorium.evaluation.benchmarks.mathvista import MATHVISTA
from sensorium.evaluation.benchmarks.mcq import MCQ
from sensorium.evaluation.benchmarks.mme import MME
from sensorium.evaluation.benchmarks.pope import POPE
from sensorium.evaluation.benchmarks.refcoco import REFCOCO
from sensorium.evaluation.benchmarks.scenes_caption import SCENES_CAPTION
from sensorium.evaluation.benchmarks.scenes_mme import SCENES_MME
from sensorium.evaluation.benchmarks.scenes_pope import SCENES_POPE
from sensorium.evaluation.benchmarks.scenes_refcoco import SCENES_REFCOCO
from sensorium.evaluation.benchmarks.videomme import VIDEOMME
from sensorium.evaluation.benchmarks.vqa import OKVQA, TEXTVQA, VQAV2

BENCHMARKS: dict[str, Benchmark] = {
    one.name: one
    for one in (
        MME, POPE, VQAV2, OKVQA, TEXTVQA, REFCOCO, CAPTION, CHARTQA, DOCVQA, INFOVQA, MATHVISTA, MCQ, VIDEOMME,
        SCENES_MME, SCENES_POPE, SCENES_CAPTION, SCENES_REFCOCO, EASY_VQA,
    )
}  # fmt: skip

__all__ = ["BENCHMARKS", "Answer", "Benchmark", "Data", "Judged", "MissingMedia", "Question"]
