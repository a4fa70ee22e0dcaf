"""DoLa (arXiv:2309.03883): the last layer against an earlier one, the one that differs most from it at this place."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from sensorium.engine.methods.base import Method

if TYPE_CHECKING:
    from torch import Tensor

HALVES_UP_TO = 40  # deeper models have the last 20 layers for `high` and the first 20 for `low`


class LayerContrast(Method):
    """log p of the last layer less log p of the chosen earlier one, among plausible tokens.

    bucket: which half of the layers the earlier one is chosen from, every second of them; the paper takes the high half
    for short answers, the low one for long reasoning. As in the authors' code, early layers go through the head as they
    are, without the last norm, and the embeddings are no layer where the head is tied to them.
    """

    name: ClassVar[str] = "dola"
    passes: ClassVar[int] = 1

    bucket: Literal["low", "high"] = "high"

    def beside(self, conversation: object) -> None:
        return None

    def layers(self, n_layers: int, is_tied: bool) -> tuple[int, ...]:
        first = 0 if not is_tied else 2 if n_layers > 2 else 1
        half = n_layers // 2
        if self.bucket == "low":
            return tuple(range(first, half if n_layers <= HALVES_UP_TO else 20, 2)) or (first,)
        return tuple(range(half if n_layers <= HALVES_UP_TO else n_layers - 20, n_layers, 2))

    def combine(self, logits: Tensor, others: Tensor) -> Tensor:
        last, early = logits.log_softmax(-1), others.log_softmax(-1)
        chosen = divergence(last, early).argmax(0)  # [b]
        places = chosen[None, :, None].expand(1, *last.shape)
        return self.plausible(last, last - early.gather(0, places)[0])


def divergence(last: Tensor, early: Tensor) -> Tensor:
    """Jensen-Shannon divergence in nats of log p [b, v] and each of [m, b, v] -> [m, b].

    As the paper defines it; the authors' code takes both of its divergences the other way round, from the middle.
    """
    p, q = last.exp(), early.exp()
    log_middle = (0.5 * (p + q)).clamp(min=1e-38).log()
    return 0.5 * ((p * (last - log_middle)).sum(-1) + (q * (early - log_middle)).sum(-1))
