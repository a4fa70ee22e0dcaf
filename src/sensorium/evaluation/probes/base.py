"""What a probe is: a name, and how it changes the questions of a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sensorium.evaluation.benchmarks.base import Question

FOLDER = "probes"  # in the folder of a run
BASE = "base"  # the folder of another model's replies without pictures, against which leakage is measured


@dataclass(frozen=True)
class Probe:
    """title: what is asked instead. change: the questions to ask; raises SensoriumError where a benchmark has none."""

    name: str
    title: str
    change: Callable[[Sequence[Question]], list[Question]]
