"""How long work tells whoever waits for it: a callback that everything long takes and nothing needs."""

from __future__ import annotations

from collections.abc import Callable

# (what is being done, how much is done, of how much; 0 where that is not known)
ProgressCallback = Callable[[str, int, int], None]
