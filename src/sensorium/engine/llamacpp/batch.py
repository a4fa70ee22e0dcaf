"""The one batch of tokens that llama.cpp is handed at each step, written over and over in the same memory."""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from typing import Any

import numpy as np

from sensorium.engine.llamacpp.library import Batch

Array = np.ndarray[Any, np.dtype[Any]]
_INTS, _FLOATS = c.POINTER(c.c_int32), c.POINTER(c.c_float)


class BatchMemory:
    """Room for `size` tokens of sequences 0 to n_sequences - 1."""

    def __init__(self, size: int, n_sequences: int) -> None:
        self._ids, self._places, self._ones = (np.ones(size, np.int32) for _ in range(3))
        self._wanted, self._owners = np.zeros(size, np.int8), np.zeros(size, np.uintp)
        # llama.cpp asks for each token's sequences by a pointer to them: here to one number of this list.
        self._numbers = np.arange(n_sequences, dtype=np.int32)
        self._addresses = self._numbers.ctypes.data + self._numbers.itemsize * np.arange(n_sequences, dtype=np.uintp)
        self._text = self._ids.ctypes.data_as(_INTS)
        self._batch = Batch(
            0, self._text, None, self._places.ctypes.data_as(_INTS), self._ones.ctypes.data_as(_INTS),
            self._owners.ctypes.data_as(c.POINTER(_INTS)), self._wanted.ctypes.data_as(c.POINTER(c.c_int8)),
        )  # fmt: skip

    def clear(self) -> None:
        self._batch.n_tokens = 0

    def add(self, sequence: int, start: int, ids: Sequence[int] | None, n: int, n_wanted: int) -> None:
        """n tokens of a sequence from position `start` on; ids: None for vectors.

        n_wanted: of how many of its last tokens the logits are wanted.
        """
        begun, end = self._batch.n_tokens, self._batch.n_tokens + n
        if ids is not None:
            self._ids[begun:end] = ids
        self._places[begun:end] = range(start, start + n)
        self._owners[begun:end] = self._addresses[sequence]
        self._wanted[begun : end - n_wanted] = 0
        self._wanted[end - n_wanted : end] = 1
        self._batch.n_tokens = end

    def whole(self, vectors: Array | None = None) -> Batch:
        """All that was added since `clear`. vectors: float32 [n, d], in place of ids; to be kept until it is read."""
        self._batch.token = self._text if vectors is None else None
        self._batch.embd = None if vectors is None else vectors.ctypes.data_as(_FLOATS)
        return self._batch
