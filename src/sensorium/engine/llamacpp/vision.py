"""Pictures -> visual tokens by llama.cpp's graph of our encoder and connector, from an exported `mmproj` file."""

from __future__ import annotations

import ctypes as c
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.engine.llamacpp.library import InputText, Pointer, VisionAt, floats, library
from sensorium.errors import SensoriumError

Array = np.ndarray[Any, np.dtype[Any]]
_IMAGE = 1  # mtmd_input_chunk_type


class PictureEncoder:
    """path: an mmproj file that fits `model`; width: of its visual tokens. Not for two threads at once."""

    def __init__(self, path: Path, model: Pointer, width: int, threads: int) -> None:
        self._library, self._width = library(), width
        parameters = self._library.mtmd_context_params_default()
        parameters.write(VisionAt.N_THREADS, threads)
        parameters.write(VisionAt.WARMUP, 0, c.c_uint8)  # the first picture warms up as well
        self._context: Pointer | None = self._library.mtmd_init_from_file(str(path).encode(), model, parameters)
        if not self._context:
            raise SensoriumError(path, f"cannot be loaded by llama.cpp ({self._library.last_errors()}).")
        self._marker = self._library.mtmd_default_marker()

    def __call__(self, pixels: Array) -> Array:
        """RGB of the encoder's own size, uint8 [h, w, 3] -> visual tokens, float32 [t', d].

        The picture is shrunk before it comes here: so it is by the same rule on every engine. Raises RuntimeError when
        it is closed.
        """
        lib = self._library
        if self._context is None:
            raise RuntimeError("the engine is closed.")
        height, width, _ = pixels.shape
        bitmap = lib.mtmd_bitmap_init(width, height, np.ascontiguousarray(pixels).tobytes())
        chunks = lib.mtmd_input_chunks_init()
        try:
            text = InputText(self._marker, len(self._marker), False, True)
            failed = lib.mtmd_tokenize(self._context, chunks, c.byref(text), (c.c_void_p * 1)(bitmap), 1)
            found = [lib.mtmd_input_chunks_get(chunks, i) for i in range(lib.mtmd_input_chunks_size(chunks))]
            found = [chunk for chunk in found if lib.mtmd_input_chunk_get_type(chunk) == _IMAGE]
            if failed or len(found) != 1 or lib.mtmd_encode_chunk(self._context, found[0]):
                raise RuntimeError(f"llama.cpp made {len(found)} views of a picture: {lib.last_errors()}")
            n_tokens = lib.mtmd_input_chunk_get_n_tokens(found[0])
            return floats(lib.mtmd_get_output_embd(self._context), n_tokens, self._width)
        finally:
            lib.mtmd_input_chunks_free(chunks)
            lib.mtmd_bitmap_free(bitmap)

    def close(self) -> None:
        """Give the memory back; once is enough."""
        context, self._context = self._context, None
        if context:
            self._library.mtmd_free(context)
