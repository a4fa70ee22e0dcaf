"""What llama.cpp is to read, position by position, comparable with what it has read: ids of text, and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Key = int | tuple[str, int]  # what stands at a position: a token's id, or the n-th vector of a picture by its digest


@dataclass(frozen=True)
class Prompt:
    """keys: one for each position; pictures: the vectors [t', d] that begin at a position, by that position."""

    keys: tuple[Key, ...]
    pictures: dict[int, Array]

    @classmethod
    def of(cls, ids: Sequence[int], pictures: Sequence[tuple[int, str, Array]]) -> Prompt:
        """ids: of the whole prompt; pictures: (first position, digest of the content, vectors)."""
        keys: list[Key] = list(ids)
        for start, digest, vectors in pictures:
            keys[start : start + len(vectors)] = [(digest, i) for i in range(len(vectors))]
        return cls(tuple(keys), {start: vectors for start, _, vectors in pictures})

    def __len__(self) -> int:
        return len(self.keys)

    def shared(self, trail: Sequence[Key]) -> int:
        """How many positions need not be read again after `trail`: whole pictures only, and never the last position,
        whose logits are wanted."""
        n = 0
        for mine, theirs in zip(self.keys[:-1], trail, strict=False):
            if mine != theirs:
                break
            n += 1
        for start, vectors in self.pictures.items():
            if start < n < start + len(vectors):
                n = start
        return n

    def text_end(self, start: int) -> int:
        """Where the text that begins at `start` meets the next picture, or the end."""
        return min((place for place in self.pictures if place >= start), default=len(self))
