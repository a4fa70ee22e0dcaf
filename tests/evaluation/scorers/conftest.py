"""Files as benchmarks lay them out, written for these tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """write(name, content): strings as they are, rows of a .jsonl one a line, anything else as JSON."""

    def one(name: str, content: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, str):
            is_lines = name.endswith(".jsonl")
            content = "".join(json.dumps(row) + "\n" for row in content) if is_lines else json.dumps(content, indent=1)
        path.write_text(content, encoding="utf-8")
        return path

    return one
