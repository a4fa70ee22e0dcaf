"""Connectors: from what the encoder sees to what the language model reads.

To add one: a file here with a `Connector` and a frozen configuration with its own `kind` and a `build`, one line in
`CONNECTORS` and one name in `ConnectorConfig`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

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

# As a field of a configuration: chosen by `kind`, so that an error names the keys of that connector only. A static type
# is wanted by the type checker, hence the names once more; a test holds the two lists together.
ConnectorConfig = Annotated[
    LinearConfig | MlpConfig | PixelShuffleConfig | QFormerConfig | ResamplerConfig, Field(discriminator="kind")
]

__all__ = [
    "CONNECTORS",
    "Connector",
    "ConnectorConfig",
    "ConnectorSettings",
    "LinearConfig",
    "MlpConfig",
    "PixelShuffleConfig",
    "QFormerConfig",
    "ResamplerConfig",
]
