"""The vision encoder: any `transformers` vision model, cut at a chosen layer, class token dropped.

The tower is split in two for the sake of training on small machines. The *stem* (patch embedding and the first blocks)
stays frozen, so its output for a picture never changes and can be cached on disk; the *tail* (a few more of the
tower's own blocks, a fresh norm) may train, and is cheap because the stem is not run again. With no tail blocks this is
the usual encoder that hands out one hidden layer, as LLaVA does.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from sensorium.errors import SensoriumError
from sensorium.model.pretrained import load_pretrained
from sensorium.parts import converted
from sensorium.progress import ProgressCallback


class VisionConfig(BaseModel):
    """Which encoder, and where it is cut.

    part: a vision model (hub id, folder, package part or known name).
    layer: the hidden state taken, as transformers counts them: k is the output of block k-1, from 1 on; negative
        counts from the end (-2 is LLaVA's choice).
    tail_blocks: how many of the blocks after `layer` follow as the trainable tail.
    fresh_norm: end with a new LayerNorm, for towers whose own last norm belongs to blocks that were cut off.
    image_size: side of the square view in pixels; the position table is interpolated to it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    part: str
    layer: int = -2
    tail_blocks: int = Field(default=0, ge=0)
    fresh_norm: bool = False
    image_size: int = Field(default=224, ge=14, le=4096)

    def build(self, progress: ProgressCallback | None = None) -> VisionEncoder:
        """Load the backbone's weights and cut it.

        Raises SensoriumError when the part cannot be had or the layer does not exist.
        """
        return VisionEncoder(self.load_tower(progress), self)

    def load_tower(self, progress: ProgressCallback | None = None) -> nn.Module:
        """The whole tower in float32, as its part has it. Raises SensoriumError when the part cannot be had."""
        from transformers import AutoModel

        folder = vision_folder(self.part, progress)
        backbone = load_pretrained(AutoModel, folder, self.part, dtype=torch.float32)
        return getattr(backbone, "vision_model", backbone)


def vision_folder(part: str, progress: ProgressCallback | None = None) -> Path | str:
    """A folder that AutoModel reads: package parts are converted once into the cache."""
    from sensorium.model.dinov2_onnx import convert_dinov2_onnx

    return converted(part, "dinov2-1", convert_dinov2_onnx, progress)


class VisionEncoder(nn.Module):
    """pixels [n, 3, h, w] -> features [n, rows*columns, width]; row by row, class token dropped.

    backbone: a transformers vision model that returns `hidden_states`; it is cut in place.
    """

    def __init__(self, backbone: nn.Module, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        if not isinstance(getattr(backbone.config, "patch_size", None), int):
            what = f"{config.part} is a {type(backbone).__name__}, which does not look at pictures in patches."
            raise SensoriumError("vision.part", what, "Name a vision transformer, such as DINOv2, CLIP or SigLIP.")
        blocks_name, blocks = _find_blocks(backbone)
        n_stem = config.layer if config.layer >= 0 else len(blocks) + 1 + config.layer
        if not 1 <= n_stem <= len(blocks) - config.tail_blocks:
            raise SensoriumError(
                "vision.layer",
                f"is {config.layer} with {config.tail_blocks} tail blocks, but {config.part} has {len(blocks)} blocks.",
            )
        self.width: int = backbone.config.hidden_size  # type: ignore[union-attr, assignment]
        self.patch_size: int = backbone.config.patch_size  # type: ignore[union-attr, assignment]
        self.n_layers = n_stem
        kept = list(blocks)
        backbone.get_submodule(blocks_name.rpartition(".")[0]).__setattr__(
            blocks_name.rpartition(".")[2], nn.ModuleList(kept[:n_stem])
        )
        backbone.config.num_hidden_layers = n_stem  # type: ignore[union-attr]
        _drop_pooler(backbone)
        self.stem = backbone
        self.require_whole_patches(config.image_size)
        self.tail = nn.ModuleList(kept[n_stem : n_stem + config.tail_blocks])
        self.norm = nn.LayerNorm(self.width, eps=1e-6) if config.fresh_norm else nn.Identity()

    def require_whole_patches(self, image_size: int) -> None:
        """Raises SensoriumError where patches leave a rim of the view unseen, so that tokens would not stand where they
        seem to. A tower's own size is as it was trained (SigLIP so400m: 384 pixels in patches of 14).
        """
        patch, own = self.patch_size, getattr(self.stem.config, "image_size", None)
        if image_size % patch and image_size != own:
            less = max(patch, image_size // patch * patch)
            raise SensoriumError("image_size", f"is {image_size}, which patches of {patch} pixels do not fill.",
                                 f"Choose {less} or {image_size // patch * patch + patch}.")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches of one square view."""
        side = self.config.image_size // self.patch_size
        return side, side

    def grid_of(self, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of patches of a view of so many pixels."""
        return height // self.patch_size, width // self.patch_size

    def forward(self, pixels: Tensor) -> Tensor:
        return self.finish(self.stem_states(pixels), self.grid_of(pixels.shape[3], pixels.shape[2]))

    def stem_states(self, pixels: Tensor) -> Tensor:
        """pixels [n, 3, h, w] -> hidden states after the last stem block [n, prefix + patches, width].

        This is what the feature cache stores. Only SmolVLM-like towers without class token have prefix 0.
        """
        options = {"interpolate_pos_encoding": True} if _takes(self.stem.forward, "interpolate_pos_encoding") else {}
        output = self.stem(pixels, output_hidden_states=True, **options)
        return output.hidden_states[self.n_layers]

    def keep_positions(self) -> None:
        """Interpolate the position table to the square view once, for use: training, whose table may learn, does it
        at every step. Views of other sizes have theirs interpolated as before.
        """
        embeddings = getattr(self.stem, "embeddings", None)
        interpolate = getattr(embeddings, "interpolate_pos_encoding", None)
        if interpolate is None:
            return
        square, kept = (self.config.image_size, self.config.image_size), list[Tensor]()

        def kept_or_interpolated(states: Tensor, height: int, width: int) -> Tensor:
            if (height, width) != square:
                return interpolate(states, height, width)  # type: ignore[no-any-return]
            if not kept:
                kept.append(interpolate(states, height, width).detach())
            return kept[0]

        embeddings.interpolate_pos_encoding = kept_or_interpolated  # type: ignore[union-attr, assignment]

    def finish(self, states: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """Hidden states after the stem -> features [n, patches, width]; grid: of patches, the square view's if None."""
        for block in self.tail:
            states = block(states, attention_mask=None) if _takes(block.forward, "attention_mask") else block(states)
            states = states[0] if isinstance(states, tuple) else states
        rows, columns = grid or self.grid
        return self.norm(states[:, states.shape[1] - rows * columns :])

    def uncut(self, progress: ProgressCallback | None = None) -> nn.Module:
        """The whole tower anew, this encoder's stem and tail in their places; the fresh norm has none in it."""
        tower = self.config.load_tower(progress)
        _, blocks = _find_blocks(tower)
        tower.load_state_dict(self.stem.state_dict(), strict=False)  # what was cut off stays as the part has it
        for place, block in enumerate(self.tail, start=self.n_layers):
            blocks[place].load_state_dict(block.state_dict())
        return tower.eval()


def _find_blocks(backbone: nn.Module) -> tuple[str, nn.ModuleList]:
    """The list of transformer blocks: the one ModuleList as long as the configuration says."""
    count = backbone.config.num_hidden_layers  # type: ignore[union-attr]
    found = [(n, m) for n, m in backbone.named_modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if len(found) != 1:
        raise SensoriumError(
            type(backbone).__name__, f"has {len(found)} lists of {count} blocks; exactly one was expected."
        )
    return found[0]


def _drop_pooler(backbone: nn.Module) -> None:
    """What comes after the last block (norm, pooling head) is not used: hidden states are taken before it."""
    for name in ("head", "pooler"):
        if isinstance(getattr(backbone, name, None), nn.Module):
            setattr(backbone, name, None)
    if hasattr(backbone, "use_head"):
        setattr(backbone, "use_head", False)  # noqa: B010 (a module's attributes are tensors to the type checker)


def _takes(function: object, argument: str) -> bool:
    return argument in inspect.signature(function).parameters  # type: ignore[arg-type]
