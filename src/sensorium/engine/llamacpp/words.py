"""Vectors of words from a text GGUF file: llama.cpp looks them up itself and hands none out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
_TABLE = "token_embd.weight"


class WordVectors:
    """path: the file, which is opened when a vector is first wanted."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def mean(self, ids: Sequence[int]) -> Array:
        """The mean input embedding of some tokens, float32 [d]."""
        from gguf import dequantize

        rows, kind = self._table
        return dequantize(rows[list(ids)], kind).astype(np.float32).mean(0)  # type: ignore[no-any-return]

    @cached_property
    def _table(self) -> tuple[Array, Any]:
        from gguf import GGUFReader

        table = next(tensor for tensor in GGUFReader(self._path).tensors if tensor.name == _TABLE)
        return table.data, table.tensor_type
