"""Tensors on their way into a GGUF file: quantised in blocks of 32, as far as their rows have whole blocks."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from torch import Tensor

Quantization = Literal["f16", "q8_0", "q4_0"]
_BLOCK = 32
_FILE_TYPES = {"f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0", "q4_0": "MOSTLY_Q4_0"}


class Weights:
    """Collects tensors in a gguf.GGUFWriter; `finish` writes the file.

    Blocks of 32 are the only quantisation here: the better kinds need rows of 256, and small models have none (576).
    """

    def __init__(self, writer: Any, quantization: Quantization) -> None:
        import gguf

        self._writer = writer
        self._kinds = gguf.GGMLQuantizationType
        self._quantize = gguf.quantize
        self.quantization = quantization
        writer.add_file_type(int(gguf.LlamaFileType[_FILE_TYPES[quantization]]))
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)

    def add_exact(self, name: str, tensor: Tensor) -> None:
        """As float32: norms, biases, positions."""
        self._writer.add_tensor(name, tensor.detach().float().contiguous().numpy())

    def add_matrix(self, name: str, tensor: Tensor, at_least_8_bits: bool = False) -> None:
        """As the file's quantisation has it, or float16 where a row is not whole blocks."""
        values = tensor.detach().float().contiguous().numpy()
        wanted = "q8_0" if at_least_8_bits and self.quantization == "q4_0" else self.quantization
        if wanted == "f16" or values.shape[-1] % _BLOCK:
            self._writer.add_tensor(name, values.astype(np.float16))
            return
        kind = self._kinds[wanted.upper()]
        self._writer.add_tensor(name, self._quantize(values, kind), raw_dtype=kind)

    def finish(self) -> None:
        """Write everything. Raises OSError when the disk is full."""
        self._writer.write_header_to_file()
        self._writer.write_kv_data_to_file()
        self._writer.write_tensors_to_file()
        self._writer.close()
