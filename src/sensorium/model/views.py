"""A picture's views as normalised pixels; which views they are is arithmetic on its size, see `media.sight`."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sensorium.media.sight import Sight, ViewsConfig
from sensorium.media.views import Views

__all__ = ["Sight", "ViewsConfig", "make_views"]


def make_views(picture: Image.Image, sight: Sight, views: Views | None = None) -> Tensor:
    """RGB picture -> pixels [views, 3, h, w], float32, normalised. views: others than the sight's own."""
    cut = (views or sight.views(picture.size)).cut(picture)
    pixels = torch.from_numpy(np.stack([np.asarray(view, dtype=np.float32) for view in cut]) / 255.0)
    mean, std = (torch.tensor(of)[:, None, None] for of in (sight.config.mean, sight.config.std))
    return (pixels.permute(0, 3, 1, 2) - mean) / std
