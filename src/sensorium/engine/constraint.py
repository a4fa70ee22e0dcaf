"""What a reply may be: one of some choices, JSON of a schema, or boxes. Data only; `engine.grammar` enforces it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sensorium.errors import SensoriumError


@dataclass(frozen=True)
class OneOf:
    """The reply is exactly one of the choices. Raises SensoriumError without choices, or with an empty one.

    Said greedily, it is the likeliest token by token, which need not be the likeliest as a whole: that is what
    `Engine.score` ranks by.
    """

    choices: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.choices or not all(self.choices):
            raise SensoriumError("constrain", f"{self.choices!r} are no choices.", "Give one string or more.")


@dataclass(frozen=True)
class JsonSchema:
    """The reply is JSON that the schema holds for. schema: JSON text, so that a sampling stays hashable.

    Where the schema does not say `additionalProperties: false`, an object may have further ones, as JSON Schema has it.
    """

    schema: str

    @classmethod
    def of(cls, schema: dict[str, Any]) -> JsonSchema:
        return cls(json.dumps(schema))  # in its order: so will the properties be written


@dataclass(frozen=True)
class Boxes:
    """The reply is one or more `<ref>name</ref><box>(x1,y1),(x2,y2)</box>`, in all at most so many boxes.

    A name may have several boxes; between names stand commas. Corners are 0-999 in any order: `grounding` puts them
    right when it reads them.
    """

    at_most: int = 16

    def __post_init__(self) -> None:
        if self.at_most < 1:
            raise SensoriumError("constrain", f"at most {self.at_most} boxes are none.", "Ask for one or more.")


Constraint = OneOf | JsonSchema | Boxes
YES_NO = OneOf(("Yes", "No"))
