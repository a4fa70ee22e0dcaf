"""Connectors: from what the encoder sees to what the language model reads.

To add one: a file here with a `Connector` and its `ConnectorSettings` (a `kind` of its own and a `build`), and one line
in `CONNECTORS`. An installed distribution adds one by an entry point of the group `sensorium.connectors`.
"""

from __future__ import annotations

from sensorium.model.connectors.base import Connector, ConnectorSettings
from sensorium.model.connectors.linear import LinearConfig
from sensorium.model.connectors.mlp import MlpConfig
from sensorium.model.connectors.pixel_shuffle import PixelShuffleConfig
from sensorium.model.connectors.qformer import QFormerConfig
from sensorium.model.connectors.resampler import ResamplerConfig

CONNECTORS: dict[str, type[ConnectorSettings]] = {
    "linear": LinearConfig,
    "mlp": MlpConfig,
    "pixel_shuffle": PixelShuffleConfig,
    "qformer": QFormerConfig,
    "resampler": ResamplerConfig,
}

__all__ = [
    "CONNECTORS",
    "Connector",
    "ConnectorSettings",
    "LinearConfig",
    "MlpConfig",
    "PixelShuffleConfig",
    "QFormerConfig",
    "ResamplerConfig",
]
