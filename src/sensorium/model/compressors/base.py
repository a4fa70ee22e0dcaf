"""What a compressor is given, what it gives back, and the similarities most of them are built from."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Seen:
    """Visual tokens of one view, as the connector made them.

    tokens: float32 [t, d]. grid: their rows and columns, in reading order; None where tokens stand for no place.
    question: mean embedding of the words of the question [d], for methods that look for what is asked; None: nothing.
    name: the same for this view of this picture in every engine, for methods that draw lots; "": see `seed`.
    """

    tokens: Array
    grid: tuple[int, int] | None = None
    question: Array | None = None
    name: str = ""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def seed(self) -> int:
        """To draw lots by: another for another picture. By its name it is the same whatever the tokens were computed
        with; without one it is that of the tokens in half precision, the same only where they were computed alike.
        """
        content = self.name.encode() or self.tokens.astype(np.float16).tobytes()
        return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")


class Compressor(ABC):
    """budget: visual tokens a view may keep. What has no more is left as it is.

    reads_question, compares: whether it looks at the question, and at the pictures of a turn together; what need not be
    looked at is not remembered by. engines: that can run it.
    """

    reads_question: ClassVar[bool] = False
    compares: ClassVar[bool] = False
    engines: ClassVar[tuple[str, ...]] = ("torch", "llamacpp")

    def __init__(self, budget: int) -> None:
        self.budget = budget

    def count(self, n_tokens: int, grid: tuple[int, int] | None) -> int:
        """How many tokens are left of so many: known before anything is encoded, so that a prompt can be planned."""
        return min(self.budget, n_tokens)

    def __call__(self, seen: Seen) -> Array:
        """Fewer vectors, float32 [count, d], in reading order of what they mostly stand for."""
        if len(seen) <= self.count(len(seen), seen.grid):
            return seen.tokens
        return self.compress(seen, self.count(len(seen), seen.grid))

    def several(self, run: Sequence[Seen]) -> list[Array]:
        """The same of views of one shape that follow one another, as a video's frames do: [count, d] of each."""
        return [self(seen) for seen in run]

    @abstractmethod
    def compress(self, seen: Seen, n: int) -> Array:
        """n vectors of more than n."""


def cosines(left: Array, right: Array) -> Array:
    """[a, d], [b, d] -> [a, b]. A vector of zeros is like nothing."""
    return _unit(left) @ _unit(right).T


def salience(tokens: Array) -> Array:
    """How much each token stands out of its picture [t], summing to 1: the softmax of its distance from their mean.

    Stands in for the class token's attention of CLIP towers, which llama.cpp's graph does not hand out. (The mean as a
    query would look at the background, which most tokens are.)
    """
    distance = np.linalg.norm(tokens - tokens.mean(0), axis=1)
    weights = np.exp((distance - distance.max()) / max(float(distance.std()), 1e-12))
    return weights / weights.sum()


def evenly(n: int, of: int) -> Array:
    """n different numbers below `of`, evenly spaced, each in the middle of its stretch."""
    return ((np.arange(n) + 0.5) * of / n).astype(int)


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
