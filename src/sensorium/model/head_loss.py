"""Head and cross-entropy in one, a few rows at a time: logits of a whole batch never stand in memory.

A thousand supervised positions times a vocabulary of fifty thousand are 200 MB in float32, written and read several
times: logits, their softmax, its gradient. A slice of rows stays in the processor's cache instead, and since the head
is frozen, the gradient with respect to the hidden states is all that has to be kept of it (the idea of fused linear
cross-entropy, Liger Kernel, arXiv:2410.10989, section 3).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = 128  # at once


def head_loss(hidden: Tensor, weight: Tensor, added: Tensor, labels: Tensor, never: int) -> Tensor:
    """Cross-entropy [m] of each row: hidden [m, d], frozen head weight [v, d], added rows [k, d] after it, labels [m].

    never: the added row that is never predicted. Gradients flow to hidden and added.
    """
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    return _HeadLoss.apply(hidden.to(dtype), weight.to(dtype), added.to(dtype), labels, never)  # type: ignore[no-any-return, no-untyped-call]


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, added: Tensor, labels: Tensor, never: int) -> Tensor:  # type: ignore[override]
        m, v = len(hidden), len(weight)
        losses = hidden.new_empty(m, dtype=torch.float32)
        of_hidden, of_added = torch.empty_like(hidden), hidden.new_empty(m, len(added))
        scores = hidden.new_empty(min(m, ROWS), v + len(added), dtype=torch.float32)
        for start in range(0, m, ROWS):
            part = slice(start, min(start + ROWS, m))
            h, label, p = hidden[part], labels[part, None], scores[: part.stop - start]
            p[:, :v] = h @ weight.T
            p[:, v:] = h @ added.T
            p[:, v + never] = torch.finfo(p.dtype).min
            p -= p.amax(-1, keepdim=True)
            of_label = p.gather(1, label)
            p.exp_()
            total = p.sum(-1, keepdim=True)
            losses[part] = (total.log() - of_label)[:, 0]
            p /= total
            p.scatter_add_(1, label, torch.full_like(of_label, -1.0))
            gradient = p.to(hidden.dtype)
            of_added[part] = gradient[:, v:]
            of_hidden[part] = (gradient[:, :v] @ weight).addmm_(gradient[:, v:], added)
        ctx.save_for_backward(hidden, of_hidden, of_added)
        return losses

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, of_hidden, of_added = ctx.saved_tensors
        scaled = [(of * gradient[:, None]).to(hidden.dtype) for of in (of_hidden, of_added)]
        return scaled[0], None, scaled[1].T @ hidden, None, None
