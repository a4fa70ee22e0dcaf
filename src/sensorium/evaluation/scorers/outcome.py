"""What every scorer gives: the official numbers under their names, their intervals, and how they came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sensorium.errors import SensoriumError, did_you_mean


@dataclass(frozen=True)
class Outcome:
    """values: the numbers, in the unit in which the official tool prints them (percent or 0-1), and counts.

    intervals: the 95 % interval (low, high) of a headline under the same name and in the same unit. notes: what a
    reader must know: predictions that are missing, a division by zero, a set that is not the whole benchmark.
    """

    benchmark: str
    variant: str
    values: Mapping[str, Any]
    intervals: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def to_json(self) -> dict[str, Any]:
        about = {"benchmark": self.benchmark, "variant": self.variant}
        return {**self.values, "intervals": _lists(self.intervals), "notes": list(self.notes), **about}


def _lists(intervals: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _lists(one) if isinstance(one, Mapping) else list(one) for name, one in intervals.items()}


def known_variant(variant: str, variants: Sequence[str]) -> str:
    """The variant. Raises SensoriumError for one that the scorer does not have."""
    if variant not in variants:
        raise SensoriumError(f"variant {variant!r}", "is not known here.", did_you_mean(variant, variants))
    return variant
