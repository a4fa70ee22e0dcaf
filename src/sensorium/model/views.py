"""A picture's views: which square crops the encoder sees, as normalised pixels.

One view a picture for now, `squash` (resize to the square, as InternVL does for its tiles and llama.cpp repeats) or
`pad` (to a square of the mean colour first, as LLaVA-1.5 does). Boxes are fractions of the whole picture, so squashing
keeps them; `pad` does not, and says so to whoever maps boxes back.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from sensorium.media.square import Fit, to_square


class ViewsConfig(BaseModel):
    """fit: how a picture becomes a square; mean, std: per RGB channel, of pixels 0–1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fit: Fit = "squash"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


def make_views(picture: Image.Image, config: ViewsConfig, size: int) -> Tensor:
    """RGB picture -> pixels [views, 3, size, size], float32, normalised. One view: [1, 3, size, size]."""
    small = to_square(picture, size, config.fit, config.mean)
    pixels = torch.from_numpy(np.asarray(small, dtype=np.float32) / 255.0).permute(2, 0, 1)
    mean, std = torch.tensor(config.mean)[:, None, None], torch.tensor(config.std)[:, None, None]
    return ((pixels - mean) / std)[None]
