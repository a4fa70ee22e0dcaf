"""A connector as a field of a configuration: chosen by `kind`, ours or one that an installed distribution adds.

Apart from the package's `__init__`, so that whoever writes a connector can import that without being imported by it.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sensorium.model.connectors import CONNECTORS
from sensorium.model.connectors.base import ConnectorSettings
from sensorium.registry import settings_of, with_added

KINDS = with_added("sensorium.connectors", CONNECTORS, settings_of(ConnectorSettings, "kind"))

# A tagged union, so that an error names the keys of that connector only. The type checker cannot read a table, and
# knows what all of them share.
if TYPE_CHECKING:
    ConnectorConfig = ConnectorSettings
else:
    ConnectorConfig = Annotated[reduce(or_, KINDS.values()), Field(discriminator="kind")]
