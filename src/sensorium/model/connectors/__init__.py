"""Connectors: from what the encoder sees to what the language model reads.

To add one: a file here with a `Connector` and its `ConnectorSettings` (a `kind` of its own and a `build`), and one line
in `CONNECTORS`.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

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

# As a field of a configuration: chosen by `kind`, so that an error names the keys of that connector only. The type
# checker cannot read a table, and knows what all of them share.
if TYPE_CHECKING:
    ConnectorConfig = ConnectorSettings
else:
    ConnectorConfig = Annotated[reduce(or_, CONNECTORS.values()), Field(discriminator="kind")]

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
