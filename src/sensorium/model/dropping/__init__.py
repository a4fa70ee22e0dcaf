"""Fewer visual tokens inside the language model: after some layers, those that nobody looks at leave the sequence.

FastV and PyramidDrop read the model's own attention, so the torch engine alone has them; what runs before the language
model, on every engine, is in `model.compressors`. `dropping` says who leaves where, and needs no torch; `looking` reads
attention; `shortening` runs the language model.
"""

from sensorium.model.dropping.budget import DROPPINGS, DroppingBudget, dropping_for
from sensorium.model.dropping.dropping import Dropping, Stage

__all__ = ["DROPPINGS", "Dropping", "DroppingBudget", "Stage", "dropping_for"]
