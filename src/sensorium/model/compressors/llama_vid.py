"""Two kinds of token a frame, after LLaMA-VID (arXiv:2311.17043): what is asked for, and what is there."""

from __future__ import annotations

import numpy as np

from sensorium.model.compressors.base import Array, Compressor, Seen, cosines
from sensorium.model.compressors.pooling import Pool

TEMPERATURE = 0.04  # of the warm-up's cosines, see `training.words`


class LlamaVid(Compressor):
    """A context token, the mean of the frame as the question attends to it, and content tokens, the frame pooled.

    LLaMA-VID's queries are trained; here the mean embedding of the question's words attends, by cosine, as the word
    warm-up teaches visual tokens to point at words. Without a question the context token is the plain mean.
    """

    reads_question = True

    def count(self, n_tokens: int, grid: tuple[int, int] | None) -> int:
        if n_tokens <= self.budget or self.budget == 1:
            return min(n_tokens, self.budget)
        return 1 + self._content.count(n_tokens, grid)

    def compress(self, seen: Seen, n: int) -> Array:
        weights = np.full(len(seen), 1 / len(seen))
        if seen.question is not None:
            scores = cosines(seen.tokens, seen.question[None])[:, 0] / TEMPERATURE
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
        context = weights @ seen.tokens
        if n == 1:
            return context[None].astype(np.float32)
        return np.concatenate([context[None], self._content(seen)]).astype(np.float32)

    @property
    def _content(self) -> Pool:
        """By the budget and not by what it made of it: of a smaller budget another grid may be the nearest."""
        return Pool(self.budget - 1)
