"""Folders as other people publish them, tiny and random: real architectures, their processors and chat templates.

A folder holds what a hub's does: config, safetensors, tokenizer, and the processor's settings by its class's name.
Towers have patches of 8x8 pixels and two layers of width 32, so a picture takes a handful of tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for p in m['content'] %}{% if p['type'] == 'image' %}PICTURE{% else %}{{ p['text'] }}{% endif %}{% endfor %}"
    "{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 1024, "initializer_range": 0.2}  # fmt: skip
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8}
SIGLIP = {**TOWER, "model_type": "siglip_vision_model", "image_size": 32, "vision_use_head": False}
SQUARE = {"height": 32, "width": 32}
Parts = tuple[Any, Any, Any, dict[str, Any]]  # model, its picture processor, tokenizer, what the processor's file says


class Maker:
    """A tokenizer with these marks, the template with `shown` where a picture is, and a language model's config."""

    def __init__(self, tokenizer_maker: Callable[..., Any], shown: str, *marks: str) -> None:
        special = ["<|im_start|>", "<|im_end|>", *marks]
        self.tokenizer = tokenizer_maker(TEMPLATE.replace("PICTURE", shown), special, None, "<|im_end|>")
        self.ids = dict(zip(marks, self.tokenizer.convert_tokens_to_ids(list(marks)), strict=True))

    def text(self, kind: str, **more: Any) -> dict[str, Any]:
        end = self.tokenizer.eos_token_id
        ends = {"eos_token_id": end, "bos_token_id": None, "pad_token_id": end}
        return {**TEXT, **ends, "model_type": kind, "vocab_size": len(self.tokenizer), **more}


QWEN_MARKS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def _qwen(tokenizer_maker: Callable[..., Any], name: str, tower: dict[str, Any], **text: Any) -> Parts:
    """Pictures of any size, positions in three directions; its processor has a part for videos."""
    import transformers as t

    made = Maker(tokenizer_maker, "<|vision_start|><|image_pad|><|vision_end|>", *QWEN_MARKS)
    start, end, image, video = made.ids.values()
    kind = {"Qwen2_5_VL": "qwen2_5_vl_text", "Qwen3VL": "qwen3_vl_text"}[name]
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
    config = getattr(t, f"{name}Config")(
        text_config=made.text(kind, rope_parameters=rope, **text),
        vision_config={"depth": 2, "hidden_size": 32, "out_hidden_size": 32, "num_heads": 2, "intermediate_size": 64,
                       "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2, **tower},
        image_token_id=image, video_token_id=video, vision_start_token_id=start, vision_end_token_id=end,
    )  # fmt: skip
    pictures = t.Qwen2VLImageProcessor(patch_size=4, merge_size=2, temporal_patch_size=2,
                                       size={"shortest_edge": 64 * 4, "longest_edge": 64 * 16})  # fmt: skip
    model = getattr(t, f"{name}ForConditionalGeneration")(config)
    return model, pictures, made.tokenizer, {"processor_class": f"{name}Processor"}


def qwen2_5_vl(tokenizer_maker: Callable[..., Any]) -> Parts:
    return _qwen(tokenizer_maker, "Qwen2_5_VL", {"window_size": 16, "fullatt_block_indexes": [1]})


def qwen3_vl(tokenizer_maker: Callable[..., Any]) -> Parts:
    return _qwen(tokenizer_maker, "Qwen3VL", {"deepstack_visual_indexes": [0], "num_position_embeddings": 64},
                 head_dim=8)  # fmt: skip


def internvl(tokenizer_maker: Callable[..., Any]) -> Parts:
    """Pictures cut into tiles, 2x2 patches made one; its processor has a part for videos."""
    import transformers as t

    made = Maker(tokenizer_maker, "<IMG_CONTEXT>\n", "<IMG_CONTEXT>", "<img>", "</img>", "<video>")
    config = t.InternVLConfig(
        text_config=made.text("qwen2"), vision_config={**TOWER, "image_size": [32, 32], "patch_size": [8, 8]},
        image_token_id=made.ids["<IMG_CONTEXT>"], image_seq_length=4, downsample_ratio=0.5,
    )  # fmt: skip
    names = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
             "video_token": "<video>"}  # fmt: skip
    pictures = t.GotOcr2ImageProcessor(size=SQUARE, crop_to_patches=True, min_patches=1, max_patches=4)
    made.tokenizer.init_kwargs["extra_special_tokens"] = names
    return t.InternVLForConditionalGeneration(config), pictures, made.tokenizer, {
        "processor_class": "InternVLProcessor", "image_seq_length": 4}  # fmt: skip


def gemma3(tokenizer_maker: Callable[..., Any]) -> Parts:
    """Its pictures' tokens see one another; the processor's token for a picture is not the one of its features."""
    import transformers as t

    names = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    made = Maker(tokenizer_maker, "<start_of_image>", *names.values())
    start, end, image = made.ids.values()
    config = t.Gemma3Config(
        text_config=made.text("gemma3_text", head_dim=8), vision_config=SIGLIP, mm_tokens_per_image=4,
        boi_token_index=start, eoi_token_index=end, image_token_index=image,
    )  # fmt: skip
    made.tokenizer.init_kwargs["extra_special_tokens"] = names
    return t.Gemma3ForConditionalGeneration(config), t.Gemma3ImageProcessor(size=SQUARE), made.tokenizer, {
        "processor_class": "Gemma3Processor", "image_seq_length": 4}  # fmt: skip


def llava_next(tokenizer_maker: Callable[..., Any]) -> Parts:
    """Tiles of a grid that fits the picture, their padding cut off, and the picture as a whole."""
    import transformers as t

    made = Maker(tokenizer_maker, "<image>", "<image>")
    grids = [[32, 64], [64, 32], [64, 64]]
    config = t.LlavaNextConfig(
        text_config=made.text("llama"), vision_config={**TOWER, "model_type": "clip_vision_model", "image_size": 32},
        image_token_index=made.ids["<image>"], image_grid_pinpoints=grids, vision_feature_layer=-2,
    )  # fmt: skip
    pictures = t.LlavaNextImageProcessor(size={"shortest_edge": 32}, crop_size=SQUARE, image_grid_pinpoints=grids)
    return t.LlavaNextForConditionalGeneration(config), pictures, made.tokenizer, {
        "processor_class": "LlavaNextProcessor", "patch_size": 8, "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1}  # fmt: skip


def aya_vision(tokenizer_maker: Callable[..., Any]) -> Parts:
    """A processor that writes marks of its own before each tile."""
    import transformers as t

    tiles = ("TILE_GLOBAL", *(f"TILE_{number}" for number in range(1, 5)))
    made = Maker(tokenizer_maker, "<image>", "<image>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>",
                 "<|IMG_LINE_BREAK|>", *tiles)  # fmt: skip
    config = t.AyaVisionConfig(
        text_config=made.text("cohere2", head_dim=8), vision_config=SIGLIP, vision_feature_layer=-1,
        image_token_index=made.ids["<|IMG_PATCH|>"], downsample_factor=2, adapter_layer_norm_eps=1e-6,
    )  # fmt: skip
    pictures = t.GotOcr2ImageProcessor(size=SQUARE, crop_to_patches=True, min_patches=1, max_patches=4)
    return t.AyaVisionForConditionalGeneration(config), pictures, made.tokenizer, {
        "processor_class": "AyaVisionProcessor", "patch_size": 8, "img_size": 32, "downsample_factor": 2}  # fmt: skip


# What the picture of 640x480 costs by each one's rule: patches of 8 pixels on sides of 32, unless said otherwise.
CHECKPOINTS: dict[str, tuple[Callable[..., Parts], int]] = {
    "qwen2_5_vl": (qwen2_5_vl, 12),  # at most 16 of 8x8 pixels, 4:3
    "qwen3_vl": (qwen3_vl, 12),
    "internvl": (internvl, 5 * 4),  # four tiles and the whole, 4x4 patches as 2x2
    "gemma3": (gemma3, 4),
    "llava_next": (llava_next, 16 + 6 * (8 + 1)),  # the whole; 64x48 of its 64x64, each row with an end
    "aya_vision": (aya_vision, 5 * 4),
}


def write_checkpoint(name: str, tokenizer_maker: Callable[..., Any], folder: Path) -> Path:
    """The folder of one of CHECKPOINTS."""
    with torch.random.fork_rng():
        torch.manual_seed(6)
        model, pictures, tokenizer, processor = CHECKPOINTS[name][0](tokenizer_maker)
    for part in (model, pictures, tokenizer):
        part.save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps(processor))
    _name_tokens(folder / "tokenizer_config.json", tokenizer.init_kwargs.get("extra_special_tokens"))
    return folder


def _name_tokens(path: Path, names: dict[str, str] | None) -> None:
    """As published tokenizers say which of their tokens are whose: `extra_special_tokens` by name."""
    if names:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"extra_special_tokens": names}))
