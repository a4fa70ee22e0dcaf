"""A picture's visual tokens within a budget: which compressor, and what it means for pictures of several views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sensorium.errors import SensoriumError, did_you_mean
from sensorium.media.views import Views
from sensorium.model.compressors.base import Array, Compressor, Seen


@dataclass(frozen=True)
class Compression:
    """budget: visual tokens a picture may take. method: a name in COMPRESSORS.

    A picture of several views gives each the same share, and none less than one; marks between them (`<row>` and the
    like) are left out, since what they set apart is no longer there.
    Raises SensoriumError for an unknown method or an impossible budget.
    """

    budget: int
    method: str = "pool"

    def __post_init__(self) -> None:
        from sensorium.model.compressors import COMPRESSORS

        if self.method not in COMPRESSORS:
            raise SensoriumError("compressor", f"`{self.method}` is not known.", did_you_mean(self.method, COMPRESSORS))
        if self.budget < 1:
            raise SensoriumError("visual tokens", f"{self.budget} a picture leave nothing to see.", "Allow at least 1.")

    def count(self, views: Views) -> int:
        """Visual tokens of a picture shown so."""
        if len(views.order) <= self.budget:
            return len(views.layout)
        return len(views) * self._compressor(views).count(views.n_tokens, views.grid)

    def apply(self, tokens: Array, views: Views, question: Array | None = None) -> Array:
        """tokens: float32 [views * n_tokens, d] as the connector made them -> [count, d]."""
        of_views = tokens.reshape(len(views), views.n_tokens, -1)
        compressor = self._compressor(views)
        return np.concatenate([compressor(Seen(of_view, views.grid, question)) for of_view in of_views])

    def is_needed(self, views: Views) -> bool:
        """Whether a picture shown so has more tokens than it may take."""
        return len(views.order) > self.budget

    def _compressor(self, views: Views) -> Compressor:
        from sensorium.model.compressors import COMPRESSORS

        return COMPRESSORS[self.method](max(1, self.budget // len(views)))
