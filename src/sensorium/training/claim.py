"""Whose run a folder is: a run goes on with the recipe that it was begun with, and with no other."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from sensorium.errors import SensoriumError
from sensorium.files import write_whole
from sensorium.training.recipe import Recipe

_FREE = {"trackers", "checkpoint_minutes", "parallel", "workers"}  # settings that may change between the parts of a run


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
        same = found.model_dump(exclude=_FREE) == recipe.model_dump(exclude=_FREE)
    except ValidationError:
        same = False
    if not same:
        raise SensoriumError(run, "holds a run of another recipe.", "Choose another --out, or remove the folder.")
    return True
