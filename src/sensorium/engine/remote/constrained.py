"""What a reply may be, in the words of a request.

Our own server has a field for it. Others know JSON schemas at most: there a choice is asked for as an object with one
field that is one of the choices, since some servers take objects only, and taken out again.
"""

from __future__ import annotations

import json
from typing import Any

from sensorium.engine.constraint import Boxes, Constraint, JsonSchema, OneOf
from sensorium.errors import SensoriumError

FIELD = "choice"


def constrain_field(constraint: Constraint) -> dict[str, Any]:
    """Our own server's `constrain`. Raises SensoriumError for a schema that is not JSON."""
    if isinstance(constraint, JsonSchema):
        return {"json_schema": _schema(constraint)}
    return {"boxes": constraint.at_most} if isinstance(constraint, Boxes) else {"choices": list(constraint.choices)}


def response_format(constraint: Constraint) -> dict[str, Any]:
    """The request's `response_format`. Raises SensoriumError for what a schema cannot say."""
    if isinstance(constraint, JsonSchema):
        schema = _schema(constraint)
    elif isinstance(constraint, OneOf):
        schema = {"type": "object", "properties": {FIELD: {"type": "string", "enum": list(constraint.choices)}},
                  "required": [FIELD], "additionalProperties": False}
    else:
        raise SensoriumError("constrain", "boxes cannot be asked of a remote model.",
                             "Ask a server of `sensorium serve`, or use a local engine.")
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema, "strict": True}}


def unpacked(text: str, constraint: Constraint, where: str) -> str:
    """The reply to show, of what `response_format` asked for.

    Raises SensoriumError when a server did not keep to it.
    """
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


def _schema(constraint: JsonSchema) -> Any:
    try:
        return json.loads(constraint.schema)
    except (ValueError, RecursionError) as error:
        raise SensoriumError("constrain", f"the schema is not JSON ({error}).") from error
