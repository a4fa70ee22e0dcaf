"""A source as a field of a configuration: chosen by `format`, ours or one that an installed distribution adds.

Apart from the package's `__init__`, so that whoever writes a reader can import that without being imported by it.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sensorium.data.readers import READERS
from sensorium.data.readers.base import SourceSettings
from sensorium.registry import settings_of, with_added

FORMATS = with_added("sensorium.readers", READERS, settings_of(SourceSettings, "format"))

# A tagged union, so that an error names the keys of that format only. The type checker cannot read a table, and knows
# what all of them share.
if TYPE_CHECKING:
    AnySource = SourceSettings
else:
    AnySource = Annotated[reduce(or_, dict.fromkeys(FORMATS.values())), Field(discriminator="format")]
