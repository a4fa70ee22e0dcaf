"""Where a model runs: one rule for training and for answering."""

from __future__ import annotations

import torch


def best_device() -> torch.device:
    """The CUDA GPU when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
