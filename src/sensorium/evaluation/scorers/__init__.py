"""Official scores from replies: one file a benchmark, each with its rules, its readers and its protocol variants.

    outcome = mme.score(mme.read(Path("results")), variant="official")
    outcome["perception"], outcome.intervals["perception"]

Every module has `read(…)`, official files -> records, `score(records, variant)` -> `Outcome`, and `VARIANTS`. Records
are small frozen dataclasses that anybody can make. A scorer is one more file here and one more line in `SCORERS`.
"""

from types import ModuleType

from sensorium.evaluation.scorers import (
    amber,
    anls,
    caption,
    chair,
    chartqa,
    mathvista,
    mcq,
    mme,
    pope,
    refcoco,
    videomme,
    videomme_2,
    vqav2,
)
from sensorium.evaluation.scorers.outcome import Outcome

SCORERS: dict[str, ModuleType] = {
    "mme": mme,
    "videomme": videomme,
    "videomme-2": videomme_2,
    "vqav2": vqav2,
    "pope": pope,
    "refcoco": refcoco,
    "caption": caption,
    "chair": chair,
    "amber": amber,
    "chartqa": chartqa,
    "anls": anls,
    "mathvista": mathvista,
    "mcq": mcq,
}

__all__ = ["SCORERS", "Outcome", *(module.__name__.rpartition(".")[2] for module in SCORERS.values())]
