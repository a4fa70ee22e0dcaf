"""`make chat` hands on what it is given, letter for letter, and says which Python it needs."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def make(folder: Path, *words: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    return subprocess.run(
        ["make", "--no-print-directory", *words], cwd=folder, capture_output=True, text=True, check=False,
        env=env | ({"PATH": path} if path else {}),
    )  # fmt: skip


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def clone(tmp_path):
    """The Makefile and what its stamps depend on, set up with a `sensorium` that prints its words."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    script(tmp_path / ".venv/bin/sensorium", "printf '%s\\n' \"$@\"")
    script(tmp_path / ".venv/bin/python", "[ \"$2\" = pytest ] && printf '%s' \"$PYTEST_ADDOPTS\"")
    for stamp in (".ready", ".ready-dev"):
        (tmp_path / ".venv" / stamp).touch()
    return tmp_path


@pytest.mark.parametrize(
    "question",
    ["What is in the picture?", "it's \"so\"; rm -rf *", "$HOME $(shell echo made) `id` ${PATH}", "100% #1 \\ 猫"],
)
def test_words_arrive_letter_for_letter(clone, question):
    done = make(clone, "chat", "IMAGE=my photo's.jpg", f"QUESTION={question}")
    assert done.stdout == f"chat\n--image=my photo's.jpg\n--question={question}\n"


def test_without_arguments_it_is_an_interactive_chat(clone):
    assert make(clone, "chat").stdout == "chat\n"


@pytest.mark.parametrize("target", ["chat", "serve", "setup-dev"])
def test_without_a_package_index_one_line_says_so(clone, target):
    for stamp in (".ready", ".ready-dev", ".ready-serve"):
        (clone / ".venv" / stamp).unlink(missing_ok=True)
    script(clone / ".venv/bin/python", "exit 1")
    done = make(clone, target)
    assert done.returncode == 2 and not (clone / ".venv/.ready").exists()
    assert "error: packages could not be installed; look whether the network" in done.stderr


@pytest.mark.parametrize(
    ("target", "given", "expected"),
    [
        ("test", [], ["-n", "2", "-m", "not slow"]),
        ("test", ["-k", "text or data", "tests"], ["-n", "2", "-m", "not slow", "-k", "text or data", "tests"]),
        ("test", ["-k", "$HOME `id` $(shell id) *"], ["-n", "2", "-m", "not slow", "-k", "$HOME `id` $(shell id) *"]),
        ("test-all", [], []),
        ("test-all", ["-m", "slow"], ["-m", "slow"]),
    ],
)
def test_pytest_gets_its_words_letter_for_letter(clone, monkeypatch, target, given, expected):
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    done = make(clone, target, f"PYTEST_ARGS={shlex.join(given)}")
    assert done.returncode == 0, done.stderr
    assert shlex.split(done.stdout) == expected  # as pytest splits them


def test_a_newer_constraints_file_sets_up_again(clone):
    os.utime(clone / "constraints.txt", (4e9, 4e9))
    done = make(clone, "chat")
    assert done.returncode != 0 and "Installing Sensorium" in done.stdout


def test_an_old_python_is_refused_in_one_line(clone, tmp_path):
    shutil.rmtree(clone / ".venv")
    tools = tmp_path / "tools"
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        script(tools / name, "exit 1")
    for name in ("sh", "make", "rm", "sed", "touch"):
        (tools / name).symlink_to(shutil.which(name))
    done = make(clone, "chat", path=str(tools))
    assert done.returncode == 2
    assert done.stderr.startswith("error: Sensorium needs Python 3.11 or newer")
    assert not (clone / ".venv").exists()
