"""Freed memory is kept where there is a glibc to tell so, and nothing happens elsewhere."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sensorium.training.allocator import keep_freed_memory

# Sixteen megabytes, made and dropped: given back to the kernel they cost a page fault for every 4 KiB each time.
FAULTS = """
import resource, sys
from sensorium.training.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        bytearray(16 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
bytearray(40 << 20), faults(2)
print(faults(20))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator of Linux")
def test_memory_once_had_is_not_asked_for_again():
    if not keep_freed_memory():
        pytest.skip("no glibc")
    run = subprocess.run([sys.executable, "-c", FAULTS, "keep"], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 20 * (16 << 20) // 4096 / 4


def test_elsewhere_nothing_is_set(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
