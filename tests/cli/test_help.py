"""Every command explains itself, at once."""

from __future__ import annotations

from importlib import metadata

import pytest
import typer
from typer.testing import CliRunner

import sensorium as package
from sensorium.cli.main import app


def commands(command=None, path=()):
    """(words, is a group) of every command, groups included."""
    command = command or typer.main.get_command(app)
    below = getattr(command, "commands", {})
    return [(path, bool(below)), *(found for name, c in below.items() for found in commands(c, (*path, name)))]


@pytest.mark.parametrize(("words", "is_group"), commands())
def test_every_command_has_help_with_an_example(words, is_group):
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    assert "Usage: " in result.output
    assert is_group or "Example" in result.output
    assert all(len(line) <= 120 for line in result.output.splitlines())


def test_the_issues_commands_are_there():
    found = {" ".join(words) for words, _ in commands()}
    assert found >= {
        "chat", "train", "info", "evaluate", "rescore", "compare", "data build scenes", "data build speech",
        "data build video", "data show", "data check", "parts list", "parts fetch", "parts verify", "export hf",
    }  # fmt: skip


def test_help_and_mistakes_do_not_wait_for_torch(process):
    heavy = "torch transformers peft numpy PIL pydantic onnx gguf matplotlib fastapi uvicorn gradio"
    code = (
        "import sys, sensorium, sensorium.cli.main\n"
        f"print(*[name for name in {heavy.split()} if name in sys.modules])"
    )
    assert process(code=code).out.split() == []


@pytest.mark.parametrize("words", [["chat", "--bogus"], ["chatt"], ["chat", "--temperature", "hot"], ["train"]])
def test_usage_errors_exit_with_2_and_point_to_the_help(sensorium, words):
    outcome = sensorium(*words)
    assert outcome.code == 2
    assert "-h' for help" in outcome.err and "Traceback" not in outcome.err


def test_the_version_is_that_of_the_package(sensorium):
    assert sensorium("--version").out == f"sensorium {metadata.version('sensorium')}\n"
    assert package.__version__ == metadata.version("sensorium")
