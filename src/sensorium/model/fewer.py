"""Fewer visual tokens, as people ask for them: so many a picture, by the name of a way to get there.

There are two kinds of ways: compressors work on what the connector made, before the language model; droppings leave
tokens out between its layers. Which kind a name is of is nothing that a user needs to know beforehand.
"""

from __future__ import annotations

from sensorium.errors import SensoriumError, did_you_mean
from sensorium.model.compressors import COMPRESSORS, Compression
from sensorium.model.compressors.compression import USUAL
from sensorium.model.dropping import DROPPINGS, DroppingBudget

Fewer = Compression | DroppingBudget


def fewer_tokens(visual_tokens: int | None, way: str | None) -> Fewer | None:
    """What two options ask for, as people leave them out. way: a name in COMPRESSORS or DROPPINGS.

    Raises SensoriumError for an unknown name, an impossible number, or a way without a number.
    """
    if way is not None and way not in COMPRESSORS and way not in DROPPINGS:
        raise SensoriumError("compressor", f"`{way}` is not known.", did_you_mean(way, (*COMPRESSORS, *DROPPINGS)))
    if visual_tokens is None:
        if way is None:
            return None
        raise SensoriumError("compressor", f"`{way}` needs to know how many visual tokens to leave.",
                             "Add --visual-tokens N (in Python, visual_tokens=N).")
    if way in DROPPINGS:
        return DroppingBudget(visual_tokens, way)
    return Compression(visual_tokens, way or USUAL)


def require_engine(fewer: Fewer, engine: str) -> None:
    """Raises SensoriumError when that engine cannot do it."""
    if engine not in fewer.engines:
        able = " or ".join(fewer.engines)
        what = f"can be made fewer by `{fewer.method}` where a model of ours runs in {able}; this one is for {engine}."
        remedy = "Leave --visual-tokens out."
        if engine in COMPRESSORS[USUAL].engines:
            remedy = f"Choose another --compressor, as `{USUAL}`, or another engine."
        raise SensoriumError("visual tokens", what, remedy)
