"""Where a video changes: its scenes, and the frames that differ most from one another.

Works on rows of numbers, one for each frame looked at, whose Euclidean distance says how much two frames differ:
colours at a few points, or a vision encoder's features. What the numbers are is nobody's business here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

Rows = np.ndarray[Any, np.dtype[Any]]

_NEIGHBOURS = 8  # differences on either side that say how much is usual here
_UNUSUAL = 4.0  # times as much as usual is a cut
_NOTICED = 0.05  # of the distance from black to white: less is nobody's cut


def scene_times(rows: Rows, times: Sequence[float], end_s: float, n: int) -> list[float]:
    """n times that show every scene, each at the middle of an equal stretch of its scene.

    rows: [frames, d], colours 0–1 of frames at `times`. With more scenes than n, those with the weakest cuts between
    them count as one; with fewer, the longest ones are shown more often.
    """
    starts = [times[0], *(times[i] for i in cuts(rows)[: n - 1])]
    bounds = [*sorted(starts), end_s]
    scenes = [(a, b) for a, b in pairwise(bounds) if b > a] or [(times[0], end_s)]
    shares = [1] * len(scenes)
    for _ in range(n - len(scenes)):
        longest = max(range(len(scenes)), key=lambda i: (scenes[i][1] - scenes[i][0]) / (shares[i] + 1))
        shares[longest] += 1
    return [a + (b - a) * (k + 0.5) / share for (a, b), share in zip(scenes, shares, strict=True) for k in range(share)]


def cuts(rows: Rows) -> list[int]:
    """The first row of each scene but the first, strongest cut first.

    A cut is a difference from the row before that is far above the usual one around it, so that steady motion is none.
    """
    if len(rows) < 2:
        return []
    change = np.linalg.norm(np.diff(rows, axis=0), axis=1) / np.sqrt(rows.shape[1])
    found = []
    for i, value in enumerate(change):
        around = np.concatenate([change[max(0, i - _NEIGHBOURS) : i], change[i + 1 : i + 1 + _NEIGHBOURS]])
        usual = float(np.median(around)) if len(around) else 0.0
        if value > max(_NOTICED, _UNUSUAL * usual):
            found.append(i + 1)
    return sorted(found, key=lambda i: -change[i - 1])


def most_different(rows: Rows, n: int) -> list[int]:
    """Up to n rows, in order, such that every other row is near one of them.

    The first row, then again and again the row that is least like all chosen ones (farthest-first traversal, Gonzalez
    1985). LongVU (arXiv:2410.17434, section 3.1) drops frames that are like their neighbours by a threshold; this keeps
    to a budget instead, and something seen for a moment is chosen early because nothing is like it.
    """
    chosen = [0]
    distance = np.linalg.norm(rows - rows[0], axis=1)
    while len(chosen) < min(n, len(rows)):
        farthest = int(distance.argmax())
        if distance[farthest] < 1e-6:
            break  # all that is left has been seen
        chosen.append(farthest)
        distance = np.minimum(distance, np.linalg.norm(rows - rows[farthest], axis=1))
    return sorted(chosen)
