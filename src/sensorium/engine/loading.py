"""From a model's name to an engine, its parts fetched and converted when this is their first use."""

from __future__ import annotations

from pathlib import Path

from sensorium.engine.torch import Precision, TorchEngine
from sensorium.model.checkpoint import read_config
from sensorium.model.folder import DEFAULT, model_folder
from sensorium.model.quiet import quietly
from sensorium.parts import locate
from sensorium.progress import ProgressCallback


def load_engine(
    name: str | Path = DEFAULT, progress: ProgressCallback | None = None, precision: Precision = "float32"
) -> TorchEngine:
    """The engine of a model: `default`, a model folder, or a finished run. precision: see TorchEngine.

    Raises SensoriumError when there is no such model, or when one of its parts cannot be had.
    """
    folder = model_folder(name)
    config, _ = read_config(folder)
    for part in (config.vision.part, config.language.part):
        locate(part, progress)  # both downloads first, so that a missing network is found before slow conversions
    with quietly():
        return TorchEngine.load(folder, str(name), progress, precision)
