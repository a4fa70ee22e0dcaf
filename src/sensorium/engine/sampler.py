"""From logits to a token, and from tokens to text that can be shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sensorium.engine.base import Sampling

Array = np.ndarray[Any, np.dtype[Any]]
NEGLIGIBLE = 39.0  # below the largest logit, at temperature 1


class TokenSampler:
    """Chooses the next token of one reply. Its randomness is its own, so replies do not depend on their neighbours."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self.random = np.random.default_rng(sampling.seed)

    def choose(self, logits: Array, reply: list[int]) -> int:
        """logits [vocabulary] of the next token; reply: the ids said so far."""
        s = self.sampling
        if s.repetition_penalty != 1 and reply:
            said = np.unique(reply)
            scores = logits[said]
            logits = logits.copy()
            logits[said] = np.where(scores > 0, scores / s.repetition_penalty, scores * s.repetition_penalty)
        if s.temperature == 0:
            return int(logits.argmax())
        # Those that could be drawn once in 10^17 times are left out: what remains is a small part of the vocabulary.
        # The largest is moved to 0: a temperature near 0 then gives the greedy choice instead of overflow.
        likely = np.flatnonzero(logits >= logits.max() - NEGLIGIBLE * s.temperature)
        shares = np.exp((logits[likely].astype(np.float64) - logits.max()) / s.temperature)
        if s.top_k and s.top_k < len(shares):
            shares[shares < np.partition(shares, -s.top_k)[-s.top_k]] = 0
        if s.top_p < 1:
            order = np.argsort(-shares, kind="stable")
            values = shares[order]
            beyond = values.cumsum() - values >= s.top_p * values.sum()
            shares[order[beyond]] = 0
        reached = shares.cumsum()
        return int(likely[np.searchsorted(reached, self.random.random() * reached[-1], side="right")])


class TextStream:
    """Ids in, showable text out: characters split over tokens and beginnings of stop strings are held back."""

    def __init__(self, decode: Callable[[list[int]], str], stop: tuple[str, ...]) -> None:
        self._decode, self._stop = decode, stop
        self._ids: list[int] = []
        self._shown = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that can be shown after one more token; sets `stopped` when a stop string is complete."""
        self._ids.append(token)
        text = self._decode(self._ids)
        cuts = [text.index(stop) for stop in self._stop if stop in text]
        if cuts:
            self.stopped = True
            return self._show(text[: min(cuts)])
        return self._show(text[: self._safe(text)])

    def finish(self) -> str:
        """What was held back, at the end; half a character is not shown."""
        return "" if self.stopped else self._show(self._decode(self._ids).rstrip("\ufffd"))

    def _safe(self, text: str) -> int:
        """How much of the text can no longer change or become a stop string."""
        end = len(text.rstrip("\ufffd"))
        for stop in self._stop:
            for n in range(min(len(stop), end), 0, -1):
                if text[:end].endswith(stop[:n]):
                    end -= n
                    break
        return end

    def _show(self, text: str) -> str:
        new = text[len(self._shown) :]
        self._shown = max(self._shown, text, key=len)
        return new
