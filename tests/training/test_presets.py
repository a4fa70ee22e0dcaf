"""Every recipe that ships reads, and trains as it stands when its parts and its data are exchanged for tiny ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

from sensorium.data.sources import load_sources
from sensorium.training.journal import read_journal
from sensorium.training.loop import train
from sensorium.training.recipe import load_recipe

RECIPES = Path(__file__).parent.parent.parent / "recipes"
PRESETS = sorted(path for path in RECIPES.glob("*.yaml") if not path.stem.startswith("default"))
TINY = [
    "model.vision.image_size=56", "checkpoint_minutes=1000",
    "validation_samples=2",
]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A random CLIP vision tower of three blocks and 4x4 patches, as the presets' encoders are CLIP's and SigLIP's."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2,
                              image_size=56, patch_size=14, projection_dim=16)
    CLIPVisionModel(config).save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Sixteen pictures with a question each."""
    rows = []
    for i in range(16):
        PILImage.new("RGB", (30 + i, 40), (10 * i, 0, 0)).save(tmp_path / f"{i}.png")
        said = [{"from": "human", "value": "<image>\nHow red?"}, {"from": "gpt", "value": f"{i} of 16."}]
        rows.append({"id": str(i), "image": f"{i}.png", "conversations": said})
    (tmp_path / "mix.json").write_text(json.dumps(rows))
    (tmp_path / "data.yaml").write_text("sources: [{format: llava, path: mix.json}]\n")
    return tmp_path / "data.yaml"


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_trains_with_tiny_parts(path, tiny_parts, clip, sources, tmp_path, own_cache):
    recipe = load_recipe(path)
    changes = [*TINY, f"model.vision.part={clip}", f"model.language.part={tiny_parts['language']}", f"data={sources}",
               "model.vision.layer=-1"]
    for number, stage in enumerate(recipe.stages):
        changes += [f"stages.{number}.accumulate=2", f"stages.{number}.batch.max_samples=4"]
        changes += [f"stages.{number}.data={sources}"] * bool(stage.data)
        changes += [f"stages.{number}.image_size=112"] * bool(stage.image_size)
    kind = recipe.model.connector.kind
    small: dict[str, list[str]] = {
        "qformer": ["model.connector={kind: qformer, n_queries: 4, n_layers: 2, width: 64}"],
        "resampler": ["model.connector={kind: resampler, n_queries: 4, n_heads: 2}"],
    }
    changes += small.get(kind, [])
    if recipe.model.language.chat_template:
        changes += ["model.language.chat_template=null"]  # its special tokens are not those of the tiny vocabulary
    tiny = load_recipe(path, changes)
    assert train(tiny, tmp_path / "run", say=lambda line: None) == tmp_path / "run" / "model"
    rows = read_journal(tmp_path / "run" / "journal.jsonl")
    for stage in recipe.stages:
        mine = [row for row in rows if row["stage"] == stage.name and "loss" in row]
        assert mine and sum(row["samples"] for row in mine) == 16
        assert set(mine[0]["lr"]) == set(stage.learning_rates)


@pytest.mark.parametrize("path", sorted((RECIPES / "data").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_presets_sources_read(path):
    assert load_sources(path).sources


def test_every_source_file_that_a_preset_names_is_there():
    for path in PRESETS:
        recipe = load_recipe(path)
        for place in (recipe.data, *(stage.data for stage in recipe.stages)):
            assert place is None or (RECIPES.parent / place).is_file(), (path, place)


def rendered(path: Path, **tokens: Any) -> str:
    import jinja2

    template = load_recipe(path).model.language.chat_template
    messages = [{"role": "user", "content": "Q1"}, {"role": "assistant", "content": "A1"},
                {"role": "user", "content": "Q2"}, {"role": "assistant", "content": "A2"}]
    return jinja2.Template(template).render(messages=messages, **tokens)


def test_llavas_template_is_vicunas_v1():
    head = ("<s>A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
            "detailed, and polite answers to the user's questions.")
    for name in ("llava-1.5", "llava-1.5-lora"):
        said = rendered(RECIPES / f"{name}.yaml", bos_token="<s>", eos_token="</s>")
        assert said == head + " USER: Q1 ASSISTANT: A1</s>USER: Q2 ASSISTANT: A2</s>"


def test_blip_2s_template_is_the_question_and_the_answer():
    said = rendered(RECIPES / "blip-2.yaml", bos_token="</s>", eos_token="</s>")
    assert said == "</s>Q1 A1</s>Q2 A2</s>"
