"""`sensorium info`: numbers worked out by hand from the architectures' published shapes."""

from __future__ import annotations

import json

import pytest
from PIL import Image

RECIPE = """
name: tiny
data: nowhere
precision: bfloat16
model:
  vision: {part: dinov2-small, layer: 9, tail_blocks: 1, fresh_norm: true}
  connector: {kind: pixel_shuffle, factor: 4}
  language: {part: smollm2-135m-instruct}
stages:
  - {name: align, objective: replies, samples: 8, learning_rates: {vision: 1.0e-4, connector: 1.0e-3}}
  - name: instruct
    objective: replies
    samples: 8
    lora: {rank: 8}
    learning_rates: {connector: 1.0e-3, tokens: 1.0e-3, language: 1.0e-4}
"""
# DINOv2 ViT-S/14: per block two norms, four projections with biases, two LayerScales, an MLP of 4 times the width.
BLOCK = 2 * 2 * 384 + 4 * (384 * 384 + 384) + 2 * 384 + (384 * 1536 + 1536) + (1536 * 384 + 384)
# Class token, mask token, position table of 37x37 and the class, patches of 14x14x3, the last norm (unused, kept).
EMBEDDING = 384 + 384 + 1370 * 384 + (14 * 14 * 3 * 384 + 384) + 2 * 384
SMOLLM2 = 134_515_008  # SmolLM2-135M, embeddings tied
# Rank 8 on each linear layer of SmolLM2's 30 blocks: rank * (in + out); 3 key-value heads of 64.
LORA = 30 * 8 * ((576 + 576) * 2 + (576 + 192) * 2 + (576 + 1536) * 3)


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def found(sensorium, recipe):
    return json.loads(sensorium("info", recipe, "--size", "800x600", "--json").out)


def test_parameters_of_each_module(found):
    wide = 384 * 16  # 4x4 patches side by side
    assert found["parameters"] == {
        "tokens": 7 * 576,
        "vision stem": EMBEDDING + 9 * BLOCK,
        "vision tail": BLOCK + 2 * 384,
        "connector": 2 * wide + (wide * 576 + 576) + (576 * 576 + 576),
        "language": SMOLLM2,
        "lora": LORA,
        "total": sum(count for name, count in found["parameters"].items() if name != "total"),
    }


def test_visual_tokens_and_memory(found):
    assert found["picture"] == {
        "width": 800, "height": 600, "views": 1, "view": [224, 224], "way": "squashed to 224x224 pixels",
        "any_size": True,
    }
    assert found["visual_tokens"] == (16 // 4) ** 2
    total = found["parameters"]["total"]
    assert found["memory_bytes"] == {"float32": 4 * total, "bfloat16": 2 * total}


def test_it_says_that_the_size_of_a_picture_costs_nothing(sensorium, recipe):
    small, large = (sensorium("info", recipe, "--size", size).out for size in ("64x48", "4000x3000"))
    assert "squashed to 224x224 pixels, whatever its size" in small
    assert small.replace("64x48", "4000x3000") == large


def test_what_trains_in_each_stage_and_its_memory(found):
    counts = found["parameters"]
    align, instruct = found["stages"]
    assert align["trainable"] == {"vision": counts["vision tail"], "connector": counts["connector"]}
    assert instruct["trainable"] == {"connector": counts["connector"], "tokens": counts["tokens"], "language": LORA}
    # AdamW in float32: weight, gradient and two moments; the frozen language model in bfloat16, all else in float32.
    trained = counts["vision tail"] + counts["connector"]
    frozen = counts["vision stem"] + counts["tokens"]
    assert align["memory_bytes"] == 16 * trained + 4 * frozen + 2 * SMOLLM2


def test_the_table_shows_licences(sensorium, recipe):
    out = sensorium("info", recipe).out
    assert "Apache-2.0" in out and "dinov2-small" in out and "134,515,008" in out


def test_a_model_folder_has_the_same_numbers_as_the_model_itself(sensorium, model_folder, small_engine):
    counts = json.loads(sensorium("info", model_folder, "--json").out)["parameters"]
    # The engine has merged the adapters, so they are not counted in its model.
    assert counts["total"] - counts["lora"] == sum(p.numel() for p in small_engine.model.parameters())


@pytest.fixture
def exported(tmp_path):
    """What `export gguf` writes, but for what is in the GGUF files; pictures of up to four tiles with a small whole."""
    from sensorium.media.sight import ViewsConfig
    from sensorium.media.tiles import InternVLTiles
    from sensorium.model.gguf_folder import GgufFolder

    folder = tmp_path / "gguf"
    folder.mkdir()
    (folder / "model.gguf").write_bytes(bytes(3_000_000))
    (folder / "mmproj.gguf").write_bytes(bytes(1_000_000))
    views = ViewsConfig(tiles=InternVLTiles(max_tiles=4))
    GgufFolder(folder, "q8_0", 224, 28, views, 8192, "part: MIT", {"recipe": "mine"}).write()
    return folder


def test_a_folder_that_was_exported_for_llama_cpp_is_described(sensorium, exported):
    found = json.loads(sensorium("info", exported, "--size", "448x448", "--json").out)
    assert found["file_bytes"] == {"model.gguf": 3_000_000, "mmproj.gguf": 1_000_000}
    assert (found["visual_tokens"], found["context_length"]) == ((4 + 1) * (224 // 28) ** 2, 8192)
    said = sensorium("info", exported, "--size", "448x448").out
    assert "exported for llama.cpp, the language model in q8_0" in said and "model.gguf        3 MB" in said
    assert "takes 320 visual tokens" in said and "licence: part: MIT" in said and "recipe: mine" in said
    fewer = json.loads(sensorium("info", exported, "--visual-tokens", 20, "--json").out)
    assert fewer["visual_tokens"] <= 20 and fewer["compression"]["compressor"] == "pool"
    assert "this one is for llamacpp" in sensorium(
        "info", exported, "--visual-tokens", 20, "--compressor", "fastv").error
    (exported / "mmproj.gguf").unlink()
    assert "mmproj.gguf: is missing" in sensorium("info", exported).error


def test_a_video_costs_what_its_own_size_does(sensorium, exported, film, tmp_path):
    """Frames of 64x48 are one view of 8x8 tokens each; a picture of 640x480 were cut into four, and the whole."""
    clip = film(tmp_path / "clip.mp4", [40, 80] * 4)
    found = json.loads(sensorium("info", exported, "--video", clip, "--json").out)
    assert (found["frames"], found["visual_tokens"]) == (8, 8 * 64)


def test_what_a_video_costs_is_told_before_it_is_watched(sensorium, recipe, film, tmp_path):
    clip = film(tmp_path / "clip.mp4", range(40, 240, 5), sound_s=1)
    found = json.loads(sensorium("info", recipe, "--video", clip, "--sampling", "fps:2", "--json").out)
    assert (found["frames"], found["visual_tokens"], found["context_length"]) == (8, 8 * 16, 8192)
    assert (found["duration_s"], found["width"], found["height"], found["has_sound"]) == (4.0, 64, 48, True)
    said = sensorium("info", recipe, "--video", clip, "--frames", 5).out
    assert "0:04 of 64x48, 10 frames a second, h264, with sound" in said and "take 80 visual tokens of 8,192" in said


def test_frames_are_drawn_side_by_side_as_the_sampling_chose_them(sensorium, film, tmp_path):
    """Forty greys in four seconds; two a second are eight, each a little lighter than the one before."""
    clip, out = film(tmp_path / "clip.mp4", range(40, 240, 5)), tmp_path / "frames.png"
    found = json.loads(sensorium("info", clip, "--sampling", "fps:2", "--draw", out, "--json").out)
    times = found["times_s"]
    assert found["drawn"] == str(out) and len(times) == found["frames"] == 8
    with Image.open(out) as strip:
        assert strip.size == (8 * 120, 90)
        greys = [strip.getpixel((120 * number + 60, 60))[0] for number in range(8)]
    assert greys == pytest.approx([40 + 5 * round(10 * time_s) for time_s in times], abs=4)
    said = sensorium("info", clip, "--sampling", "fps:2", "--draw", out)
    assert f"8 frames with their times are in {out}" in said.out


def test_frames_cannot_be_drawn_where_there_is_no_video_or_no_place_for_them(sensorium, film, tmp_path):
    clip = film(tmp_path / "clip.mp4", [40, 80])
    assert "--draw: is about a video" in sensorium("info", "--draw", tmp_path / "frames.png").error
    assert "`.txt` is no picture format" in sensorium("info", clip, "--draw", tmp_path / "frames.txt").error
    assert "its folder does not exist" in sensorium("info", clip, "--draw", tmp_path / "none" / "frames.png").error


def test_a_file_that_ends_like_a_video_is_one(sensorium, film, tmp_path):
    clip = film(tmp_path / "clip.mp4", [40, 80] * 4)
    assert json.loads(sensorium("info", clip, "--json").out)["visual_tokens"] == 8 * 64
    assert "does not exist" in sensorium("info", tmp_path / "none.mp4").error


def test_a_video_that_has_no_room_is_refused_with_what_to_change(sensorium, recipe, film, tmp_path):
    clip = film(tmp_path / "clip.mp4", [40, 80] * 300)
    said = sensorium("info", recipe, "--video", clip, "--frames", 1000).error
    assert "takes 600 frames of 16 visual tokens, 9,600 in all" in said and "(--frames) at most 511" in said
    assert "--frames: is about a video" in sensorium("info", recipe, "--frames", 4).error
    assert "needs subtitles" in sensorium("info", recipe, "--video", clip, "--sampling", "subtitles").error


def test_a_recipe_that_starts_from_a_model_shows_its_parts_and_whose_weights_it_takes_over(sensorium, tmp_path):
    path = tmp_path / "more.yaml"
    stage = "{name: more, objective: replies, learning_rates: {connector: 1.0e-3, language: 1.0e-4}}"
    path.write_text(f"name: more\nstart: default\ndata: nowhere\nstages: [{stage}]\n")
    found, own = (json.loads(sensorium("info", name, "--json").out) for name in (path, "default"))
    assert found["parameters"] == own["parameters"] and found["parts"] == own["parts"]
    assert found["provenance"]["start"] == "default" and len(found["provenance"]["sha256"]) == 64
    [one] = found["stages"]
    assert one["trainable"] == {key: own["parameters"][name] for key, name in
                                (("connector", "connector"), ("language", "lora"))}
    said = sensorium("info", path).out
    assert "stage more (replies, all samples)" in said and "goes on from\n  start: default" in said


def test_what_a_picture_costs_is_told_with_and_without_a_budget(sensorium, picture, recipe):
    whole, fewer = (json.loads(sensorium("info", picture, *options, "--json").out)
                    for options in ((), ("--visual-tokens", 20, "--compressor", "tome")))  # fmt: skip
    assert whole == {"source": str(picture), "width": 1000, "height": 500, "visual_tokens": 64, "context_length": 8192}
    assert fewer == whole | {"visual_tokens": 20, "compression": {"compressor": "tome", "of": 64}}
    said = sensorium("info", recipe, "--image", picture, "--visual-tokens", 9).out
    assert "1000x500 pixels, squashed to 224x224 pixels" in said and "takes 9 visual tokens (by pool, of 16)" in said


@pytest.mark.parametrize(("suffix", "format"), [
    (".tiff", "TIFF"), (".TIF", "TIFF"), (".avif", "AVIF"), (".jp2", "JPEG2000"), (".ppm", "PPM"),
])  # fmt: skip
def test_a_file_that_ends_like_any_picture_that_opens_is_one(sensorium, tmp_path, suffix, format):
    from PIL import Image

    path = tmp_path / f"photo{suffix}"
    Image.new("RGB", (40, 20)).save(path, format)
    found = json.loads(sensorium("info", path, "--json").out)
    assert (found["source"], found["width"], found["height"], found["visual_tokens"]) == (str(path), 40, 20, 64)


def test_a_heic_picture_is_no_model_whether_it_can_be_opened_or_not(sensorium, tmp_path):
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(80))
    said = sensorium("info", path).error
    assert "model" not in said.replace(str(path), "") and ("HEIC" in said or "damaged" in said)
    assert "does not exist" in sensorium("info", tmp_path / "none.heic").error


def test_of_what_leaves_between_layers_it_tells_what_chat_will_do(sensorium, picture):
    """The default has 30 layers: of 64 tokens FastV keeps 21 after two, which makes (2 * 64 + 28 * 21) / 30."""
    options = ("--compressor", "fastv", "--visual-tokens")
    found = json.loads(sensorium("info", picture, *options, 24, "--json").out)
    assert found["visual_tokens"] == 64
    assert found["compression"] == {"compressor": "fastv", "of": 64, "on_average": 23.9}
    assert "64 visual tokens in the prompt, 23.9 on average" in sensorium("info", picture, *options, 24).out
    assert "Allow at least 6" in sensorium("info", picture, *options, 4).error


@pytest.mark.parametrize("way", ["pool", "fastv"])
def test_of_a_budget_that_is_not_needed_nothing_is_said(sensorium, picture, way):
    assert "takes 64 visual tokens, of" in sensorium("info", picture, "--visual-tokens", 64, "--compressor", way).out


def test_a_video_costs_its_frames_with_the_budget_and_a_model_of_others_has_none(sensorium, recipe, film, tmp_path):
    clip = film(tmp_path / "clip.mp4", [40, 80] * 4)
    found = json.loads(sensorium("info", recipe, "--video", clip, "--visual-tokens", 4, "--json").out)
    assert (found["frames"], found["visual_tokens"]) == (8, 8 * 4)
    assert "this one is for remote" in sensorium("info", "http://localhost:1/v1", "--visual-tokens", 4).error
    assert "Add --visual-tokens" in sensorium("info", recipe, "--compressor", "tome").error
    assert "Did you mean `tome`" in sensorium("info", recipe, "--visual-tokens", 4, "--compressor", "tom").error
