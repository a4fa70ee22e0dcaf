"""Values out of a row of somebody's table: of the kind that is expected, or an error that names row and column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks.tables import Table, strings_of


def words(row: Mapping[str, Any], where: str, *names: str) -> str:
    """The string in the first of the columns that the row has; numbers become strings."""
    for name in names:
        value = row.get(name)
        if value is not None and not isinstance(value, list | dict):
            return str(value)
    raise SensoriumError(where, f"has no `{'` or `'.join(names)}`.", f"It has {', '.join(row) or 'nothing'}.")


def strings(row: Mapping[str, Any], where: str, *names: str) -> list[str]:
    """A list of strings, at least one: a list, a list written as text, one string, or a list of {answer}."""
    for name in names:
        value = row.get(name)
        if value is None:
            continue
        items = strings_of(value) if isinstance(value, str) else value
        if isinstance(items, Sequence) and any(item not in ("", None) for item in items):
            return [str(item.get("answer")) if isinstance(item, Mapping) else str(item) for item in items]
    raise SensoriumError(where, f"has no answers (`{'` or `'.join(names)}`).",
                         "A test set is scored by its authors' server; choose a set whose answers are known.")


def number(row: Mapping[str, Any], where: str, name: str) -> float:
    """A number, or a string that is one."""
    try:
        return float(row[name])
    except (KeyError, TypeError, ValueError) as error:
        raise SensoriumError(where, f"`{name}` is {row.get(name)!r} where a number should be.") from error


def one_of(value: str, allowed: Sequence[str], where: str, name: str) -> str:
    if value not in allowed:
        raise SensoriumError(where, f"`{name}` is {value!r}, none of {', '.join(allowed)}.")
    return value


def require_columns(table: Table, *names: str | tuple[str, ...]) -> None:
    """Raises SensoriumError for a table of another benchmark. Of several names together one is enough."""
    known = [(name,) if isinstance(name, str) else name for name in names]
    if missing := [" or ".join(names) for names in known if not set(names) & set(table.columns)]:
        raise SensoriumError(table.path, f"has no column {', '.join(missing)}.", f"It has {', '.join(table.columns)}.")
