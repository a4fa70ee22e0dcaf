"""Imports run downwards only: the floors of the house, checked by reading every import statement of the package.

Imports inside functions and under TYPE_CHECKING count as well: a late import is still an arrow.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "sensorium"

# From the ground up. A package may import from floors below its own; from its own floor where it makes no circle.
FLOORS = (
    ("errors", "progress"),
    ("conversation", "files", "folder_lock", "configuration", "registry"),
    ("grounding", "media", "parts"),
    ("model", "rendering", "data"),
    ("training", "export"),
    ("engine",),
    ("evaluation", "correction", "serving"),
    ("cli",),
    ("sensorium",),  # the package's own __init__ and __main__: the front door, which no room behind it may use
)
FLOOR_OF = {package: floor for floor, packages in enumerate(FLOORS) for package in packages}

# Arrows that the floors would allow and the design does not.
FORBIDDEN = {
    ("model", "rendering"): "a model is given ids and slots; it does not know how they were written",
    ("correction", "model"): "above the engine nobody sees a tensor of the model",
    ("evaluation", "model"): "above the engine nobody sees a tensor of the model",
    ("serving", "model"): "above the engine nobody sees a tensor of the model",
}


def test_who_contributes_is_told_the_same_floors():
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")
    told = text.partition("fails on one that does not:")[2].strip().partition("\n\n")[0]
    assert tuple(tuple(re.findall(r"`(\w+)`", floor)) for floor in told.split("<")) == FLOORS


def package_of(path: Path, root: Path) -> str:
    """The top-level package or module that a file belongs to."""
    first = path.relative_to(root).parts[0].removesuffix(".py")
    return "sensorium" if first in ("__init__", "__main__") else first


def imported_names(path: Path, root: Path) -> list[tuple[int, str]]:
    """(line, dotted name) of everything under `sensorium` that the file imports, relative imports resolved."""
    here = ("sensorium", *path.relative_to(root).with_suffix("").parts)
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*here[: len(here) - node.level]] if node.level else []
            base += [node.module] if node.module else []
            found += [(node.lineno, ".".join([*base, alias.name])) for alias in node.names]
    return [(line, name) for line, name in found if name.split(".")[0] == "sensorium"]


def arrows(root: Path) -> dict[tuple[str, str], str]:
    """{(importing package, imported package): one place that does it}; arrows within a package left out."""
    rooms = {package_of(path, root) for path in root.rglob("*.py")}
    found: dict[tuple[str, str], str] = {}
    for path in sorted(root.rglob("*.py")):
        origin = package_of(path, root)
        for line, name in imported_names(path, root):
            second = name.split(".")[1] if "." in name else ""
            if second == "__version__":  # a word about the package, not a way into it
                continue
            target = second if second in rooms or second in FLOOR_OF else "sensorium"
            if target != origin:
                found.setdefault((origin, target), f"{path.relative_to(root)}:{line} imports {name}")
    return found


def faults(root: Path) -> list[str]:
    """Each arrow that runs up a floor, is forbidden or belongs to a circle, and each package without a floor."""
    found = arrows(root)
    rooms = {package_of(path, root) for path in root.rglob("*.py")} | {room for arrow in found for room in arrow}
    said = [f"{room}: has no floor yet; give it one in FLOORS" for room in sorted(rooms - set(FLOOR_OF))]
    for (origin, target), place in found.items():
        if FLOOR_OF.get(target, -1) > FLOOR_OF.get(origin, len(FLOORS)):
            said.append(f"{place}: {origin} stands below {target}")
        if reason := FORBIDDEN.get((origin, target)):
            said.append(f"{place}: {reason}")
    return said + circles(found)


def circles(found: dict[tuple[str, str], str]) -> list[str]:
    """Arrows from which a way leads back to where they began."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            here = ahead.pop()
            onward = {target for origin, target in found if origin == here} - seen
            seen |= onward
            ahead += onward
        return seen

    return [f"{place}: a circle" for (origin, target), place in found.items() if origin in reachable(target)]


def test_imports_run_downwards_and_never_in_a_circle():
    assert list(SOURCE.rglob("*.py")), "the source is not where this test looks for it"
    assert faults(SOURCE) == []


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"media/images.py": "from sensorium.model import views"}, "media stands below model"),
        ({"errors.py": "import sensorium.conversation"}, "errors stands below conversation"),
        ({"training/loop.py": "def f():\n    from sensorium.engine import torch"}, "training stands below engine"),
        ({"model/a.py": "from ..rendering import b"}, "does not know how they were written"),
        ({"data/deep/a.py": "from ...cli import main"}, "data stands below cli"),
        ({"engine/a.py": "from sensorium import load"}, "engine stands below sensorium"),
        ({"engine/a.py": "import sensorium"}, "engine stands below sensorium"),
        ({"attic/a.py": "x = 1"}, "attic: has no floor yet"),
        ({"rendering/a.py": "import sensorium.data", "data/a.py": "import sensorium.rendering"}, "a circle"),
        (
            {
                "rendering/a.py": "import sensorium.model",
                "model/a.py": "import sensorium.data",
                "data/a.py": "import sensorium.rendering",
            },
            "a circle",
        ),
    ],
)
def test_a_wrong_arrow_is_found(tmp_path, files, said):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert any(said in fault for fault in faults(tmp_path))


def test_right_arrows_are_not_complained_of(tmp_path):
    files = {
        "__init__.py": "from sensorium.engine import load",
        "cli/main.py": "from sensorium import __version__\nfrom sensorium.training.loop import train",
        "engine/torch.py": "from sensorium.model import MultimodalModel\nfrom sensorium.rendering import render",
        "rendering/render.py": "from sensorium.model.batch import Batch\nfrom . import slots\nfrom .slots import x",
        "model/deep/a.py": "from sensorium.model.batch import Batch\nimport torch, sensorium.errors",
        "media/images.py": "from sensorium import conversation, errors",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert faults(tmp_path) == []
