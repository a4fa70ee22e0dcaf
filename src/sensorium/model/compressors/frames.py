"""Similarity pooling over a video's frames: what stays the same from one frame to the next is told once.

Neighbours in time are merged where they are most alike, as MovieChat (arXiv:2307.16449) merges whole frames and LongVU
(arXiv:2410.17434) drops places that did not change; here by place, and to a count that is known before anything is
encoded, so that a prompt can be planned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensorium.model.compressors.base import Array, Compressor, Seen
from sensorium.model.compressors.merging import ToMe


class Frames(Compressor):
    """Tokens of one place in consecutive frames are merged, the most alike first, until all frames together keep to
    their budgets; then each stands at the middle of the time that it stands for. Where everything is one still picture
    and that is too much, and for one picture alone, the rest is ToMe's.
    """

    compares = True

    def several(self, run: Sequence[Seen]) -> list[Array]:
        """As many of each view; what changes gets more of them than what does not."""
        kept = self.count(len(run[0]), run[0].grid)
        if kept == len(run[0]):
            return [seen.tokens for seen in run]
        tokens = np.stack([seen.tokens for seen in run])  # [frames, t, d]
        told = _once(tokens, len(run) * kept)
        if len(told) > len(run) * kept:
            told = ToMe(len(run) * kept)(Seen(told))
        return np.split(told, len(run))

    def compress(self, seen: Seen, n: int) -> Array:
        return ToMe(n)(seen)


def _once(tokens: Array, n: int) -> Array:
    """[frames, t, d] -> n means [n, d] of a place over a stretch of time, or t where each place is merged into one.

    Every pair of neighbours that is joined leaves one token fewer, so which to join is known at once.
    """
    n_frames, n_places, width = tokens.shape
    lengths = np.maximum(np.linalg.norm(tokens, axis=-1), 1e-12)
    alike = (tokens[1:] * tokens[:-1]).sum(-1) / (lengths[1:] * lengths[:-1])
    begins = np.ones((n_frames, n_places), bool)
    joined = np.argsort(-alike, axis=None, kind="stable")[: n_frames * n_places - n]
    begins[1:].flat[joined] = False
    by_place = begins.T.reshape(-1)  # place after place, each through all its time
    starts = np.flatnonzero(by_place)
    sizes = np.diff([*starts, len(by_place)])
    means = np.add.reduceat(tokens.transpose(1, 0, 2).reshape(-1, width), starts, axis=0) / sizes[:, None]
    middles = starts % n_frames + (sizes - 1) / 2
    return means[np.lexsort((starts // n_frames, middles))].astype(np.float32)
