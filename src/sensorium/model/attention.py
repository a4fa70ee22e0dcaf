"""Grouped-query attention by plain matrix products, for training on CPUs.

PyTorch's fused attention is made for long sequences and GPUs; for the few hundred tokens of a conversation, forward and
backward in bfloat16 on a CPU, two batched products and a softmax are two to three times faster, and the query heads of
one key head share a product, so keys and values are never repeated. `benchmarks/train_step.py` measures it.

Registered with transformers under the name `grouped`; a language model takes it by `set_attn_implementation`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

NAME = "grouped"


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """query [b, heads, t, d], key and value [b, key heads, s, d], additive mask [b, 1, t, s] -> [b, t, heads, d].

    No mask means that everything is seen, as a single new token with its cache does.
    """
    b, heads, t, d = query.shape
    key_heads, s = key.shape[1], key.shape[2]
    rows = (query * scaling).reshape(b, key_heads, heads // key_heads * t, d)
    scores = torch.matmul(rows, key.transpose(-1, -2)).view(b, heads, t, s)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(-1).to(value.dtype).view(b, key_heads, heads // key_heads * t, s)
    return torch.matmul(weights, value).view(b, heads, t, d).transpose(1, 2).contiguous(), None


def use_grouped_attention(language: nn.Module) -> None:
    """Switch a transformers language model to it. It must be given additive masks from then on."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    AttentionInterface.register(NAME, grouped_attention)
    AttentionMaskInterface.register(NAME, eager_mask)
    language.set_attn_implementation(NAME)  # type: ignore[operator]


def additive_mask(segments: Tensor, dtype: torch.dtype) -> Tensor:
    """Who sees whom -> [b, 1, t, t], 0 where position i may look at j and the smallest number where not.

    segments [b, t]: 0 is seen by all that follow (a shared beginning), k > 0 only by its own segment, -1 is padding.
    Nobody looks ahead. Padding sees itself, so that its softmax is defined.
    """
    t = segments.shape[1]
    causal = torch.ones(t, t, dtype=torch.bool, device=segments.device).tril()
    mine = segments[:, :, None] == segments[:, None, :]
    shared = segments[:, None, :] == 0
    seen = causal & (mine | (shared & (segments >= 0)[:, :, None]))
    mask = torch.zeros(seen.shape, dtype=dtype, device=segments.device)
    return mask.masked_fill(~seen, torch.finfo(dtype).min)[:, None]
