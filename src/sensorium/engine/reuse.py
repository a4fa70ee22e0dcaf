"""What the torch engine has read need not be read again: a second question about one video begins where they differ.

Two prompts begin alike as far as their input embeddings do. That holds for words, for pictures, and for whatever was
made of a picture's visual tokens, so nothing need be known here of where they come from. What was read lies in the
language model's key-value cache, which grows in place: whoever takes one has it alone, and gives it back longer.

The memory of it is bounded: the last prompt read is remembered whatever its size, and forgotten before another one is
read that has no use for it, if it is larger than what may be remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from sensorium.rendering import Rendered

WORTH_KEEPING = 64  # positions; fewer are read in the time that it takes to compare
REMEMBERED_BYTES = 2**30
WORTH_WAITING = 1024  # positions; to read so many once is worth more than to write several replies at once
BATCH_TOKENS = 16_384  # of prompts that run together: of the embedded default these take 750 MB


@dataclass(frozen=True, eq=False)
class _Kept:
    """embeddings [t, d] that were read, in order, and the cache of as many positions."""

    embeddings: Tensor
    cache: Any

    @property
    def n_bytes(self) -> int:
        of_layers = sum(layer.keys.nbytes + layer.values.nbytes for layer in self.cache.layers)
        return int(of_layers) + self.embeddings.nbytes

    def alike(self, embeddings: Tensor) -> int:
        """How many positions a prompt's embeddings [t, d] begin as these do."""
        n = min(len(self.embeddings), len(embeddings))
        same = (self.embeddings[:n] == embeddings[:n]).all(dim=1).long()
        return int(same.cumprod(0).sum())


class ReadBefore:
    """Beginnings of prompts, of one model. limit: bytes of all that is remembered while something else is read."""

    def __init__(self, limit: int = REMEMBERED_BYTES) -> None:
        self._limit = limit
        self._kept: list[_Kept] = []  # the one used last at the end
        self._choosing = Lock()

    @property
    def n_bytes(self) -> int:
        return sum(one.n_bytes for one in self._kept)

    def take(self, embeddings: Tensor) -> tuple[int, Any]:
        """(how many of a prompt's first positions are read, their cache), never all: the last one's logits are wanted.

        embeddings: [t, d]. (0, None) where nothing is worth it.
        """
        with self._choosing:
            found = [(one.alike(embeddings[:-1]), one) for one in self._kept]
            n, best = max(found, key=lambda pair: pair[0], default=(0, None))
            if best is None or n < WORTH_KEEPING:
                self._forget(0)
                return 0, None
            self._kept.remove(best)
            self._forget(0)
        if n < len(best.embeddings):  # to older versions of transformers, 0 is what to keep
            best.cache.crop(n - len(best.embeddings))
        return n, best.cache

    def keep(self, embeddings: Tensor, cache: Any) -> None:
        """Remember what was read; nothing, if reading broke off in the midst of a position."""
        if len(embeddings) >= WORTH_KEEPING and cache.get_seq_length() == len(embeddings):
            with self._choosing:
                self._kept.append(_Kept(embeddings, cache))
                self._forget(1)

    def _forget(self, spared: int) -> None:
        """What was longest not used, until the rest is within the limit; not the last `spared`."""
        while len(self._kept) > spared and self.n_bytes > self._limit:
            del self._kept[0]


class Reading:
    """One prompt on its way through the model, to be used in a `with`: at its end what was read is remembered.

    before: what is remembered; None: this prompt is read from its start and not remembered.
    n_before: its positions that were read before.
    """

    def __init__(self, before: ReadBefore | None) -> None:
        self._before = before
        self.n_before = 0
        self._read: list[Tensor] = []
        self._cache: Any = None

    def begin(self, embeddings: Tensor) -> Any:
        """The cache of the first `n_before` positions of the prompt's embeddings [1, t, d], or None."""
        if self._before is not None:
            self.n_before, self._cache = self._before.take(embeddings[0])
            self._read = [embeddings[0, : self.n_before]]
        return self._cache

    def grew(self, embeddings: Tensor, cache: Any) -> None:
        """These embeddings [1, s, d] were read behind the rest."""
        if self._before is not None:
            self._read.append(embeddings[0])
            self._cache = cache

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None and self._cache is not None:
            self._before.keep(torch.cat(self._read), self._cache)


def batches(prompts: Sequence[Rendered], most: int) -> list[list[int]]:
    """Numbers of the prompts that run together, at most so many and of like length, all of them once.

    Those that share a long beginning with a neighbour, as questions about one video do, run alone and in their order,
    so that each reads only what it does not share with the one before.
    """
    follows = [_shared(one, other) >= WORTH_WAITING for one, other in pairwise(prompts)]
    alone = [i for i in range(len(prompts)) if any(follows[max(0, i - 1) : i + 1])]
    others = sorted(set(range(len(prompts))) - set(alone), key=lambda i: len(prompts[i]))
    found: list[list[int]] = []
    for i in others:
        last = found[-1] if found else []
        if not last or len(last) == most or (len(last) + 1) * len(prompts[i]) > BATCH_TOKENS:
            found.append([i])
        else:
            last.append(i)
    return found + [[i] for i in alone]


def _shared(one: Rendered, other: Rendered) -> int:
    """How many positions two prompts begin alike; a picture that differs ends it."""
    n = next((i for i, (a, b) in enumerate(zip(one.ids, other.ids, strict=False)) if a != b),
             min(len(one), len(other)))  # fmt: skip
    if n < WORTH_WAITING:
        return n
    pairs = ((mine, theirs) for mine, theirs in zip(one.slots, other.slots, strict=False) if mine.start < n)
    return next((mine.start for mine, theirs in pairs if mine.image.digest != theirs.image.digest), n)
