"""Keep freed memory in the process while training on a CPU.

glibc hands every large block back to the kernel when it is freed and asks for it again a moment later; with tensors of
tens of megabytes made and dropped in every layer, half of the machine's time went into clearing pages. Two settings of
its allocator end that. They cost memory only at the peak that training has anyway.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST_KEPT = 32 << 20  # glibc allows no more; what is larger still comes from the kernel, or the heap would fragment


def keep_freed_memory() -> bool:
    """Set the allocator; returns whether there was one to set (glibc)."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return all(mallopt(*setting) for setting in ((_MMAP_THRESHOLD, _LARGEST_KEPT), (_TRIM_THRESHOLD, -1)))
