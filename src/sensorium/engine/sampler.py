"""From logits to a token, and from tokens to text that can be shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sensorium.engine.base import Logprob, Sampling
from sensorium.engine.grammar import TokenMask

Array = np.ndarray[Any, np.dtype[Any]]
COLDEST = 1e-30  # a lower temperature is this one: numbers of single precision end near 1e-38
BLOCK = 256
HALF = "\ufffd"  # what decoding writes for bytes that are no character, or not one yet


class Chosen(NamedTuple):
    """A token of a reply. is_last: the reply is complete with it, by its constraint; logprob: if it was asked for."""

    id: int
    is_last: bool = False
    logprob: Logprob | None = None


class TokenSampler:
    """Chooses the next token of one reply. Its randomness is its own, so replies do not depend on their neighbours.

    mask: of the reply's constraint; token_bytes: what each token writes, needed where log probabilities are asked for.
    """

    def __init__(
        self, sampling: Sampling, mask: TokenMask | None = None, token_bytes: Sequence[bytes] = ()
    ) -> None:
        self.sampling, self.mask = sampling, mask
        self.random = np.random.default_rng(sampling.seed)
        self._token_bytes = token_bytes

    @property
    def is_plain(self) -> bool:
        """Whether nothing is asked for but the likeliest token."""
        s = self.sampling
        return s.temperature == 0 and s.repetition_penalty == 1 and s.logprobs is None and self.mask is None

    def choose(self, logits: Array, reply: list[int]) -> Chosen:
        """logits [vocabulary] of the next token; reply: the ids said so far. Raises SensoriumError as the mask does."""
        scores = self._penalised(logits, reply)
        if self.mask is None:
            token, is_last = self._draw(scores), False
        else:
            allowed = self.mask.allowed(len(scores))
            token = int(allowed[self._draw(scores[allowed])])
            is_last = self.mask.accept(token)
        return Chosen(token, is_last, None if self.sampling.logprobs is None else self._logprob(logits, token))

    def _penalised(self, logits: Array, reply: list[int]) -> Array:
        penalty = self.sampling.repetition_penalty
        if penalty == 1 or not reply:
            return logits
        said = np.unique(reply)
        scores = logits[said]
        logits = logits.copy()
        logits[said] = np.where(scores > 0, scores / penalty, scores * penalty)
        return logits

    def _draw(self, logits: Array) -> int:
        """An index of logits [n]."""
        s = self.sampling
        if s.temperature == 0:
            return int(logits.argmax())
        with np.errstate(over="ignore"):  # what is infinitely less likely has no share
            # The largest is moved to 0: a temperature near 0 then gives the greedy choice instead of overflow.
            shares = logits - logits.max()
            shares /= max(s.temperature, COLDEST)
            np.exp(shares, out=shares)
        if s.top_k and s.top_k < len(shares):
            shares[shares < np.partition(shares, -s.top_k)[-s.top_k]] = 0
        if s.top_p < 1:
            shares = _nucleus(shares, s.top_p)
        return _fall(shares, self.random.random())

    def _logprob(self, logits: Array, token: int) -> Logprob:
        """Of a token, with the likeliest of its place, by the softmax at temperature 1."""
        largest, n = float(logits.max()), self.sampling.logprobs
        norm = largest + float(np.log(np.exp(logits - largest).sum(dtype=np.float64)))
        top: tuple[Logprob, ...] = ()
        if n:
            likely = np.flatnonzero(logits >= np.partition(logits, -n)[-n])
            order = likely[np.argsort(-logits[likely], kind="stable")][:n]
            top = tuple(self._told(int(i), float(logits[i]) - norm) for i in order)
        return self._told(token, float(logits[token]) - norm, top)

    def _told(self, token: int, value: float, top: tuple[Logprob, ...] = ()) -> Logprob:
        written = self._token_bytes[token] if token < len(self._token_bytes) else b""  # ids that only fill a table up
        return Logprob(written.decode(errors="replace"), written, value, top)


def _nucleus(shares: Array, p: float) -> Array:
    """The shares with those left out without which the others still reach p of their sum; the largest stay."""
    total = shares.sum(dtype=np.float64)
    # All that have less than this could be left out together. What remains to be sorted is a small part.
    likely = np.flatnonzero(shares >= 0.5 * (1 - p) * total / len(shares))
    order = likely[np.argsort(-shares[likely], kind="stable")]
    values = shares[order].astype(np.float64)
    kept = order[values.cumsum() - values < p * total]
    left = np.zeros_like(shares)
    left[kept] = shares[kept]
    return left


def _fall(shares: Array, u: float) -> int:
    """The index whose share u in [0, 1) falls on. In two steps, block and place: a running sum over all is slow."""
    sums = np.add.reduceat(shares, np.arange(0, len(shares), BLOCK), dtype=np.float64)
    reached = sums.cumsum()
    block = _reached(reached, u * reached[-1])
    before = reached[block] - sums[block]
    within = shares[block * BLOCK : (block + 1) * BLOCK].cumsum(dtype=np.float64)
    return block * BLOCK + _reached(within, max(0.0, u * reached[-1] - before))


def _reached(sums: Array, target: float) -> int:
    """The first index whose running sum exceeds the target; where rounding leaves none, the last that has a share."""
    return int(min(np.searchsorted(sums, target, side="right"), np.searchsorted(sums, sums[-1])))


class TextStream:
    """Ids in, showable text out: characters split over tokens and beginnings of stop strings are held back.

    Only the last tokens are decoded each time. What decoding makes of them depends on their neighbours: bytes become a
    character together, and some tokenizers take a blank off the first word. So a *window* of tokens goes along whose
    text is known, and new is what comes after it.
    """

    _KEPT, _LONGEST = 16, 32  # tokens of the window

    def __init__(self, decode: Callable[[list[int]], str], stop: tuple[str, ...]) -> None:
        self._decode, self._stop = decode, stop
        self._window: list[int] = []
        self._known = ""  # the beginning of the window's text, up to where it can no longer change
        self._held = ""  # known, and not shown yet
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that can be shown after one more token; sets `stopped` when a stop string is complete."""
        self._window.append(token)
        text = self._decode(self._window)
        self._learn(text)
        if len(self._window) > self._LONGEST:
            self._shorten(text)
        cuts = [self._held.index(stop) for stop in self._stop if stop in self._held]
        if cuts:
            self.stopped = True
            return self._held[: min(cuts)]
        end = self._safe(self._held)
        shown, self._held = self._held[:end], self._held[end:]
        return shown

    def finish(self) -> str:
        """What was held back, at the end; half a character is not shown."""
        if self.stopped:
            return ""
        rest = self._decode(self._window)[len(self._known) :]
        return (self._held + rest).rstrip(HALF)

    def _learn(self, text: str) -> None:
        """Take what can no longer change of the window's text: all but the bytes of one character."""
        if text.endswith(HALF) and not text.startswith(self._known):
            return  # byte by byte, some tokenizers take back even whole characters until the next is whole
        sure = max(len(text.rstrip(HALF)), len(text) - 3, len(self._known))
        self._held += text[len(self._known) : sure]
        self._known = text[:sure]

    def _shorten(self, text: str) -> None:
        """Leave the window's first tokens out, if it does not begin inside a character then; else after the next."""
        last = self._window[-self._KEPT :]
        its_text, n_open = self._decode(last), len(text) - len(self._known)
        if len(its_text) > 3 and text.endswith(its_text):  # 3: so that the bytes of an unfinished one are all in it
            self._window, self._known = last, its_text[: len(its_text) - n_open]

    def _safe(self, text: str) -> int:
        """How much of the text is no broken character at its end and cannot become a stop string."""
        end = len(text.rstrip(HALF))
        for stop in self._stop:
            for n in range(min(len(stop), end), 0, -1):
                if text.endswith(stop[:n], 0, end):
                    end -= n
                    break
        return end
