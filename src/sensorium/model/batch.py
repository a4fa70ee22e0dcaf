"""What the model is fed: token ids with visual slots, and the pictures (or their cached features) that fill them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from sensorium.model.labels import IGNORE


@dataclass(frozen=True)
class Batch:
    """A padded batch of rendered conversations.

    input_ids [b, t]: token ids; visual slots hold the model's slot id, padding anything.
    attention_mask [b, t]: True for tokens, False for padding (on the right).
    labels [b, t]: the token itself where it is supervised, IGNORE elsewhere. None in use.
    pixel_values [n, 3, h, w]: views of all pictures in the order of their slots, one such tensor for each picture where
    their sizes differ; or
    stem_states [n, prefix + patches, width]: what the frozen stem made of them (the feature cache).
    segments [b, t]: who sees whom, see `model.attention.additive_mask`; None: each row is one conversation.
    position_ids [b, t]: given with segments; each segment counts on from the shared beginning.
    visual_order [m]: which visual token fills each slot, of those of all views in order; None: each its own.
    sample_ids: one name a row, for error messages.
    lost: numbers of samples that should stand in it and could not be read; complaints: why, of each.
    counts: False for a batch that stands in for none: it is run so that others are not waited for, and not counted.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor | None = None
    pixel_values: Tensor | tuple[Tensor, ...] | None = None
    stem_states: Tensor | None = None
    segments: Tensor | None = None
    position_ids: Tensor | None = None
    visual_order: Tensor | None = None
    sample_ids: tuple[str, ...] = ()
    lost: tuple[int, ...] = ()
    complaints: tuple[str, ...] = ()
    counts: bool = True

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        moved: dict[str, Any] = {
            f.name: value.to(device, non_blocking=True)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        if isinstance(self.pixel_values, tuple):
            moved["pixel_values"] = tuple(pixels.to(device, non_blocking=True) for pixels in self.pixel_values)
        return replace(self, **moved)

    @property
    def n_pictures(self) -> int:
        """How many views fill the visual slots."""
        if isinstance(self.pixel_values, tuple):
            return sum(len(pixels) for pixels in self.pixel_values)
        pictures = self.pixel_values if self.stem_states is None else self.stem_states
        return 0 if pictures is None else len(pictures)

    @property
    def n_supervised(self) -> int:
        """How many positions are predicted: labels after the first column."""
        return 0 if self.labels is None else int((self.labels[:, 1:] != IGNORE).sum())
