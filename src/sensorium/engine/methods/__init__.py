"""Decoding methods against things that are not in the picture, by name. Adding one is a file here and a line below.

They are for comparison with correction: see `evaluation.methods`. The torch engine decodes by all of them; other
engines show no logits of a second branch and know self-consistency alone.
"""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

from pydantic import ValidationError

from sensorium.engine.base import Engine
from sensorium.engine.methods.base import Method
from sensorium.engine.methods.consistency import Consistent, SelfConsistency
from sensorium.engine.methods.contrast import InstructionContrast, VisualContrast
from sensorium.engine.methods.guidance import DetectorGuidance, ImageGuidance
from sensorium.engine.methods.layers import LayerContrast
from sensorium.errors import SensoriumError, did_you_mean

METHODS: dict[str, type[Method] | type[SelfConsistency]] = {
    one.name: one
    for one in (VisualContrast, InstructionContrast, ImageGuidance, DetectorGuidance, LayerContrast, SelfConsistency)
}


def parse_method(written: str) -> Method | SelfConsistency:
    """`vcd`, or with settings `vcd:alpha=0.5,beta=0.2`. Raises SensoriumError naming what is not known."""
    name, _, rest = written.partition(":")
    if name not in METHODS:
        raise SensoriumError(f"method {name!r}", "is not known.", did_you_mean(name, METHODS))
    settings: dict[str, str] = {}
    for one in filter(None, rest.split(",")):
        key, equals, value = one.partition("=")
        if not equals:
            raise SensoriumError(f"method {written!r}", f"`{one}` is no setting.", "Write it as NAME=VALUE.")
        settings[key.strip()] = value.strip()
    known = METHODS[name]
    if unknown := [key for key in settings if key not in known.model_fields or key == "objects"]:
        raise SensoriumError(f"method {name}: {unknown[0]}", "is no setting of it.",
                             did_you_mean(unknown[0], [field for field in known.model_fields if field != "objects"]))
    try:
        return known.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or name
        raise SensoriumError(f"method {name}: {place}", f"{first['msg']}.") from error


@runtime_checkable
class Decoder(Protocol):
    """An engine that can choose tokens by a method."""

    def decoding_by(self, method: Method | None) -> Self: ...


def decoding(engine: Engine, method: Method | SelfConsistency) -> Engine:
    """The engine, answering by a method. Raises SensoriumError where it cannot."""
    if isinstance(method, SelfConsistency):
        return Consistent(engine, method)
    if isinstance(method, DetectorGuidance) and method.objects is None:
        raise SensoriumError("method marine", "needs a detector to name what it finds.", "Give it `objects`.")
    if not isinstance(engine, Decoder):
        raise SensoriumError(f"method {method.name}", f"{engine.card.name} runs in an engine that shows no logits of a "
                             "second branch.", "Use a model of Sensorium's with --engine torch, or self-consistency.")
    return engine.decoding_by(method)  # type: ignore[return-value]


__all__ = [
    "METHODS", "Consistent", "DetectorGuidance", "Method", "SelfConsistency", "decoding", "parse_method",
]  # fmt: skip
