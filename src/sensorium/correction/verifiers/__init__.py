"""Who looks at pictures. One file each; adding one is a file and a line in VERIFIERS."""

from __future__ import annotations

from collections.abc import Callable

from sensorium.correction.verifiers.base import Found, Located, Locator, Verifier
from sensorium.correction.verifiers.settings import (
    Setting,
    asked,
    colour,
    detector,
    judge,
    open_vocabulary,
    oracle,
    text,
)

# Name -> what builds it of a Setting; nothing heavy is imported before one is asked for.
VERIFIERS: dict[str, Callable[[Setting], Verifier]] = {
    "detector": detector,
    "colour": colour,
    "text": text,
    "open_vocabulary": open_vocabulary,
    "asked": asked,
    "judge": judge,
    "oracle": oracle,
}

__all__ = ["VERIFIERS", "Found", "Located", "Locator", "Setting", "Verifier"]
