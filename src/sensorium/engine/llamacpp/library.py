"""llama.cpp's C interface, as the shared object inside the wheel `xllamacpp` exports it.

The wheel's own Python interface is an HTTP-like server that writes prompts as text, where `<|im_end|>` typed by a user
would become the token; the C interface takes ids and vectors, so that our renderer writes prompts here as everywhere.
It is bound by hand and by offset: the wheel ships no headers. So its version is pinned, and before anything runs the
defaults that it hands out are compared with what stands at these offsets; another layout is an error, not a crash.

Knows llama.cpp and nothing of ours but errors.
"""

from __future__ import annotations

import ctypes as c
import math
import os
from collections import deque
from contextlib import suppress
from functools import lru_cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.errors import SensoriumError

Pointer = int  # of llama.cpp's own things: models, contexts, chunks
_PINNED = "2026.10.11549"
_REMEDY = f'Install it: pip install "xllamacpp=={_PINNED}"; or use the torch engine.'
_ERROR_LEVEL = 4
_GELU_TOLERANCE = 2e-3  # the tanh form is 5e-4 from the exact one at most, half precision 1e-3 from either below 4


class Parameters(c.Structure):
    """A structure of parameters, larger than any of llama.cpp's: fields are set by their offset in bytes.

    It is only ever the last argument by value, where what stands behind the true end is never read.
    """

    _fields_ = (("raw", c.c_uint8 * 512),)

    def read(self, offset: int, kind: Any = c.c_uint32) -> int:
        return kind.from_buffer(self, offset).value  # type: ignore[no-any-return]

    def write(self, offset: int, value: int, kind: Any = c.c_uint32) -> None:
        kind.from_buffer(self, offset).value = value


class ContextAt:
    """Offsets in llama_context_params."""

    N_CTX, N_BATCH, N_UBATCH, N_SEQ_MAX, N_THREADS, N_THREADS_BATCH = 0, 4, 8, 12, 28, 32
    KV_UNIFIED = 141  # one byte


class VisionAt:
    """Offsets in mtmd_context_params."""

    N_THREADS, WARMUP = 20, 44


class Batch(c.Structure):
    """llama_batch: n_tokens tokens, by id or by vector, where they stand, whose they are, whose logits are wanted."""

    _fields_ = (
        ("n_tokens", c.c_int32),
        ("token", c.POINTER(c.c_int32)),
        ("embd", c.POINTER(c.c_float)),
        ("pos", c.POINTER(c.c_int32)),
        ("n_seq_id", c.POINTER(c.c_int32)),
        ("seq_id", c.POINTER(c.POINTER(c.c_int32))),
        ("logits", c.POINTER(c.c_int8)),
    )


class InputText(c.Structure):
    """mtmd_input_text."""

    _fields_ = (("text", c.c_char_p), ("length", c.c_size_t), ("add_special", c.c_bool), ("parse_special", c.c_bool),
                ("beyond", c.c_uint8 * 64))


_LOG = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)
_P, _S, _I = c.c_void_p, c.c_char_p, c.c_int32
_FUNCTIONS: dict[str, tuple[Any, ...]] = {  # name: (result, arguments…)
    "llama_backend_init": (None,),
    "llama_log_set": (None, _LOG, _P),
    "mtmd_log_set": (None, _LOG, _P),
    "llama_model_default_params": (Parameters,),
    "llama_context_default_params": (Parameters,),
    "mtmd_context_params_default": (Parameters,),
    "llama_model_load_from_file": (_P, _S, Parameters),
    "llama_model_free": (None, _P),
    "llama_model_get_vocab": (_P, _P),
    "llama_model_n_ctx_train": (_I, _P),
    "llama_model_n_embd": (_I, _P),
    "llama_vocab_n_tokens": (_I, _P),
    "llama_init_from_model": (_P, _P, Parameters),
    "llama_free": (None, _P),
    "llama_n_ctx_seq": (c.c_uint32, _P),
    "llama_n_threads": (_I, _P),
    "llama_get_memory": (_P, _P),
    "llama_memory_seq_rm": (c.c_bool, _P, _I, _I, _I),
    "llama_state_seq_get_size": (c.c_size_t, _P, _I),
    "llama_state_seq_get_data": (c.c_size_t, _P, _P, c.c_size_t, _I),
    "llama_state_seq_set_data": (c.c_size_t, _P, _P, c.c_size_t, _I),
    "llama_decode": (_I, _P, Batch),
    "llama_get_logits_ith": (_P, _P, _I),
    "mtmd_init_from_file": (_P, _S, _P, Parameters),
    "mtmd_free": (None, _P),
    "mtmd_bitmap_init": (_P, c.c_uint32, c.c_uint32, c.c_char_p),
    "mtmd_bitmap_free": (None, _P),
    "mtmd_default_marker": (_S,),
    "mtmd_input_chunks_init": (_P,),
    "mtmd_input_chunks_free": (None, _P),
    "mtmd_input_chunks_size": (c.c_size_t, _P),
    "mtmd_input_chunks_get": (_P, _P, c.c_size_t),
    "mtmd_input_chunk_get_type": (c.c_int, _P),
    "mtmd_input_chunk_get_n_tokens": (c.c_size_t, _P),
    "mtmd_tokenize": (_I, _P, _P, c.POINTER(InputText), c.POINTER(_P), c.c_size_t),
    "mtmd_encode_chunk": (_I, _P, _P),
    "mtmd_get_output_embd": (c.POINTER(c.c_float), _P),
}


class Library:
    """The functions by name, as attributes: `library.llama_decode(context, batch)`."""

    def __init__(self, path: Path) -> None:
        # Threads that spin while they wait bring a busy machine to a crawl; read when the library starts its threads.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            shared = c.CDLL(str(path))
            for name, (result, *arguments) in _FUNCTIONS.items():
                function = getattr(shared, name)
                function.restype, function.argtypes = result, arguments
                setattr(self, name, function)
        except (OSError, AttributeError, ValueError) as error:
            raise SensoriumError("xllamacpp", f"cannot be used ({error}).", _REMEDY) from error
        self._said: deque[str] = deque(maxlen=8)
        self._log = _LOG(self._hear)  # kept, since the library goes on calling it
        for set_log in ("llama_log_set", "mtmd_log_set"):
            getattr(self, set_log)(self._log, None)
        self.llama_backend_init()
        self._check()
        with suppress(ValueError):  # a build without the table computes GELU anew each time, in its own form
            _make_exact((c.c_uint16 * 65536).in_dll(shared, "ggml_table_gelu_f16"))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def last_errors(self) -> str:
        """What llama.cpp said of its latest failures, and forgets."""
        text = " ".join(self._said)
        self._said.clear()
        return text or "no reason given"

    def _hear(self, level: int, text: bytes, _: Any) -> None:
        if level == _ERROR_LEVEL and (said := text.decode(errors="replace").strip()):
            self._said.append(said)

    def _check(self) -> None:
        """Raises SensoriumError when the structures are not laid out as the offsets here suppose."""
        context, vision = self.llama_context_default_params(), self.mtmd_context_params_default()
        at = ContextAt
        found = [context.read(o) for o in (at.N_CTX, at.N_BATCH, at.N_UBATCH, at.N_SEQ_MAX, at.N_THREADS,
                                           at.N_THREADS_BATCH)]
        found += [context.read(at.KV_UNIFIED, c.c_uint8), vision.read(VisionAt.N_THREADS)]
        found += [vision.read(VisionAt.WARMUP, c.c_uint8)]
        if found != [512, 2048, 512, 1, 4, 4, 0, 4, 1]:
            raise SensoriumError("xllamacpp", f"is another build than Sensorium knows (defaults {found}).", _REMEDY)


def _make_exact(gelu: c.Array[c.c_uint16]) -> None:
    """Let GELU be x Φ(x), as in DINOv2 and our connectors, in place of its tanh form.

    An mmproj file can ask for the tanh form (`clip.use_gelu`), SiLU or, with neither, x σ(1.702 x); the exact form
    belongs in llama.cpp to a few projectors by their name, and `internvl` is none of them. But on processors ggml
    looks the values of GELU up, for all 65,536 numbers of half precision, in a table that the wheel exports. It is
    written anew here, for this process; of the models that we export only vision encoders and connectors have GELU.
    A table that does not hold GELU is left as it is, and so is the tanh form: 0.2 % off instead of less than 0.1 %.
    """
    table = np.ctypeslib.as_array(gelu)
    x = np.arange(65536, dtype=np.uint16).view(np.float16)
    at = np.abs(x) <= 10  # beyond, llama.cpp asks no table
    x = x[at].astype(np.float64)
    exact = x * 0.5 * (1 + np.frompyfunc(math.erf, 1, 1)(x / math.sqrt(2)).astype(np.float64))
    if np.abs(table[at].view(np.float16) - exact).max() > _GELU_TOLERANCE:
        return
    table[at] = exact.astype(np.float16).view(np.uint16)


@lru_cache(maxsize=1)
def library() -> Library:
    """llama.cpp, loaded once. Raises SensoriumError when the wheel is not installed, or another than the pinned one."""
    spec = util.find_spec("xllamacpp")
    if spec is None or spec.origin is None:
        raise SensoriumError("engine llamacpp", "needs the package xllamacpp.", _REMEDY)
    if (version := metadata.version("xllamacpp")) != _PINNED:
        raise SensoriumError("xllamacpp", f"is version {version}; the one known to work is {_PINNED}.", _REMEDY)
    found = sorted(Path(spec.origin).parent.glob("xllamacpp*.so")) + sorted(Path(spec.origin).parent.glob("*.pyd"))
    if not found:
        raise SensoriumError("xllamacpp", "has no shared library.", _REMEDY)
    return Library(found[0])


def floats(pointer: Any, *shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A copy of llama.cpp's floats at a pointer."""
    return np.ctypeslib.as_array(pointer, shape).copy()
