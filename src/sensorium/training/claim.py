"""Whose run a folder is: a run goes on with the recipe that it was begun with, and with no other.

A folder is claimed when the first stage stands: before that a recipe may still turn out to be wrong, and whoever mends
it must not be told that the folder is another's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sensorium.errors import SensoriumError
from sensorium.files import write_whole
from sensorium.training.recipe import Recipe

# Settings that may change between the parts of a run. A start may be moved, not changed.
_FREE: dict[str, Any] = {"trackers": True, "checkpoint_minutes": True, "parallel": True, "workers": True,
                         "start": {"model"}}


def claim(run: Path, recipe: Recipe) -> None:
    """Write the resolved recipe into the run's folder. Raises SensoriumError when it is another recipe's."""
    if not is_claimed(run, recipe):
        content = json.dumps(recipe.model_dump(mode="json"), indent=2)
        write_whole(run / "recipe.json", content + "\n", "Choose another --out.")


def is_claimed(run: Path, recipe: Recipe) -> bool:
    """Whether a run of this recipe was begun there. Raises SensoriumError when it was one of another."""
    path = run / "recipe.json"
    if not path.exists():
        return False
    try:  # read as a recipe: a setting that has come since, left at its default, makes no other recipe
        found = Recipe.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise _anothers(run) from error
    then, now = (one.model_dump(exclude=_FREE) for one in (found, recipe))
    if then != now and found.start and recipe.start and then | {"start": now["start"]} == now:
        what = f"was begun from {found.start.model} as it then was; {recipe.start.model} is another."
        raise SensoriumError(run, what, "Put the start back, or choose another --out.")
    if then != now:
        raise _anothers(run)
    return True


def _anothers(run: Path) -> SensoriumError:
    return SensoriumError(run, "holds a run of another recipe.", "Choose another --out, or remove the folder.")
