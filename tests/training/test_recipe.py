"""A recipe file says what it builds, and a mistake in it is one line with its place and, if near, the right word."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from sensorium.data.records import TASKS
from sensorium.errors import SensoriumError
from sensorium.model.checkpoint import MODULES
from sensorium.training.recipe import Module, Recipe, Task, load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"


def _write(tmp_path: Path, tree: Any) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
    return path


def _changed(tree: dict[str, Any], place: str, value: object) -> dict[str, Any]:
    """A copy with the value at `stages.0.name` changed; a value of None there removes the key."""
    tree = copy.deepcopy(tree)
    *way, last = place.split(".")
    inner: Any = tree
    for key in way:
        inner = inner[int(key) if key.isdigit() else key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return tree


def _complaint(tmp_path: Path, tree: Any) -> str:
    with pytest.raises(SensoriumError) as caught:
        load_recipe(_write(tmp_path, tree))
    message = str(caught.value)
    assert "\n" not in message and message.startswith(str(tmp_path / "mine.yaml"))
    return message.removeprefix(str(tmp_path / "mine.yaml")).removeprefix(": ")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.name)
def test_our_own_recipes_load(path):
    assert load_recipe(path).stages


def test_a_recipe_survives_being_written_and_read(tiny_recipe_tree, tmp_path):
    recipe = load_recipe(_write(tmp_path, tiny_recipe_tree))
    again = load_recipe(_write(tmp_path, recipe.model_dump(mode="json")))
    assert again == recipe and isinstance(recipe, Recipe)


def test_a_recipe_with_a_base_says_only_what_differs(tiny_recipe_tree, tmp_path):
    path = _write(tmp_path, tiny_recipe_tree)
    (tmp_path / "near.yaml").write_text("base: mine.yaml\nseed: 99\nmodel: {vision: {image_size: 28}}\n")
    (tmp_path / "far.yaml").write_text(yaml.safe_dump({"base": "near.yaml", "stages": tiny_recipe_tree["stages"][1:]}))
    expected = load_recipe(path).model_dump()
    expected["seed"], expected["model"]["vision"]["image_size"] = 99, 28
    assert load_recipe(tmp_path / "near.yaml").model_dump() == expected
    expected["stages"] = expected["stages"][1:]
    assert load_recipe(tmp_path / "far.yaml").model_dump() == expected
    assert load_recipe(tmp_path / "far.yaml", ["seed=3"]).seed == 3


@pytest.mark.parametrize(("base", "complaint"), [
    ("mine.yaml", "base: expected another recipe's file, found 'mine.yaml'"), ("[a]", "base: expected another recipe"),
])
def test_a_base_that_is_none_is_refused(tmp_path, base, complaint):
    assert complaint in _complaint(tmp_path, f"base: {base}\n")
    with pytest.raises(SensoriumError, match=r"none\.yaml: cannot be read"):
        load_recipe(_write(tmp_path, "base: none.yaml\n"))


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("sead", "sead: unknown key. Did you mean `seed`?"),
        ("model.visoin", "model.visoin: unknown key. Did you mean `vision`?"),
        ("model.vision.layers", "model.vision.layers: unknown key. Did you mean `layer`?"),
        ("model.connector.facto", "model.connector.facto: unknown key. Did you mean `factor`?"),
        ("model.language.parts", "model.language.parts: unknown key. Did you mean `part`?"),
        ("stages.1.objectiv", "stages[1].objectiv: unknown key. Did you mean `objective`?"),
        ("stages.1.batch.max_token", "stages[1].batch.max_token: unknown key. Did you mean `max_tokens`?"),
        ("stages.2.lora.rang", "stages[2].lora.rang: unknown key. Did you mean `rank`?"),
        ("stages.0.optimizer.clip", "stages[0].optimizer.clip: unknown key. Did you mean `clip_norm`?"),
    ],
)
def test_a_misspelt_key_is_placed_and_the_nearest_suggested(tiny_recipe_tree, tmp_path, place, complaint):
    assert _complaint(tmp_path, _changed(tiny_recipe_tree, place, 1)) == complaint


@pytest.mark.parametrize(
    ("place", "key", "complaint"),
    [
        ("learning_rates", "conector", "stages[2].learning_rates.conector: unknown key. Did you mean `connector`?"),
        ("tasks", "captoin", "stages[2].tasks.captoin: unknown key. Did you mean `caption`?"),
        ("tasks", "xyz",
         "stages[2].tasks.xyz: unknown key. "
         "Known: caption, chat, drill, places, reading, several, small, text, video."),
    ],
)
def test_a_misspelt_module_or_task_is_placed_and_suggested(tiny_recipe_tree, tmp_path, place, key, complaint):
    assert _complaint(tmp_path, _changed(tiny_recipe_tree, f"stages.2.{place}.{key}", 1e-3)) == complaint


def test_a_misspelt_kind_of_connector_is_placed_and_suggested(tiny_recipe_tree, tmp_path):
    tree = _changed(tiny_recipe_tree, "model.connector.kind", "pixel_shufle")
    assert _complaint(tmp_path, tree) == (
        "model.connector.kind: there is no kind `pixel_shufle`. Did you mean `pixel_shuffle`?"
    )


@pytest.mark.parametrize(
    ("place", "value", "complaint"),
    [
        ("stages.0.learning_rates.connector", -1, "stages[0].learning_rates.connector: input should be greater than 0"),
        ("stages.0.learning_rates.connector", 5.0, "stages[0].learning_rates.connector: input should be less than or"),
        ("stages.0.learning_rates.connector", "fast", "stages[0].learning_rates.connector: input should be a valid n"),
        ("stages.0.learning_rates", {}, "stages[0].learning_rates: "),
        ("stages.0.samples", 0, "stages[0].samples: input should be greater than or equal to 1 (given: 0)."),
        ("stages.0.objective", "word", "stages[0].objective: input should be 'words' or 'replies' (given: 'word')."),
        ("stages.0.name", "Warm Up", "stages[0].name: "),
        ("stages.1.tasks", {}, "stages[1].tasks: "),
        ("stages.1.tasks", {"caption": 0}, "stages[1].tasks.caption: input should be greater than 0"),
        ("stages.1.accumulate", 0, "stages[1].accumulate: "),
        ("stages.2.lora.rank", 0, "stages[2].lora.rank: "),
        ("stages.2.lora.dropout", 1.0, "stages[2].lora.dropout: "),
        ("model.connector.factor", 3, "model.connector.factor: "),
        ("model.vision.tail_blocks", -1, "model.vision.tail_blocks: "),
        ("precision", "float16", "precision: input should be 'float32' or 'bfloat16' (given: 'float16')."),
        ("stages", [], "stages: "),
        ("stages.0.objective", None, "stages[0].objective: is missing."),
        ("model.vision.part", None, "model.vision.part: is missing."),
        ("data", None, "data: is missing."),
    ],
)
def test_an_impossible_value_is_placed_and_shown(tiny_recipe_tree, tmp_path, place, value, complaint):
    assert _complaint(tmp_path, _changed(tiny_recipe_tree, place, value)).startswith(complaint)


def test_stages_that_do_not_fit_together_are_refused_before_anything_trains(tiny_recipe_tree, tmp_path):
    full = _changed(tiny_recipe_tree, "stages.1.learning_rates.language", 1e-4)
    assert _complaint(tmp_path, full).startswith("stages[2].lora: an earlier stage trains the language model itself")
    twice = _changed(tiny_recipe_tree, "stages.1.lora", {"rank": 7})
    assert _complaint(tmp_path, twice).startswith("stages[2].lora: an earlier stage already brought other adapters")
    named = _changed(tiny_recipe_tree, "stages.2.name", "warm")
    assert _complaint(tmp_path, named) == "stages[2].name: `warm` is taken by an earlier stage."
    stem = _changed(tiny_recipe_tree, "model.vision.tail_blocks", 0)
    assert _complaint(tmp_path, stem).startswith("stages[0].learning_rates.vision: `words` needs a frozen stem")
    pixels = _changed(tiny_recipe_tree, "stages.0.cache_features", False)
    assert _complaint(tmp_path, pixels).startswith("stages[0].cache_features: `words` learns from cached features only")


def test_adapters_come_with_the_first_stage_that_names_them_and_stay(tiny_recipe_tree):
    tree = copy.deepcopy(tiny_recipe_tree)
    last = copy.deepcopy(tree["stages"][1]) | {"name": "more"}
    recipe = Recipe.model_validate(tree | {"stages": [*tree["stages"], last]})
    assert [recipe.model_at(stage).lora is not None for stage in range(4)] == [False, False, True, True]


def test_a_rate_without_a_point_is_a_number(tiny_recipe_tree, tmp_path):
    """YAML 1.1 reads 1e-4 as a string, which would be a trap."""
    text = yaml.safe_dump(tiny_recipe_tree).replace("connector: 0.003", "connector: 3e-3")
    assert "3e-3" in text
    assert load_recipe(_write(tmp_path, text)).stages[0].learning_rates["connector"] == 3e-3


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("a: [1,", "is not YAML (while parsing a flow node"), ("just words", "is not a recipe: expected keys"),
     ("", "is not a recipe: expected keys"), ("a: \x01", "is not YAML")],
)
def test_a_file_that_is_no_recipe_is_one_line(tmp_path, text, complaint):
    assert _complaint(tmp_path, text).startswith(complaint)


def test_a_file_that_is_not_there_or_is_a_folder_is_one_line(tmp_path):
    with pytest.raises(SensoriumError, match=r"none.yaml: cannot be read \(No such file or directory\)"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(SensoriumError, match=r"cannot be read \(Is a directory\)"):
        load_recipe(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(SensoriumError, match="is not YAML"):
        load_recipe(tmp_path / "binary.yaml")


def test_modules_and_tasks_are_those_of_the_model_and_the_data():
    from typing import get_args

    assert set(get_args(Module)) == set(MODULES)
    assert set(get_args(Task)) == set(TASKS)
