"""Keep some tokens, drop the others: by chance, or evenly spaced. The baselines of every table."""

from __future__ import annotations

import numpy as np

from sensorium.model.compressors.base import Array, Compressor, Seen, evenly


class Random(Compressor):
    """Tokens drawn by lot: for a picture the same ones each time, so that a reply can be had again, and for another
    one others, so that no lucky draw moves all pictures together.
    """

    def compress(self, seen: Seen, n: int) -> Array:
        drawn = np.random.default_rng(seen.seed).permutation(len(seen))[:n]
        return seen.tokens[np.sort(drawn)]


class Uniform(Compressor):
    """Every so-many-th token in reading order."""

    def compress(self, seen: Seen, n: int) -> Array:
        return seen.tokens[evenly(n, len(seen))]
