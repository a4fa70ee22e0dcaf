"""Who changes texts. One file each; adding one is a file and a line in EDITORS."""

from __future__ import annotations

from collections.abc import Callable

from sensorium.correction.editors.base import Editor, Task
from sensorium.correction.editors.minimal import Minimal
from sensorium.correction.editors.rewrite import Rewrite

EDITORS: dict[str, Callable[[], Editor]] = {"minimal": Minimal, "rewrite": Rewrite}

__all__ = ["EDITORS", "Editor", "Minimal", "Rewrite", "Task"]
