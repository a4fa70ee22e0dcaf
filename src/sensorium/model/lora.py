"""A linear layer and its adapter as one function, for training: y = x W' + (x A') (s B)'.

Written out step by step, an adapter's product, its scaling and the sum are three passes over memory as wide as the
layer's output, forwards and backwards, for a few per cent of the arithmetic. Here the second product adds onto the
first where it stands. peft still owns the adapters: their tensors, names and merging.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def fuse_adapters(language: nn.Module, adapter: str) -> None:
    """Let peft's plain linear layers run as one function wherever that gives the same."""
    from peft.tuners.lora.layer import Linear

    for module in language.modules():
        if type(module) is Linear and type(module.base_layer) is nn.Linear:  # quantized ones have ways of their own
            module.forward = partial(_forward, module, adapter, module.forward)  # type: ignore[method-assign]


def _forward(layer: Any, adapter: str, plain: Callable[..., Tensor], x: Tensor) -> Tensor:
    base = layer.base_layer
    dropout = layer.lora_dropout[adapter]
    if (
        layer.merged or layer.disable_adapters or layer.active_adapters != [adapter] or adapter in layer.lora_variant
        or base.weight.requires_grad or base.bias is not None or not isinstance(dropout, nn.Identity)
        or not layer.lora_A[adapter].weight.requires_grad  # frozen adapters need nothing kept for them
    ):
        return plain(x)
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    a, b = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    x, weight, a, b = (tensor.to(dtype) for tensor in (x, base.weight, a, b))
    return _AdaptedLinear.apply(x, weight, a, b, layer.scaling[adapter])  # type: ignore[no-any-return, no-untyped-call]


class _AdaptedLinear(torch.autograd.Function):
    """x [..., in], frozen weight [out, in], a [rank, in], b [out, rank], all of one dtype -> [..., out]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, a: Tensor, b: Tensor, scaling: float) -> Tensor:  # type: ignore[override]
        rows = x.flatten(0, -2)
        low = rows @ a.T
        scaled = b * scaling
        output = (rows @ weight.T).addmm_(low, scaled.T)
        ctx.save_for_backward(rows, weight, a, scaled, low)
        ctx.shape, ctx.scaling = x.shape, scaling
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        rows, weight, a, scaled, low = ctx.saved_tensors
        g = gradient.reshape(len(rows), -1)
        of_low = g @ scaled
        of_x = (g @ weight).addmm_(of_low, a).view(ctx.shape) if ctx.needs_input_grad[0] else None
        return of_x, None, of_low.T @ rows, (g.T @ low) * ctx.scaling, None
