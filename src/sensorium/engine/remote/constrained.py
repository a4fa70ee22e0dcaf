"""What a reply may be, as a JSON schema: the one constraint that most servers know.

A choice is asked for as an object with one field that is one of the choices, since some servers take objects only, and
taken out again.
"""

from __future__ import annotations

import json
from typing import Any

from sensorium.engine.constraint import Constraint, JsonSchema, OneOf
from sensorium.errors import SensoriumError

FIELD = "choice"


def response_format(constraint: Constraint) -> dict[str, Any]:
    """The request's `response_format`. Raises SensoriumError for what a schema cannot say."""
    if isinstance(constraint, JsonSchema):
        schema = json.loads(constraint.schema)
    elif isinstance(constraint, OneOf):
        schema = {"type": "object", "properties": {FIELD: {"type": "string", "enum": list(constraint.choices)}},
                  "required": [FIELD], "additionalProperties": False}
    else:
        raise SensoriumError("constrain", "boxes cannot be asked of a remote model.",
                             "Use the torch or llamacpp engine.")
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema, "strict": True}}


def unpacked(text: str, constraint: Constraint | None, where: str) -> str:
    """The reply to show. Raises SensoriumError when a server did not keep to what it was asked."""
    if constraint is None:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(constraint, OneOf):
        value = value.get(FIELD) if isinstance(value, dict) else None
        if value in constraint.choices:
            return str(value)
    elif value is not None:
        return text
    raise SensoriumError(where, f"did not keep to the constraint: {text[:80]!r}.",
                         "This server, or its model, does not do `response_format`; leave `constrain` out.")
