"""Values out of rows that somebody else wrote: of the kind that is expected, or an error that names the field.

A dataset of a million rows holds a null where a list should be sooner or later; without this it would end a run as a
TypeError from somewhere inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sensorium.errors import SensoriumError


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SensoriumError(where, f"expected an object, found {_kind(value)}.")
    return value


def entry(row: Any, key: str, where: str) -> Any:
    """What stands under a key, null excluded."""
    value = mapping(row, where).get(key)
    if value is None:
        raise SensoriumError(f"{where}: {key}", "is missing.", "Check that the source's `format` is right.")
    return value


def words(row: Any, key: str, where: str) -> str:
    """A string that says something."""
    value = entry(row, key, where)
    if not isinstance(value, str) or not value.strip():
        raise SensoriumError(f"{where}: {key}", f"expected words, found {_kind(value)}.")
    return value


def items(row: Any, key: str, where: str) -> list[Any]:
    value = entry(row, key, where)
    if not isinstance(value, list):
        raise SensoriumError(f"{where}: {key}", f"expected a list, found {_kind(value)}.")
    return value


def number(row: Any, key: str, where: str) -> float:
    value = entry(row, key, where)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SensoriumError(f"{where}: {key}", f"expected a number, found {_kind(value)}.")
    return value


def name(row: Any, key: str, where: str) -> int | str:
    """What one thing is called by others: a number or a string."""
    value = entry(row, key, where)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise SensoriumError(f"{where}: {key}", f"expected a number or a string, found {_kind(value)}.")
    return value


def size(row: Any, where: str) -> tuple[int, int]:
    """(width, height) in pixels, (0, 0) where the row does not say."""
    if mapping(row, where).get("width") is None or row.get("height") is None:
        return 0, 0
    return int(number(row, "width", where)), int(number(row, "height", where))


def corners(box: Any, where: str) -> tuple[float, float, float, float]:
    """[x, y, width, height] -> (x1, y1, x2, y2), all in pixels."""
    if not isinstance(box, list | tuple) or len(box) != 4:
        raise SensoriumError(where, f"expected [x, y, width, height], found {_kind(box)}.")
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in box):
        raise SensoriumError(where, f"expected four numbers, found {box}.")
    x, y, width, height = box
    return x, y, x + width, y + height


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return "an empty string" if value == "" else f"{type(value).__name__} {str(value)[:40]!r}"
