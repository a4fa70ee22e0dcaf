"""How many threads llama.cpp may use."""

from __future__ import annotations

import os

SMALL_MB = 300


def idle_cores() -> int:
    """Cores of this process that nobody uses just now, at least one: more threads than cores slow everybody down."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1, min(cores, round(cores - busy)))


def threads_for_one_token(threads: int, model_mb: float) -> int:
    """Of so many threads, those that read a single token.

    Threads wait for each other after each of a model's hundreds of operations, asleep (see `library`). On one token a
    small model's operations are shorter than the waking: SmolLM2-135M at Q8_0 takes one thread 7 ms of its core, and
    two of them 10 to 12. The other cores are left to whoever else works on a reply.
    """
    return 1 if model_mb < SMALL_MB else threads
