"""The Python in the guides runs, the commands in them exist, and what they say comes out does."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

ROOT = Path(__file__).parent.parent
CARD = ROOT / "src" / "sensorium" / "model" / "default" / "README.md"
TRAINED = CARD.with_name("trained.safetensors")
TRAINING = ROOT / "docs" / "train-your-own.md"
GUIDES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def _blocks(guide: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", guide.read_text(encoding="utf-8"), re.M | re.S)


def _transcript(guide: Path) -> list[tuple[dict[str, str], str]]:
    """(variables, what was printed) of each `$ make chat …` in the guide's transcripts."""
    found = []
    for block in _blocks(guide, "console"):
        for command, printed in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block, re.M):
            words = shlex.split(command)
            if words[:2] == ["make", "chat"]:
                found.append((dict(word.split("=", 1) for word in words[2:]), printed))
    return found


@pytest.fixture
def beside_pictures(tmp_path, monkeypatch):
    """Guides speak of a picture that lies beside them; the code runs where copies of those pictures are."""
    for picture in (ROOT / "docs" / "pictures").glob("*.*"):
        (tmp_path / picture.name).write_bytes(picture.read_bytes())
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("guide", [guide for guide in GUIDES if guide != TRAINING], ids=lambda path: path.name)
def test_python_in_a_guide_runs(guide, beside_pictures):
    blocks = _blocks(guide, "python")
    if not blocks:
        pytest.skip("no Python in it")
    names: dict[str, object] = {"__name__": "guide"}
    for block in blocks:
        exec(compile(block, str(guide), "exec"), names)


def test_the_guide_to_training_runs_from_its_first_line_to_its_last_on_tiny_parts(
    tiny_parts, beside_pictures, tmp_path, monkeypatch
):
    """Python and commands in their order, but for recipes whose parts are on the hub, and for several processes, which
    have tests of their own.
    """
    from sensorium.cli.main import app

    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))
    text = TRAINING.read_text("utf-8")
    for real, tiny in (("part: dinov2-small, layer: 9, image_size: 224", "part: {vision}, layer: -2, image_size: 56"),
                       ("part: smollm2-135m-instruct", "part: {language}"), ("image_size: 448", "image_size: 84")):
        assert text.count(real) == 1
        text = text.replace(real, tiny.format(**tiny_parts))
    names: dict[str, object] = {"__name__": "guide"}
    ran = []
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S):
        if language == "python":
            exec(compile(block, str(TRAINING), "exec"), names)
        for command in block.splitlines() if not language else ():
            if command.startswith("sensorium ") and "recipes/" not in command:
                done = CliRunner().invoke(app, shlex.split(command)[1:])
                assert done.exit_code == 0, f"{command}: {done.output}"
                ran.append(" ".join(command.split()[1:3]))
    goes_on = ["train more.yaml"] * 2  # planned, then done
    assert ran == ["data check", "train recipe.yaml", *goes_on, "export hf", "export hf"]
    assert Path("sharper/model/trained.safetensors").exists()
    assert Path("exports/mine-llava/model.safetensors").exists() and Path("exports/mine/trained.safetensors").exists()


def test_scores_in_the_guide_come_out_as_it_shows(tmp_path, monkeypatch):
    guide = ROOT / "docs" / "evaluate.md"
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "guide"}
    for block in _blocks(guide, "python"):
        exec(compile(block, str(guide), "exec"), names)
    shown = [re.match(r"\$ (sensorium score .+)\n((?:.*\n)*)", block) for block in _blocks(guide, "console")]
    assert len(shown) > 3
    for command, printed in (match.groups() for match in shown if match):
        words = [sys.executable, "-m", *shlex.split(command)]
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert " ".join((done.stdout or done.stderr).split()) == " ".join(printed.split()), command


def test_the_correction_in_the_guide_comes_out_as_it_shows():
    blocks = "".join(_blocks(ROOT / "docs" / "correction.md", "console"))
    shown = re.findall(r"^\$ (sensorium correct .+)\n((?:(?!\$ ).*\n)*)", blocks, re.M)
    assert shown
    for command, printed in shown:
        words = [sys.executable, "-m", *shlex.split(command)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.stdout == printed, done.stderr


def test_what_a_file_costs_and_which_frames_are_seen_comes_out_as_the_guide_shows(tmp_path, monkeypatch):
    from PIL import Image, ImageChops

    from sensorium.cli.main import app

    shutil.copytree(ROOT / "docs" / "pictures", tmp_path / "docs" / "pictures")
    monkeypatch.chdir(tmp_path)
    blocks = "".join(_blocks(ROOT / "docs" / "see-more.md", "console"))
    shown = re.findall(r"^\$ sensorium (info .+)\n((?:(?!\$ ).*\n)*)", blocks, re.M)
    assert shown
    for command, printed in shown:
        assert CliRunner().invoke(app, shlex.split(command)).stdout == printed, command
    with Image.open("frames.png") as drawn, Image.open("docs/pictures/frames.png") as in_the_guide:
        difference = ImageChops.difference(drawn, in_the_guide).convert("L").histogram()
    assert sum(difference[16:]) < 0.01 * sum(difference), "decoders may round otherwise, and see the same"


def test_compressors_that_a_guide_lists_are_those_that_there_are():
    from sensorium.model.compressors import COMPRESSORS

    rows = re.findall(r"^\| (`[^|]+) \|", (ROOT / "docs" / "see-more.md").read_text("utf-8"), re.M)
    named = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    assert set(COMPRESSORS) <= named


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_sensorium_commands_in_a_guide_exist(guide):
    from sensorium.cli.main import app

    lines = [line for block in _blocks(guide, "") + _blocks(guide, "console") for line in block.splitlines()]
    commands = [line.lstrip("$ ") for line in lines if line.lstrip("$ ").startswith("sensorium ")]
    for command in commands:
        words = shlex.split(command, comments=True)[1:]
        depth = 3 if words[:2] == ["data", "build"] else 2 if words[0] in ("data", "export", "parts", "score") else 1
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


def test_no_guide_waits_for_something_to_be_filled_in():
    guides = [*GUIDES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *([CARD] if CARD.exists() else [])]
    left = [(guide.name, mark) for guide in guides for mark in re.findall(r"@[A-Z]+@", guide.read_text("utf-8"))]
    assert not left


def test_a_transcript_is_read_as_it_stands(tmp_path):
    guide = tmp_path / "guide.md"
    block = "$ make chat IMAGE=a.jpg QUESTION='Is it?'\nYes.\nIt is.\n$ make test\nok\n$ make chat QUESTION=Who\nMe.\n"
    guide.write_text(f"```console\n{block}```\n")
    assert _transcript(guide) == [
        ({"IMAGE": "a.jpg", "QUESTION": "Is it?"}, "Yes.\nIt is.\n"), ({"QUESTION": "Who"}, "Me.\n"),
    ]  # fmt: skip


@pytest.mark.skipif(not TRAINED.exists(), reason="the default model is not in this copy yet")
def test_the_default_model_says_what_the_readme_shows(tmp_path):
    examples = _transcript(ROOT / "README.md")
    assert examples, "README.md shows no `$ make chat` in a console block"
    options = {"IMAGE": "image", "QUESTION": "question", "DRAW": "draw"}
    for number, (given, shown) in enumerate(examples):
        if "DRAW" in given:
            given["DRAW"] = str(tmp_path / f"{number}.png")
        words = [given.pop("MODEL", "default"), *(f"--{options[name]}={value}" for name, value in given.items())]
        command = [sys.executable, "-m", "sensorium", "chat", *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
        # The guide may break its lines elsewhere. Processors round differently, and a digit of a box may tip.
        said, expected = (re.split(r"(\d+)(?=,\d+\)|\))", " ".join(text.split())) for text in (done.stdout, shown))
        assert said[::2] == expected[::2], words
        assert all(abs(int(a) - int(b)) <= 30 for a, b in zip(said[1::2], expected[1::2], strict=True)), words


def test_extras_that_are_spoken_of_exist_and_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    texts = [*ROOT.glob("*.md"), ROOT / "Makefile", *(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("*.py")]
    spoken_of = {
        extra
        for path in texts
        for named in re.findall(r"(?:sensorium|['\" ]\.)\[([a-z, ]+)\]", path.read_text("utf-8"))
        for extra in re.split(", *", named)
    }
    assert {"data", "heic", "dev"} <= spoken_of <= set(extras)
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {_plain(line) for line in lines if "==" in line}
    wanted = {_plain(needed) for group in (project["dependencies"], *extras.values()) for needed in group}
    # Type stubs are the newest there are: nothing runs them.
    assert not {name for name in wanted - pinned if not name.startswith("types-")}


def _plain(requirement: str) -> str:
    """The package's name in a requirement, spelled as the index compares names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def test_the_notice_names_every_part_with_its_hash():
    from sensorium.parts.known import KNOWN

    notice = (ROOT / "NOTICE").read_text("utf-8")
    named = re.findall(r"from package (\S+)==(\S+), (?:file|folder) (\S+)\n +sha256 (\S+)$", notice, re.M)
    packages = [part.package for part in KNOWN.values()]
    assert set(named) == {(one.name, one.version, one.file, one.sha256) for one in packages}
    assert len(named) == len(packages)


def test_the_notice_names_the_emoji_packages_that_are_fetched():
    from sensorium.data.scenes.emoji import EMOJI_STYLES

    notice = (ROOT / "NOTICE").read_text("utf-8")
    named = re.findall(r"^@iconify-json/(\S+) (\S+)  ([^\s,]+),.*\n  sha512-(\S+)$", notice, re.M)
    assert named == [(style.package, style.version, style.licence, style.sha512) for style in EMOJI_STYLES]


def test_the_notice_names_the_fonts_that_are_fetched():
    from sensorium.data.scenes.fonts import FACES

    notice = (ROOT / "NOTICE").read_text("utf-8")
    named = re.findall(r"^(font-\S+) (\S+)  ([^\s,]+), .*\n  sha256-(\S+)$", notice, re.M)
    packages = dict.fromkeys(face.package for face in FACES)
    assert named == [(one.part.name, one.part.version, one.licence, one.part.sha256) for one in packages]


def test_runs_in_the_guide_come_out_as_it_shows(tmp_path, monkeypatch):
    """But for the numbers: processors round differently, and one reply of twelve may tip."""
    from sensorium.cli.main import app

    guide = ROOT / "docs" / "compare.md"
    monkeypatch.chdir(tmp_path)
    for block in _blocks(guide, "python"):
        exec(compile(block, str(guide), "exec"), {"__name__": "guide"})
    blocks = "".join(_blocks(guide, "console"))
    shown = re.findall(r"^\$ sensorium (.+)\n((?:(?!\$ ).*\n)*)", blocks, re.M)
    commands = ["evaluate", "rescore", "evaluate", "compare", "report", "evaluate"]
    assert [command.split()[0] for command, _ in shown] == commands
    for command, printed in shown:
        extra = ["--no-cache"] if command.startswith("evaluate") else []
        done = CliRunner().invoke(app, [*shlex.split(command), *extra], catch_exceptions=False)
        assert done.exit_code == 0
        said, expected = (re.findall(r"[a-z]\w+", text) for text in (done.stdout, printed))
        assert said == expected, command
