"""Keep some tokens, drop the others: by chance, or evenly spaced. The baselines of every table."""

from __future__ import annotations

import numpy as np

from sensorium.model.compressors.base import Array, Compressor, Seen, evenly


class Random(Compressor):
    """Tokens drawn by lot, the same ones for every picture of a size, so that a reply can be had again."""

    def compress(self, seen: Seen, n: int) -> Array:
        drawn = np.random.default_rng(len(seen)).permutation(len(seen))[:n]
        return seen.tokens[np.sort(drawn)]


class Uniform(Compressor):
    """Every so-many-th token in reading order."""

    def compress(self, seen: Seen, n: int) -> Array:
        return seen.tokens[evenly(n, len(seen))]
