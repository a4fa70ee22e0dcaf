"""Vision encoder and connector as llama.cpp's `mmproj` file, projector type `internvl`.

No projector there is called DINOv2, but the `internvl` graph computes exactly its blocks (norm, attention, LayerScale,
MLP), then our connector. Two things differ and are mended here: it puts the class token after the patches, so the
position table is written in that order; and it has no table to interpolate, so the table is written for our grid.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.export.gguf_weights import Weights
from sensorium.media.tiles import InternVLTiles, TilesConfig
from sensorium.model.connectors import PixelShuffleConfig
from sensorium.model.gguf_folder import NotInLlamaCpp
from sensorium.model.multimodal import ModelConfig, MultimodalModel

_BLOCK = {
    "norm1": "ln1",
    "attention.q_proj": "attn_q",
    "attention.k_proj": "attn_k",
    "attention.v_proj": "attn_v",
    "attention.o_proj": "attn_out",
    "norm2": "ln2",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}
_SCALES = {"layer_scale1": "ls1", "layer_scale2": "ls2"}


def require_internvl(config: ModelConfig) -> None:
    """Raises NotInLlamaCpp with the setting that the `internvl` graph has no place for, as far as it is configured."""
    if not isinstance(config.connector, PixelShuffleConfig):
        raise _unlike("connector", f"is `{config.connector.kind}`; only `pixel_shuffle` is written")
    if not config.vision.fresh_norm:
        raise _unlike("vision.fresh_norm", "is false; llama.cpp's graph ends with a norm")
    if config.views.fit != "squash":
        raise _unlike("views.fit", f"is `{config.views.fit}`; llama.cpp squashes pictures")
    if config.views.tiles is not None and not _is_internvl(config.views.tiles):
        raise _unlike("views.tiles", "are none that llama.cpp cuts; only `internvl` with its thumbnail is written")


def _is_internvl(tiles: TilesConfig) -> bool:
    return isinstance(tiles, InternVLTiles) and tiles.thumbnail


def require_dinov2(model: MultimodalModel) -> None:
    """Raises NotInLlamaCpp when the tower computes something else than the `internvl` graph."""
    config: Any = model.vision.stem.config
    if config.model_type != "dinov2" or getattr(config, "use_swiglu_ffn", False):
        raise _unlike("vision.part", f"is `{config.model_type}`; only DINOv2 without SwiGLU is written")


def write_vision(model: MultimodalModel, path: Path, name: str) -> None:
    """The file of a model that both checks let pass, in float16. Raises OSError when the disk is full."""
    from gguf import GGUFWriter

    vision = model.vision
    stem: Any = vision.stem
    tower = stem.config
    blocks: list[nn.Module] = [*stem.encoder.layer, *vision.tail]
    writer = GGUFWriter(path, "clip")
    writer.add_name(name)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("internvl")
    writer.add_vision_image_size(vision.config.image_size)
    writer.add_vision_patch_size(vision.patch_size)
    writer.add_vision_embedding_length(vision.width)
    writer.add_vision_feed_forward_length(blocks[0].get_submodule("mlp.fc1").out_features)  # type: ignore[arg-type]
    writer.add_vision_block_count(len(blocks))
    writer.add_vision_head_count(tower.num_attention_heads)
    writer.add_vision_attention_layernorm_eps(tower.layer_norm_eps)
    writer.add_vision_projection_dim(model.added_embeddings.shape[1])
    writer.add_vision_image_mean(list(model.config.views.mean))
    writer.add_vision_image_std(list(model.config.views.std))
    writer.add_vision_use_gelu(True)
    writer.add_vision_projector_scale_factor(model.connector.factor)  # type: ignore[arg-type]
    tiles = model.config.views.tiles
    least, most = (tiles.min_tiles, tiles.max_tiles) if isinstance(tiles, InternVLTiles) else (1, 1)
    writer.add_vision_preproc_min_tiles(least)
    writer.add_vision_preproc_max_tiles(most)
    weights = Weights(writer, "f16")
    patches = stem.embeddings.patch_embeddings.projection
    weights.add_matrix("v.patch_embd.weight", patches.weight)
    weights.add_exact("v.patch_embd.bias", patches.bias)
    weights.add_exact("v.class_embd", stem.embeddings.cls_token.flatten())
    weights.add_exact("v.position_embd.weight", _positions(model))
    for number, block in enumerate(blocks):
        for ours, theirs in _BLOCK.items():
            _add(weights, f"v.blk.{number}.{theirs}", block.get_submodule(ours))
        for ours, theirs in _SCALES.items():
            scale: Tensor = block.get_submodule(ours).lambda1  # type: ignore[assignment]
            weights.add_exact(f"v.blk.{number}.{theirs}.weight", scale)
    _add(weights, "v.post_ln", vision.norm)
    connector: Any = model.connector
    for place, layer in ((0, connector.norm), (1, connector.linear_1), (3, connector.linear_2)):
        _add(weights, f"mm.model.mlp.{place}", layer)
    weights.finish()


def _add(weights: Weights, name: str, layer: Any) -> None:
    if layer.weight.dim() == 1:
        weights.add_exact(f"{name}.weight", layer.weight)
    else:
        weights.add_matrix(f"{name}.weight", layer.weight)
    weights.add_exact(f"{name}.bias", layer.bias)


def _positions(model: MultimodalModel) -> Tensor:
    """The position table [patches + 1, width] of our grid, the class position last."""
    vision = model.vision
    stem: Any = vision.stem
    side = vision.config.image_size
    rows, columns = vision.grid
    with torch.inference_mode():
        like = torch.zeros(1, 1 + rows * columns, vision.width)
        table = stem.embeddings.interpolate_pos_encoding(like, side, side)[0]
    return torch.cat([table[1:], table[:1]])


def _unlike(where: str, what: str) -> NotInLlamaCpp:
    return NotInLlamaCpp(where, f"{what}.", "Use the torch engine, or export the model with `sensorium export hf`.")
