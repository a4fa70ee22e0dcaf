"""Running commands: inside the test's process where that shows the same, as a real process where it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sensorium.conversation import Conversation
from sensorium.engine import Card, Delta, Reply, Sampling
from sensorium.media.watching import Watcher


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one error line; fails the test unless the command failed as it should."""
        assert self.code == 2, (self.code, self.err)
        assert "Traceback" not in self.err + self.out
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert self.err.endswith(lines[0] + "\n"), "nothing follows the error"
        return lines[0].removeprefix("error: ")


@dataclass
class ScriptedEngine:
    """Says what it was told to say, and remembers what it was asked."""

    replies: list[str] = field(default_factory=lambda: ["A cat."])
    asked: list[Conversation] = field(default_factory=list)
    finish: str = "stop"
    watcher: Watcher = field(default_factory=Watcher)
    card: Card = field(default_factory=lambda: Card("scripted", ("text", "image"), 8192, 64))

    def answer(self, conversations: list[Conversation], sampling: Sampling) -> list[Reply]:
        self.asked += conversations
        return [Reply(self._next(), self.finish, 9, 3) for _ in conversations]  # type: ignore[arg-type]

    def stream(self, conversation: Conversation, sampling: Sampling) -> Any:
        self.asked.append(conversation)
        for number, word in enumerate(self._next().split(" ")):
            yield Delta(word if number == 0 else f" {word}", n_tokens=number + 1)
        yield Delta("", self.finish)  # type: ignore[arg-type]

    def visual_tokens(self, shown: Any) -> int:
        return self.card.visual_tokens

    def _next(self) -> str:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@pytest.fixture
def sensorium(monkeypatch, capsys) -> Callable[..., Outcome]:
    """Run a command in this process, through the same `run` as the script: sensorium("chat", "--help")."""
    from sensorium.cli.main import run

    def command(*words: object, stdin: str | None = None) -> Outcome:
        import io

        monkeypatch.setattr(sys, "argv", ["sensorium", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin or ""))
        with pytest.raises(SystemExit) as ended:
            run()
        said = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), said.out, said.err)

    return command


@pytest.fixture
def process() -> Callable[..., Outcome]:
    """Run a command as a process of its own: process("parts", "list", env={…})."""

    def command(*words: object, env: dict[str, str] | None = None, stdin: str = "", code: str = "") -> Outcome:
        program = [sys.executable, "-c", code] if code else [sys.executable, "-m", "sensorium"]
        done = subprocess.run(
            [*program, *map(str, words)], input=stdin, capture_output=True, text=True, timeout=120,
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **(env or {})}, check=False,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, done.stderr)

    return command


@pytest.fixture
def engine(monkeypatch) -> ScriptedEngine:
    """The engine that every command loads in this test, whatever model it names."""
    scripted = ScriptedEngine()
    monkeypatch.setattr("sensorium.engine.loading.load_engine", lambda name, progress=None, **options: scripted)
    return scripted


@pytest.fixture
def model(tmp_path) -> Path:
    """A folder that passes for a model's, for tests with the scripted engine."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def picture(tmp_path) -> Path:
    """A grey picture of 1000x500 pixels."""
    path = tmp_path / "grey.png"
    Image.new("RGB", (1000, 500), "#808080").save(path)
    return path
