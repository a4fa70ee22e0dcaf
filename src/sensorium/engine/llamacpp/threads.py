"""How many threads llama.cpp may use."""

from __future__ import annotations

import os


def idle_cores() -> int:
    """Cores of this process that nobody uses just now, at least one: more threads than cores slow everybody down."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1, min(cores, round(cores - busy)))
