"""A picture's visual tokens within a budget: which compressor, and what it means for pictures of several views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.errors import SensoriumError, did_you_mean
from sensorium.media.views import Views
from sensorium.model.compressors.base import Array, Compressor, Seen

USUAL = "pool"  # needs no training, keeps the picture's shape, and hardly any method is clearly better


@dataclass(frozen=True)
class Compression:
    """budget: visual tokens a picture may take. method: a name in COMPRESSORS.

    A picture of several views gives each the same share, and none less than one; marks between them (`<row>` and the
    like) are left out, since what they set apart is no longer there.
    Raises SensoriumError for an unknown method or an impossible budget.
    """

    budget: int
    method: str = USUAL

    def __post_init__(self) -> None:
        from sensorium.model.compressors import COMPRESSORS

        if self.method not in COMPRESSORS:
            raise SensoriumError("compressor", f"`{self.method}` is not known.", did_you_mean(self.method, COMPRESSORS))
        if self.budget < 1:
            raise SensoriumError("visual tokens", f"{self.budget} a picture leave nothing to see.", "Allow at least 1.")

    @property
    def spec(self) -> str:
        """The same text for the same compression, another for another."""
        return f"{self.method}:{self.budget}"

    @property
    def reads_question(self) -> bool:
        return self._class.reads_question

    @property
    def compares(self) -> bool:
        return self._class.compares

    @property
    def engines(self) -> tuple[str, ...]:
        """That can run it."""
        return self._class.engines

    def count(self, views: Views) -> int:
        """What a picture shown so takes in the prompt."""
        if not self.is_needed(views):
            return len(views.layout)
        return len(views) * self._compressor(views).count(views.n_tokens, views.grid)

    def shown(self, views: Views) -> Views | int:
        """How a picture stands in the prompt: as many visual tokens, or as it always does where those are not more."""
        return self.count(views) if self.is_needed(views) else views

    def apply(
        self, pictures: Sequence[tuple[Array, Views]], question: Array | None = None, digests: Sequence[str] = ()
    ) -> list[Array]:
        """What the connector made of pictures that follow one another, float32 [views * n_tokens, d] of each, as the
        prompt shows them: [count, d] of each. question: see Seen. digests: of the pictures themselves, to draw lots by.
        """
        names = digests or [""] * len(pictures)
        if not all(self.is_needed(views) for _, views in pictures):
            return [p for one, name in zip(pictures, names, strict=True) for p in self._alone(one, question, name)]
        if len({(len(views), views.n_tokens, views.grid) for _, views in pictures}) > 1:
            return [p for one, name in zip(pictures, names, strict=True) for p in self.apply([one], question, [name])]
        views = pictures[0][1]
        compressor = self._compressor(views)
        of_views = [tokens.reshape(len(views), views.n_tokens, -1) for tokens, _ in pictures]
        kept = [
            compressor.several([
                Seen(picture[view], views.grid, question, name and f"{name} {view}")
                for picture, name in zip(of_views, names, strict=True)
            ])
            for view in range(len(views))
        ]
        return [np.concatenate(of_picture) for of_picture in zip(*kept, strict=True)]

    def _alone(self, picture: tuple[Array, Views], question: Array | None, name: str) -> list[Array]:
        tokens, views = picture
        return self.apply([picture], question, [name]) if self.is_needed(views) else [tokens[list(views.order)]]

    def is_needed(self, views: Views) -> bool:
        """Whether a picture shown so has more tokens than it may take."""
        return len(views.order) > self.budget

    @property
    def _class(self) -> type[Compressor]:
        from sensorium.model.compressors import COMPRESSORS

        return COMPRESSORS[self.method]

    def _compressor(self, views: Views) -> Compressor:
        return self._class(max(1, self.budget // len(views)))
