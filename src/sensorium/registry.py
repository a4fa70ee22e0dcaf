"""What other distributions add to our tables (connectors, readers, rewriters, trackers, benchmarks) by entry
points.

A table is a plain dict of name -> class in its package. A distribution adds to it by an entry point of the group that
has the table's name, `sensorium.connectors`; nothing is imported before somebody asks for the table. A package that
does not load is left out with a warning: it must not take away what does not need it. A name that is taken is an error,
since a recipe would mean another thing from one machine to the next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar, get_args

from sensorium.errors import SensoriumError

log = logging.getLogger(__name__)
T = TypeVar("T")
Look = Callable[[str, Any], str]  # (name, what it names) -> what is wrong with it, or nothing


def with_added(group: str, own: Mapping[str, T], look: Look = lambda name, found: "") -> dict[str, T]:
    """A table of ours and what installed distributions add to it. Raises SensoriumError for a name that is taken."""
    table = dict(own)
    for point in sorted(entry_points(group=group), key=lambda point: (point.name, point.value)):
        if point.name in table:
            whose = "Sensorium's own" if point.name in own else "another distribution's"
            raise SensoriumError(_where(point), f"the name `{point.name}` is {whose} already.",
                                 "Uninstall it, or ask its authors for another name.")
        try:
            found = point.load()
        except Exception as error:  # noqa: BLE001 (other people's packages)
            log.warning("%s cannot be loaded and is left out (%s: %s).", _where(point), type(error).__name__, error)
            continue
        if wrong := look(point.name, found):
            log.warning("%s is left out: %s.", _where(point), wrong)
        else:
            table[point.name] = found
    return table


def settings_of(base: type, tag: str) -> Look:
    """Looks for a class of settings under `base` that is chosen by its name in the field `tag`."""
    def look(name: str, found: Any) -> str:
        if not (isinstance(found, type) and issubclass(found, base)):
            return f"{found!r} is no {base.__name__}"
        field = found.model_fields.get(tag)  # type: ignore[attr-defined]
        is_chosen = field is not None and name in get_args(field.annotation)
        return "" if is_chosen else f'{found.__name__}.{tag} must be a Literal["{name}"]'

    return look


def callable_(name: str, found: Any) -> str:
    """Looks for something that can be called."""
    return "" if callable(found) else f"{found!r} cannot be called"


def _where(point: EntryPoint) -> str:
    name = point.dist.name if point.dist is not None else "an installed distribution"
    return f"{name}: {point.group} {point.name} ({point.value})"
