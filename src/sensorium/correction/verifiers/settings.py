"""What verifiers are built from, and the functions that build them: one line each in VERIFIERS."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sensorium.correction.verifiers.base import Locator, Verifier
from sensorium.errors import SensoriumError
from sensorium.progress import ProgressCallback

if TYPE_CHECKING:
    from sensorium.engine import Engine


@dataclass(frozen=True)
class Setting:
    """engine: for `asked`; second: for `judge`; detector: hub id or folder for `open_vocabulary`; scenes: a dataset's
    split folder with the truth for `oracle`. One setting builds one embedded detector, however many verifiers look
    through it."""

    engine: Engine | None = None
    second: Engine | None = None
    detector: str | None = None
    scenes: Path | None = None
    progress: ProgressCallback | None = None

    @cached_property
    def locator(self) -> Locator:
        from sensorium.correction.verifiers.detector import Detector

        return Detector(self.progress)


def detector(setting: Setting) -> Verifier:
    from sensorium.correction.verifiers.located import LocatedVerifier

    return LocatedVerifier(setting.locator)


def colour(setting: Setting) -> Verifier:
    from sensorium.correction.verifiers.colour import Colour

    return Colour(setting.locator)


def text(setting: Setting) -> Verifier:
    from sensorium.correction.verifiers.text import Text

    return Text()


def open_vocabulary(setting: Setting) -> Verifier:
    from sensorium.correction.verifiers.located import LocatedVerifier
    from sensorium.correction.verifiers.open_vocabulary import DEFAULT, OpenVocabulary

    return LocatedVerifier(OpenVocabulary(setting.detector or DEFAULT, setting.progress))


def asked(setting: Setting) -> Verifier:
    from sensorium.correction.verifiers.asked import Asked

    if setting.engine is None:
        raise SensoriumError("asked", "needs an engine to ask.", "Name one with --engine.")
    return Asked(setting.engine)


def judge(setting: Setting) -> Verifier:
    from sensorium.correction.verifiers.judge import Judge

    if setting.second is None:
        raise SensoriumError("judge", "needs a second engine to ask.", "Name one with --judge.")
    return Judge(setting.second)


def oracle(setting: Setting) -> Verifier:
    from sensorium.correction.verifiers.oracle import Oracle
    from sensorium.data.dataset import Dataset

    if setting.scenes is None:
        raise SensoriumError("oracle", "needs the truth about pictures.", "Name a split's folder with --scenes.")
    return Oracle.of(Dataset(setting.scenes.parent).scenes(setting.scenes.name))
