"""Keep the tokens that matter and merge the others into them: ToMe, and the likes of PruMerge and VisionZip.

The originals read attention inside the tower; these use the vectors alone (see `base.salience`), so that they run
wherever our models do. The names say whose rule the rest is.
"""

from __future__ import annotations

import numpy as np

from sensorium.model.compressors.base import Array, Compressor, Seen, cosines, evenly, salience

NEIGHBOURS = 32  # of a kept token that PruMerge merges into it
CONTEXTUAL = 10 / 64  # of VisionZip's tokens stand for what is not dominant


class ToMe(Compressor):
    """Bipartite soft matching (ToMe, arXiv:2210.09461, section 3): tokens are split alternately into two sets, and of
    the first the ones most like a token of the second are merged into it, by the mean of all that each stands for.
    Repeated until the budget is kept, since a round can at most halve.
    """

    def compress(self, seen: Seen, n: int) -> Array:
        tokens = seen.tokens.astype(np.float64)
        sizes, places = np.ones(len(tokens)), np.arange(len(tokens), dtype=float)
        while len(tokens) > n:
            givers, takers = np.arange(0, len(tokens), 2), np.arange(1, len(tokens), 2)
            alike = cosines(tokens[givers], tokens[takers])
            best = alike.argmax(1)
            merged = np.argsort(-alike.max(1), kind="stable")[: min(len(tokens) - n, len(givers))]
            totals = tokens * sizes[:, None]
            where = places * sizes
            for giver in merged:  # few enough to be read one by one
                source, target = givers[giver], takers[best[giver]]
                totals[target] += totals[source]
                where[target] += where[source]
                sizes[target] += sizes[source]
            kept = np.delete(np.arange(len(tokens)), givers[merged])
            tokens, sizes, places = totals[kept] / sizes[kept, None], sizes[kept], where[kept] / sizes[kept]
        return tokens[np.argsort(places, kind="stable")].astype(np.float32)


class PruMerge(Compressor):
    """PruMerge+ (arXiv:2403.15388): half of the budget is the most salient tokens, half evenly spaced ones, so that the
    picture stays covered; each takes in the 32 dropped tokens most like it, weighted by their salience and its own.
    """

    def compress(self, seen: Seen, n: int) -> Array:
        weights = salience(seen.tokens)
        kept = _most(weights, (n + 1) // 2)
        others = np.setdiff1d(np.arange(len(seen)), kept)
        kept = np.sort(np.concatenate([kept, others[evenly(n - len(kept), len(others))]]))
        dropped = np.setdiff1d(np.arange(len(seen)), kept)
        alike = cosines(seen.tokens[kept], seen.tokens[dropped])
        nearest = np.argsort(-alike, axis=1, kind="stable")[:, :NEIGHBOURS]
        shares = weights[dropped][nearest]  # [n, neighbours]
        gathered = (seen.tokens[dropped][nearest] * shares[..., None]).sum(1) + seen.tokens[kept] * weights[kept, None]
        return (gathered / (shares.sum(1) + weights[kept])[:, None]).astype(np.float32)


class VisionZip(Compressor):
    """VisionZip (arXiv:2412.04467): dominant tokens as they are; of the rest, evenly spaced targets, and every other
    token is added to the target it is most like, as the mean of what that target gathers.
    """

    def compress(self, seen: Seen, n: int) -> Array:
        n_targets = min(n - 1, max(1, round(n * CONTEXTUAL))) if n > 1 else 0
        dominant = _most(salience(seen.tokens), n - n_targets)
        rest = np.setdiff1d(np.arange(len(seen)), dominant)
        targets = rest[evenly(n_targets, len(rest))]
        others = np.setdiff1d(rest, targets)
        tokens = seen.tokens.copy()
        if n_targets:
            nearest = cosines(seen.tokens[others], seen.tokens[targets]).argmax(1)
            for number, target in enumerate(targets):
                gathered = others[nearest == number]
                if len(gathered):
                    tokens[target] += seen.tokens[gathered].mean(0)
        return tokens[np.sort(np.concatenate([dominant, targets]))]


def _most(weights: Array, n: int) -> Array:
    """Numbers of the n largest, in order."""
    return np.sort(np.argsort(-weights, kind="stable")[:n])
