"""Other distributions add to our tables by entry points; one that is broken takes nothing away."""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image as Picture
from typer.testing import CliRunner

from sensorium.cli.main import app
from sensorium.data.readers import READERS
from sensorium.data.readers.base import SourceSettings
from sensorium.errors import SensoriumError
from sensorium.model.checkpoint import save_model
from sensorium.registry import callable_, settings_of, with_added

CONNECTOR = """
from typing import Literal
from torch import Tensor, nn
from sensorium.model.connectors import Connector, ConnectorSettings

class RowMeanConfig(ConnectorSettings):
    kind: Literal["row_mean"] = "row_mean"
    gain: float = 1.0

    def build(self, vision_width: int, language_width: int) -> Connector:
        return RowMean(vision_width, language_width)

class RowMean(Connector):
    def __init__(self, vision_width: int, language_width: int) -> None:
        super().__init__(vision_width, language_width)
        self.linear = nn.Linear(vision_width, language_width)

    def n_tokens(self, grid):
        return grid[0]

    def forward(self, features: Tensor, grid) -> Tensor:
        return self.linear(features.unflatten(1, grid).mean(2))
"""

READER = """
from typing import Literal
from sensorium.conversation import Conversation, assistant, user
from sensorium.data.readers import Sample, SourceSettings

class Lines:
    def __init__(self, path):
        self.path, self.rows = path, open(path).read().splitlines()
    def __len__(self):
        return len(self.rows)
    def __getitem__(self, number):
        asked, said = self.rows[number].split(" | ")
        return Sample(str(number), f"{self.path} row {number + 1}", Conversation((user(asked), assistant(said))))

class LineSettings(SourceSettings):
    format: Literal["lines"] = "lines"
    def open(self):
        return Lines(self.path)

def yes(facts, rng, phrases):
    return []

class Silent:
    def start(self, name, config, folder): (folder / "silent").touch()
    def log(self, row): pass
    def finish(self): pass
"""


TRAIN = """
from pathlib import Path
from sensorium.errors import SensoriumError
from sensorium.training.loop import train
from sensorium.training.recipe import load_recipe
try:
    load_recipe(Path("recipe.yaml"), ["model.connector.gian=2"])
except SensoriumError as error:
    print(error)
train(load_recipe(Path("recipe.yaml")), Path("run"), say=lambda line: None)
"""


def install(folder: Path, name: str, module: str, **groups: dict[str, str]) -> Path:
    """A distribution as pip leaves it: a module, and a .dist-info that says what it adds."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(module)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, points in groups.items():
        lines += [f"[sensorium.{group}]", *(f"{key} = {name}:{value}" for key, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    source = Path(__file__).parents[1] / "src"
    environment = os.environ | {"PYTHONPATH": f"{source}{os.pathsep}{folder}", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True,
                          text=True, timeout=300, check=False, cwd=folder)


def test_a_recipe_trains_with_a_connector_a_reader_a_task_and_a_tracker_of_another_distribution(
    tmp_path, tiny_recipe_tree, own_cache
):
    """Beside them a package that does not load: it is named in a warning, and nothing else suffers."""
    import yaml

    site = install(tmp_path / "site", "rowmean", CONNECTOR, connectors={"row_mean": "RowMeanConfig"})
    install(site, "lines", READER, readers={"lines": "LineSettings"}, rewriters={"yes": "yes"},
            trackers={"silent": "Silent"})
    install(site, "broken", "import no_such_module", connectors={"broken": "X"}, readers={"broken": "X"})
    (site / "talk.txt").write_text("Are you helpful? | You are.\n" * 4)
    (site / "data.yaml").write_text(yaml.safe_dump(
        {"sources": [{"format": "lines", "path": str(site / "talk.txt")}], "rewrite": {"tasks": ["yes", "caption"]}}
    ))  # fmt: skip
    tree = tiny_recipe_tree | {"data": str(site / "data.yaml"), "stages": tiny_recipe_tree["stages"][1:2],
                               "trackers": ["silent"]}
    tree["model"] = tree["model"] | {"connector": {"kind": "row_mean"}}
    tree["stages"][0].pop("samples")
    (site / "recipe.yaml").write_text(yaml.safe_dump(tree))
    done = python(site, "-c", TRAIN)
    assert done.returncode == 0, done.stderr
    assert (site / "run" / "silent").exists() and (site / "run" / "model").is_dir()
    assert "broken: sensorium.connectors broken (broken:X) cannot be loaded and is left out" in done.stderr
    assert done.stdout.strip() == "recipe.yaml: model.connector.gian: unknown key. Did you mean `gain`?"


def test_a_benchmark_of_another_distribution_is_evaluated_scored_again_and_compared(tmp_path, site, tiny_model,
                                                                                    own_cache):
    """The one that the guide adds, asked by the command of a tiny model."""
    guide = (Path(__file__).parents[1] / "docs" / "add-a-part.md").read_text(encoding="utf-8")
    module = next(block for block in re.findall(r"^```python\n(.*?)^```", guide, re.M | re.S) if "COUNTING = " in block)
    install(site, "counts", module, benchmarks={"counting": "COUNTING"})
    install(site, "otherwise", "from counts import COUNTING", benchmarks={"other": "COUNTING"})
    importlib.invalidate_caches()  # the folder was not there when it was put on the path
    (tmp_path / "data").mkdir()
    rows = []
    for i in range(4):
        Picture.new("RGB", (32, 32), (60 * i, 0, 0)).save(tmp_path / "data" / f"{i // 2}.png")
        rows.append({"id": i, "image": f"{i // 2}.png", "thing": "dots", "count": i})
    (tmp_path / "data" / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = save_model(tiny_model, tmp_path / "model", ["vision"])

    def sensorium(*words: object) -> str:
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    for name in ("a", "b"):
        sensorium("evaluate", "counting", "-d", tmp_path / "data", "-o", tmp_path / name, "-m", model,
                  "--max-new-tokens", 2, "--seed", 1, "--probe", "no-picture")  # fmt: skip
    results = json.loads(sensorium("rescore", tmp_path / "a", "--json"))
    assert results["benchmark"] == "counting" and results["answered"] == 4
    assert [task["clusters"] for task in results["tasks"]] == [2]
    compared = json.loads(sensorium("compare", tmp_path / "a", tmp_path / "b", "--json"))
    assert [score["score"] for score in compared["scores"]] == ["accuracy"]
    with pytest.raises(SensoriumError, match=r"benchmark 'countin': is not known\. Did you mean `counting`"):
        sensorium("evaluate", "countin", "-d", tmp_path / "data", "-o", tmp_path / "c")
    with pytest.raises(SensoriumError, match="benchmark 'other': is not known"):
        sensorium("evaluate", "other", "-d", tmp_path / "data", "-o", tmp_path / "c")


def test_a_run_of_a_benchmark_that_is_not_installed_any_more_is_told(tmp_path):
    header = {"format": "sensorium-run-1", "benchmark": "gone", "answers": 0}
    (tmp_path / "replies.jsonl").write_text(json.dumps(header) + "\n")
    with pytest.raises(SensoriumError, match="benchmark 'gone': is not known"):
        CliRunner().invoke(app, ["rescore", str(tmp_path)], catch_exceptions=False)


def test_help_needs_nothing_of_a_broken_package(tmp_path):
    site = install(tmp_path / "site", "broken", "raise RuntimeError('broken')", connectors={"mlp": "X"},
                   readers={"broken": "X"}, trackers={"broken": "X"})
    done = python(site, "-m", "sensorium", "--help")
    assert done.returncode == 0 and "train" in done.stdout and "broken" not in done.stdout + done.stderr


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "site"


def test_a_name_that_is_taken_is_an_error(site):
    install(site, "taker", "", readers={"coco": "X"})
    with pytest.raises(SensoriumError, match=r"taker: .*: the name `coco` is Sensorium's own already\. Uninstall it"):
        with_added("sensorium.readers", READERS)
    install(site, "one", "def f(): ...", things={"same": "f"})
    install(site, "two", "def f(): ...", things={"same": "f"})
    with pytest.raises(SensoriumError, match=r"two: .*: the name `same` is another distribution's already"):
        with_added("sensorium.things", {}, callable_)


def test_what_does_not_fit_the_table_is_left_out_with_a_warning(site, caplog):
    install(site, "misfits", "from sensorium.data.readers import SourceSettings\n"
            "class Nameless(SourceSettings): ...\nclass Other: ...\nnumber = 3",
            readers={"nameless": "Nameless", "other": "Other", "absent": "Absent"}, rewriters={"number": "number"})
    with caplog.at_level(logging.WARNING):
        assert with_added("sensorium.readers", READERS, settings_of(SourceSettings, "format")) == READERS
        assert with_added("sensorium.rewriters", {}, callable_) == {}
    said = caplog.text
    assert 'is left out: Nameless.format must be a Literal["nameless"].' in said
    assert "is no SourceSettings" in said and "3 cannot be called" in said and "AttributeError" in said
