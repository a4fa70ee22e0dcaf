"""Which language models can lose tokens on the way, found out by trying.

Llama and its likes can (SmolLM2, Qwen, Mistral, Gemma, mixtures of experts, with windows or without): their layers take
hidden states, and whatever goes with each token by name, and attend by whichever attention they are told.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sensorium.errors import SensoriumError
from sensorium.model.attention import is_softmax_of_products, why_not_by_masks
from sensorium.model.blocks import blocks_of
from sensorium.model.dropping.dropping import Dropping
from sensorium.model.dropping.looking import use_looking_attention
from sensorium.model.dropping.shortening import ARGUMENT, PER_TOKEN, hand_over


def allow_dropping(language: nn.Module, dropping: Dropping) -> None:
    """Prepare a transformers causal language model for `Shortening`; it runs as before without one.

    Raises SensoriumError for a model whose tokens cannot leave, saying why, or one with too few layers.
    """
    config: Any = language.config.get_text_config()  # type: ignore[operator, union-attr]
    dropping.require_room(config.num_hidden_layers)
    if reason := _why_not(language) or _trial(language):
        raise SensoriumError(f"dropping {dropping.name}", f"{type(language).__name__} cannot lose tokens between its "
                             f"layers: {reason}.", "Use a compressor that works before the language model, as `pool`.")


def _why_not(language: nn.Module) -> str:
    config: Any = language.config.get_text_config()  # type: ignore[operator, union-attr]
    if getattr(config, "num_kv_shared_layers", 0):
        return "its later layers use the keys of earlier ones"
    if not is_softmax_of_products(language):
        return "its attention is more than a softmax of products"
    if len(blocks_of(language.get_decoder())) != config.num_hidden_layers:  # type: ignore[operator]
        return "its layers are not in one list"
    return why_not_by_masks(language)


class _Stopped(Exception):
    """A layer was given what nobody here understands."""


class _Trial:
    """In a `Shortening`'s place: lets two tokens through, notes what each layer is given, and whether it can be looked
    at."""

    def __init__(self) -> None:
        self.n_layers, self.n_looks = 0, 0

    def before(self, number: int, layer: nn.Module, *given: Any) -> tuple[Tensor, dict[str, Any]]:
        *hidden, named = given
        self.n_layers += 1
        strange = [name for name, value in named.items()
                   if isinstance(value, Tensor) and name not in (*PER_TOKEN, "attention_mask")]
        if strange or len(hidden) != 1 or "attention_mask" not in named:
            raise _Stopped("its layers are given more than hidden states and what goes with them by name")
        if not all(_is_per_token(named.get(name)) for name in PER_TOKEN):
            raise _Stopped("its positions have a form of their own")
        return hidden[0], named | {"look": self._look}

    def _look(self, *_: Any) -> None:
        self.n_looks += 1


def _trial(language: nn.Module) -> str:
    """What two tokens on their way through the layers meet that stands against it, or nothing.

    Of a skeleton on torch's `meta` device nobody can say; it is believed.
    """
    use_looking_attention(language)
    decoder = language.get_decoder()  # type: ignore[operator]
    hand_over(decoder)
    table: Tensor = language.get_input_embeddings().weight  # type: ignore[operator]
    if table.is_meta:
        return ""
    trial, n_layers = _Trial(), len(blocks_of(decoder))
    try:
        with torch.no_grad():
            decoder(
                inputs_embeds=table.detach()[None, :2], attention_mask=table.new_zeros(1, 1, 2, 2), use_cache=False,
                position_ids=torch.arange(2, device=table.device)[None], **{ARGUMENT: trial},
            )  # fmt: skip
    except _Stopped as stopped:
        return str(stopped)
    if trial.n_layers != n_layers:
        return "its layers are not handed what they do not know"
    return "" if trial.n_looks == n_layers else "its attention cannot be looked at"


def _is_per_token(value: Any) -> bool:
    """Nothing, [b, 2], or one or several [b, 2, d]."""
    if isinstance(value, tuple):
        return all(isinstance(one, Tensor) and one.ndim == 3 and one.shape[1] == 2 for one in value)
    return value is None or (isinstance(value, Tensor) and value.ndim in (2, 3) and value.shape[1] == 2)
