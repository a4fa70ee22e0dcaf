"""The Python in the guides runs, and the commands in them exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

ROOT = Path(__file__).parent.parent
GUIDES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def _blocks(guide: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", guide.read_text(encoding="utf-8"), re.M | re.S)



@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_python_in_a_guide_runs(guide, tmp_path, monkeypatch):
    blocks = _blocks(guide, "python")
    if not blocks:
        pytest.skip("no Python in it")
    # Guides speak of a picture that lies beside them; the code runs where copies of those pictures are.
    for picture in (ROOT / "docs" / "pictures").glob("*.*"):
        (tmp_path / picture.name).write_bytes(picture.read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "guide"}
    for block in blocks:
        exec(compile(block, str(guide), "exec"), names)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_sensorium_commands_in_a_guide_exist(guide):
    from sensorium.cli.main import app

    lines = [line for block in _blocks(guide, "") + _blocks(guide, "console") for line in block.splitlines()]
    commands = [line.lstrip("$ ") for line in lines if line.lstrip("$ ").startswith("sensorium ")]
    for command in commands:
        words = shlex.split(command, comments=True)[1:]
        depth = 3 if words[:2] == ["data", "build"] else 2 if words[0] in ("data", "parts") else 1
        group = words[:depth]
        shown = CliRunner().invoke(app, [*group, "--help"])
        assert shown.exit_code == 0, command
        options = [word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)]
        unknown = [option for option in options if option not in shown.output]
        assert not unknown, f"{command}: {unknown}"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_files_that_a_guide_names_are_there(guide):
    text = guide.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#:]+)\)", text)]
    paths = re.findall(r"`((?:src|tests|docs|recipes|benchmarks)/[\w./-]+\.\w+)`", text)
    missing = [p for p in paths if not (ROOT / p).exists()]
    missing += [link for link in links if not (guide.parent / link).exists()]
    assert not missing
