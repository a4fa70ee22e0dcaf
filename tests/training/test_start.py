"""A training that goes on from a model: the same model at first, then one that stands alone, and never another's."""

from __future__ import annotations

import copy
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from sensorium.conversation import Conversation, Image, assistant, user
from sensorium.errors import SensoriumError
from sensorium.export.huggingface import export_huggingface
from sensorium.media import open_image
from sensorium.model.checkpoint import load_model, read_config, read_trained, save_model
from sensorium.model.multimodal import ModelConfig, MultimodalModel
from sensorium.model.views import make_views
from sensorium.rendering import Renderer
from sensorium.rendering.batching import collate
from sensorium.training import loop
from sensorium.training.journal import read_journal
from sensorium.training.loop import train
from sensorium.training.preview import preview
from sensorium.training.recipe import Recipe, load_recipe
from sensorium.training.start import StartConfig, load_start, start_identity

ALL = ("connector", "language", "tokens", "vision")
NOTHING = dict.fromkeys(("connector", "tokens"), 1e-30)  # rates at which no float32 moves


@pytest.fixture
def make_start(tiny_model_tree, tmp_path) -> Callable[..., Path]:
    """`make_start(name, trained, **model)`: a model folder with random weights in everything that was trained."""
    def make(name: str = "start", trained: tuple[str, ...] = ALL, **model: Any) -> Path:
        torch.manual_seed(23)
        tree = tiny_model_tree | {"lora": {"rank": 2, "alpha": 4}} | model
        made = ModelConfig.model_validate(tree).build()
        for tensor in (p for n, p in made.named_parameters() if "lora_B" in n or n.startswith(("vision.tail", "conn"))):
            tensor.data += 0.1 * torch.randn_like(tensor)
        about = {"recipe": "first", "steps": 9}
        return save_model(made, tmp_path / name, trained, about)

    return make


@pytest.fixture
def recipe(tiny_data, tmp_path, own_cache) -> Callable[..., Recipe]:
    """`recipe(start, model, **stage)`: a recipe of one short stage, written to a file and read from it."""
    def read(start: Path | str, model: dict[str, Any] | None = None, **stage: Any) -> Recipe:
        only = {"name": "more", "objective": "replies", "samples": 8, "batch": {"max_samples": 4},
                "learning_rates": NOTHING, "optimizer": {"warmup_steps": 1}} | stage
        tree = {"name": "second", "seed": 6, "data": str(tiny_data), "start": str(start), "stages": [only],
                "validate_every": 100, "validation_samples": 4}
        path = tmp_path / "second.yaml"
        path.write_text(yaml.safe_dump(tree | ({"model": model} if model else {})))
        return load_recipe(path)

    return read


def _started(recipe: Recipe) -> MultimodalModel:
    model = recipe.model.build()
    assert recipe.start is not None
    load_start(model, recipe.start)
    return model.eval()


def _logits(model: MultimodalModel, data: Path) -> Tensor:
    picture = Image(str(data / "train" / "images" / "004.png"))
    talk = Conversation((user(picture, "What is it?"), assistant("There is a red ball.")))
    rendered = Renderer.of(model).render(talk)
    pixels = make_views(open_image(picture), model.sight)
    with torch.inference_mode():
        return model(collate([rendered], 0, pixels))


def _quietly(what: str, done: int, total: int) -> None:
    pass


def test_nothing_learned_is_the_same_model_and_it_stands_alone(make_start, recipe, tiny_data, tmp_path):
    folder = make_start()
    before = load_model(folder)
    expected, tensors = _logits(before, tiny_data), dict(before.named_parameters())
    made = train(recipe(folder), tmp_path / "run", say=lambda line: None)
    shutil.rmtree(folder)
    after = load_model(made)
    assert all(torch.equal(p, tensors[name]) for name, p in after.named_parameters())
    assert torch.equal(_logits(after, tiny_data), expected)
    config, content = read_config(made)
    assert content["trained"] == list(ALL) and config.vision.part == before.config.vision.part
    origin = content["provenance"]["start"]
    assert origin["model"] == str(folder) and origin["provenance"] == {"recipe": "first", "steps": 9}


def test_two_recipes_go_on_as_two_stages_do(tiny_recipe_tree, own_cache, tmp_path):
    """The whole data in one step, so that no order of samples tells them apart; saved in 16 bits between."""
    stages = copy.deepcopy(tiny_recipe_tree["stages"])
    for stage in stages[1:]:
        stage |= {"samples": None, "tasks": {"caption": 1.0}, "batch": {"max_tokens": 2048}}
    stages[2]["lora"]["dropout"] = 0.0
    stages[2]["optimizer"] = {"warmup_steps": 0}

    def losses(name: str, **changes: Any) -> list[float]:
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(tiny_recipe_tree | {"validate_every": 100} | changes))
        train(load_recipe(path), tmp_path / name, say=lambda line: None)
        return [row["loss"] for row in read_journal(tmp_path / name / "journal.jsonl") if "loss" in row]

    whole = losses("whole", stages=stages)
    losses("first", stages=stages[:1])
    [*_, align, instruct] = whole
    second = losses("second", stages=stages[1:], start=str(tmp_path / "first"))
    assert second == pytest.approx([align, instruct], rel=2e-3)
    assert losses("bare", stages=stages[1:])[0] != pytest.approx(align, rel=2e-2)


def test_a_start_with_adapters_goes_on_with_them(make_start, recipe, tiny_data):
    folder = make_start()
    same = recipe(folder)
    assert same.model.lora == same.model_at(0).lora and same.model.lora.rank == 2
    assert torch.equal(_logits(_started(same), tiny_data), _logits(load_model(folder), tiny_data))


@pytest.mark.parametrize("place", ["model", "stage"])
def test_larger_adapters_answer_as_the_smaller_did_and_all_of_them_train(make_start, recipe, tiny_data, place):
    folder, lora = make_start(), {"rank": 5, "alpha": 3}
    wanted = recipe(folder, {"lora": lora}) if place == "model" else recipe(folder, lora=lora)
    model = _started(wanted)
    torch.testing.assert_close(_logits(model, tiny_data), _logits(load_model(folder), tiny_data), atol=1e-5, rtol=1e-5)
    for name, p in model.named_parameters():
        if "lora_A" in name:
            assert p.shape[0] == 5 and (p.norm(dim=1) > 0).all()
        if "lora_B" in name:
            assert p.shape[1] == 5 and (p[:, 2:] == 0).all()


def test_without_adapters_they_are_folded_in_and_the_result_holds_the_language_model(
    make_start, recipe, tiny_data, tmp_path
):
    folder = make_start()
    wanted = recipe(folder, {"lora": None})
    expected = _logits(load_model(folder), tiny_data)
    torch.testing.assert_close(_logits(_started(wanted), tiny_data), expected, atol=1e-5, rtol=1e-5)
    made = train(wanted, tmp_path / "run", say=lambda line: None)
    names = read_trained(made).keys()
    assert "language.model.layers.0.mlp.up_proj.weight" in names and not any("lora" in name for name in names)
    torch.testing.assert_close(_logits(load_model(made), tiny_data), expected, atol=0.2, rtol=0.02)


def test_a_language_model_trained_itself_stays_in_what_comes_of_it(make_start, recipe, tiny_data, tmp_path):
    folder = make_start(lora=None)
    made = train(recipe(folder), tmp_path / "run", say=lambda line: None)
    assert torch.equal(_logits(load_model(made), tiny_data), _logits(load_model(folder), tiny_data))


@pytest.mark.parametrize("cut", [{"layer": 1, "tail_blocks": 2}, {"layer": 3, "tail_blocks": 0}], ids=["tail", "all"])
def test_more_of_the_tower_may_train_than_in_the_start(make_start, recipe, tiny_model_tree, tiny_data, tmp_path, cut):
    folder = make_start(vision=tiny_model_tree["vision"] | {"layer": 2})
    expected = _logits(load_model(folder), tiny_data)
    wanted = recipe(folder, {"vision": cut})
    assert torch.equal(_logits(_started(wanted), tiny_data), expected)
    made = train(wanted, tmp_path / "run", say=lambda line: None)
    shutil.rmtree(folder)  # blocks that were frozen before are in 16 bits now
    torch.testing.assert_close(_logits(load_model(made), tiny_data), expected, atol=0.1, rtol=0)


def test_a_larger_view_and_other_tiles_take_the_weights_over(make_start, recipe, tiny_data, tmp_path):
    """Added tokens are found by their names; the ones between tiles are new."""
    folder = make_start(views={"tiles": {"scheme": "anyres"}})
    before = load_model(folder)
    rows = dict(zip(before.added_tokens, before.added_embeddings, strict=True))
    wanted = recipe(folder, {"vision": {"image_size": 84}, "connector": {"factor": 2},
                             "views": {"tiles": {"scheme": "nanovlm", "max_side": 168}}})
    model = _started(wanted)
    assert model.vision.grid == (6, 6) and not rows.keys() <= {*model.added_tokens}
    assert len({*model.added_tokens} - rows.keys()) > 60
    for token, row in zip(model.added_tokens, model.added_embeddings, strict=True):
        assert torch.equal(row, rows[token]) if token in rows else all(not torch.equal(row, r) for r in rows.values())
    own = dict(model.named_parameters())
    assert all(torch.equal(own[n], p) for n, p in before.named_parameters() if n != "added_embeddings")
    plain = recipe(folder, {"views": {"tiles": None}})
    assert plain.model.views.tiles is None and train(plain, tmp_path / "run", say=lambda line: None)


def test_a_larger_view_is_trained_with_positions_interpolated(make_start, recipe, tmp_path):
    """A stage's own size does it as well; the part's table stays what it was."""
    made = train(recipe(make_start(), image_size=84), tmp_path / "run", say=lambda line: None)
    model = load_model(made)
    assert model.vision.grid == (6, 6) and model.sight.views((56, 56)).n_tokens == 9


def test_an_exported_folder_is_a_start_too_and_takes_fresh_adapters(make_start, recipe, tiny_data, tmp_path):
    exported = export_huggingface(make_start(), tmp_path / "whole")
    expected = _logits(load_model(exported), tiny_data)
    wanted = recipe(exported, lora={"rank": 3}, learning_rates=NOTHING | {"language": 1e-30})
    assert wanted.model.language.part == str(exported / "language") and wanted.model.lora is None
    made = train(wanted, tmp_path / "run", say=lambda line: None)
    model = load_model(made)
    assert model.config.lora.rank == 3
    torch.testing.assert_close(_logits(model, tiny_data), expected, atol=0.1, rtol=0)  # a fresh norm in 16 bits


@pytest.mark.parametrize(("model", "complaint"), [
    ({"connector": {"factor": 4}}, "model.connector.factor: is 4, and the start START has 2. Leave `connector` out"),
    ({"connector": {"kind": "mlp"}}, "model.connector.kind: is mlp, and the start START has pixel_shuffle."),
    ({"vision": {"fresh_norm": False}}, "model.vision.fresh_norm: is False, and the start START has True."),
    ({"vision": {"layer": 2}}, "model.vision.layer: is 2 with 1 tail blocks, and the start START has 1 with 1."),
    ({"lora": {"rank": 1}}, "model.lora.rank: is 1, and the start START has 2. Adapters can only be widened;"),
    ({"visoin": {}}, "model.visoin: unknown key. Did you mean `vision`?"),
    ([], "model: input should be a valid dictionary"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_setting_to_change(make_start, recipe, tmp_path, model, complaint):
    folder = make_start()
    with pytest.raises(SensoriumError) as caught:
        recipe(folder, model) if model else load_recipe(_with(tmp_path, folder, model=[]))
    assert complaint.replace("START", str(folder)) in str(caught.value)


def _with(tmp_path: Path, start: Path, **changes: Any) -> Path:
    stage = {"name": "more", "objective": "replies", "learning_rates": NOTHING}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "x", "data": "d", "start": str(start), "stages": [stage]} | changes))
    return path


def test_trained_blocks_do_not_fall_out_of_the_tail(make_start, recipe, tiny_model_tree):
    folder = make_start(vision=tiny_model_tree["vision"] | {"tail_blocks": 2})
    with pytest.raises(SensoriumError, match=r"model.vision.tail_blocks: is 1, and .* has 2 trained"):
        recipe(folder, {"vision": {"layer": 2, "tail_blocks": 1}})
    whole = make_start("whole", vision=tiny_model_tree["vision"] | {"layer": 2, "tail_blocks": 0})
    with pytest.raises(SensoriumError, match="has the whole tower trained"):
        recipe(whole, {"vision": {"layer": 1, "tail_blocks": 1}})
    unseen = make_start("frozen", ("connector",), vision=tiny_model_tree["vision"] | {"layer": 2, "tail_blocks": 0})
    assert recipe(unseen, {"vision": {"layer": 1, "tail_blocks": 1}}).model.vision.tail_blocks == 1


def test_adapters_do_not_come_over_a_language_model_that_no_part_could_give_back(make_start, recipe):
    folder = make_start(lora=None)
    with pytest.raises(SensoriumError, match=r"model.lora: the language model of .* was trained itself.*export hf"):
        recipe(folder, {"lora": {"rank": 2}})
    with pytest.raises(SensoriumError, match=r"stages\[0\].lora: the language model of the start was trained itself"):
        recipe(folder, lora={"rank": 2})


def test_a_start_that_is_none_is_one_line(recipe, make_start, tmp_path):
    with pytest.raises(SensoriumError, match="there is no such model folder"):
        recipe(tmp_path / "nowhere")
    with pytest.raises(SensoriumError, match=r"second.yaml: start: expected a model, found 3"):
        load_recipe(_with(tmp_path, make_start()).rename(tmp_path / "second.yaml"), ["start=3"])
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf" / "sensorium.json").write_text("{}")
    with pytest.raises(SensoriumError, match=r"was exported for llama\.cpp"):
        recipe(tmp_path / "gguf")


def test_other_parts_than_the_starts_are_refused_and_copies_of_them_are_not(
    make_start, recipe, tiny_parts, tmp_path, own_cache
):
    folder, copied = make_start(), tmp_path / "copied"
    shutil.copytree(tiny_parts["language"], copied)
    moved = recipe(folder, {"language": {"part": str(copied)}})
    assert _started(moved) is not None
    (copied / "config.json").write_text((copied / "config.json").read_text() + " ")
    for act in (lambda: _started(moved), lambda: preview(moved, 1, _quietly)):
        with pytest.raises(SensoriumError, match=r"model.language.part: .*copied is not what .* was trained with"):
            act()


def test_a_damaged_start_is_found_by_the_plan_already(make_start, recipe):
    folder = make_start()
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "trained.safetensors")
    del tensors["connector.linear_1.weight"]
    save_file(tensors, folder / "trained.safetensors")
    with pytest.raises(SensoriumError, match=r"1 tensors differ, first connector.linear_1.weight"):
        preview(recipe(folder), 1, _quietly)


def test_a_run_goes_on_from_its_own_start_and_from_no_other(make_start, recipe, tmp_path, monkeypatch):
    """Bit for bit; the start may have moved meanwhile, and may not have changed."""
    rates = {"connector": 1e-3, "tokens": 1e-3, "language": 1e-3}
    folder, run, real, calls = make_start(), tmp_path / "run", loop.train_step, []
    whole = train(recipe(folder, learning_rates=rates), tmp_path / "whole", say=lambda line: None)

    def stopping(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGINT)
        return real(*args)

    monkeypatch.setattr(loop, "train_step", stopping)
    assert train(recipe(folder, learning_rates=rates), run, say=lambda line: None) is None
    moved = folder.rename(tmp_path / "moved")
    config = (moved / "config.json").read_text()
    (moved / "config.json").write_text(config.replace('"first"', '"other"'))
    for act in (train, lambda recipe, run: preview(recipe, 1, _quietly, run)):
        with pytest.raises(SensoriumError, match=r"was begun from .*start as it then was; .*moved is another"):
            act(recipe(moved, learning_rates=rates), run)
    (moved / "config.json").write_text(config)
    made = train(recipe(moved, learning_rates=rates), run, say=lambda line: None)
    files = [(path / "trained.safetensors").read_bytes() for path in (made, whole)]
    assert files[0] == files[1]


def test_a_recipe_may_pin_its_start_and_is_read_again_as_it_was_resolved(make_start, recipe, tmp_path):
    folder = make_start()
    wanted = recipe(folder)
    assert wanted.start == StartConfig(model=str(folder), sha256=start_identity(folder), trained=ALL)
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(wanted.model_dump(mode="json")))
    assert load_recipe(tmp_path / "again.yaml") == wanted
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    with pytest.raises(SensoriumError, match=r"start.sha256: .* is no longer what the recipe pins"):
        load_recipe(tmp_path / "again.yaml")
    with pytest.raises(SensoriumError, match="has changed since the recipe was read"):
        load_start(wanted.model.build(), wanted.start)


def test_slices_go_on_from_a_start_too(make_start, recipe, tmp_path, processes):
    """Two processes, each with its slices, of a start with adapters and of one whose language model was trained."""
    for name, changes in (("adapters", {}), ("whole", {"lora": None})):
        wanted = recipe(make_start(name, **changes), accumulate=2)
        alone = train(wanted, tmp_path / f"{name}-alone", say=lambda line: None)
        tree = json.loads(wanted.model_dump_json()) | {"parallel": "fsdp"}
        assert processes(tree, tmp_path / f"{name}-shared") == 0
        shared = tmp_path / f"{name}-shared" / "model"
        assert all(torch.equal(p, read_trained(shared)[n]) for n, p in read_trained(alone).items())
        losses = [next(row["loss"] for row in read_journal(run.parent / "journal.jsonl") if "loss" in row)
                  for run in (alone, shared)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
