"""A benchmark by its name: ours, and those of installed distributions (entry points `sensorium.benchmarks`)."""

from __future__ import annotations

from typing import Any

from sensorium.errors import SensoriumError, did_you_mean
from sensorium.evaluation.benchmarks import BENCHMARKS
from sensorium.evaluation.benchmarks.base import Benchmark
from sensorium.registry import with_added

GROUP = "sensorium.benchmarks"


def all_benchmarks() -> dict[str, Benchmark]:
    """Raises SensoriumError for a distribution's benchmark whose name is taken."""
    return with_added(GROUP, BENCHMARKS, _look)


def find_benchmark(name: str, *others: str) -> Benchmark:
    """others: what may also be meant, for the error. Raises SensoriumError for a name that nobody has."""
    known = all_benchmarks()
    if name not in known:
        raise SensoriumError(f"benchmark {name!r}", "is not known.", did_you_mean(name, [*others, *known]))
    return known[name]


def _look(name: str, found: Any) -> str:
    if not isinstance(found, Benchmark):
        return f"{found!r} is no Benchmark"
    return "" if found.name == name else f"its benchmark calls itself {found.name!r}"
