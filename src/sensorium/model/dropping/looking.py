"""What one token of each prompt looks at in one layer: a single row of attention, read off its queries and keys.

Fused attention hands out no weights, and writing out a whole map for one row of it would cost more than is saved. So
the attention that a language model runs by shows queries and keys to a `Look` that comes with a layer's arguments:
`grouped` does (see `model.attention`), and `looking` is PyTorch's own attention with that added.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sensorium.model import attention

NAME = "looking"


class Seen(Exception):
    """A layer's attention was looked at, and is not needed for more."""


class Look:
    """places [b]: where the token stands that looks. is_glance: the layer need not run on, and Seen is raised.

    paid [b, s]: what that token pays all others, on average over heads; None until a layer showed itself.
    """

    def __init__(self, places: Tensor, is_glance: bool = False) -> None:
        self.places, self.is_glance = places, is_glance
        self.paid: Tensor | None = None

    def __call__(self, query: Tensor, key: Tensor, mask: Tensor | None, scaling: float | None) -> None:
        """query [b, heads, t, d], key [b, key heads, s, d], additive mask [b, 1, t, s]"""
        rows = torch.arange(len(query), device=query.device)
        asking = query[rows, :, self.places].unflatten(1, (key.shape[1], -1))  # [b, key heads, heads of each, d]
        scores = asking @ key.transpose(-1, -2) * (scaling or query.shape[-1] ** -0.5)
        if mask is not None:
            scores = scores + mask[rows, 0, self.places][:, None, None]
        self.paid = scores.softmax(-1, dtype=torch.float32).mean((1, 2))
        if self.is_glance:
            raise Seen


def use_looking_attention(language: nn.Module) -> None:
    """Let a transformers language model's attention be looked at, whichever of ours it runs by."""
    config: Any = language.config
    if config._attn_implementation in (attention.NAME, NAME):
        return
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, _looking_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    language.set_attn_implementation(NAME)  # type: ignore[operator]


def _looking_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **named: Any
) -> tuple[Tensor, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if look := named.pop("look", None):
        look(query, key, attention_mask, named.get("scaling"))
    return sdpa_attention_forward(module, query, key, value, attention_mask, **named)
