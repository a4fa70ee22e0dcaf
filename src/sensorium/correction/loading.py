"""The corrector that commands and the server use unless they are told otherwise: everything in it is embedded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from sensorium.correction.corrector import Corrector
from sensorium.correction.language import load_parser
from sensorium.correction.verifiers import VERIFIERS, Setting
from sensorium.errors import SensoriumError, did_you_mean
from sensorium.progress import ProgressCallback

if TYPE_CHECKING:
    from sensorium.engine import Engine

EXPERTS = ("detector", "colour")  # the verifiers that are used where none is named
_NEEDED = ("spacy", "cv2", "lemminflect")


def can_correct() -> bool:
    """Whether the packages of the extra `correct` are here; nothing of them is imported."""
    return all(find_spec(name) for name in _NEEDED)


def load_corrector(
    names: Sequence[str] = EXPERTS,
    setting: Setting | None = None,
    engine: Engine | None = None,
    progress: ProgressCallback | None = None,
) -> Corrector:
    """names: verifiers; setting: what they are built from; engine: ranks wordings.

    Fetches what is not there yet. Raises SensoriumError for unknown names, and where a package or a part is missing.
    """
    check_verifiers(names)
    load_parser(progress)
    setting = replace(setting or Setting(), progress=progress)
    return Corrector([VERIFIERS[name](setting) for name in dict.fromkeys(names)], engine=engine)


def check_verifiers(names: Sequence[str]) -> None:
    """Raises SensoriumError for a name that is no verifier's."""
    for name in names:
        if name not in VERIFIERS:
            raise SensoriumError("--verifier", f"`{name}` is not known.", did_you_mean(name, VERIFIERS))
