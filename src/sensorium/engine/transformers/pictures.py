"""Several questions about one picture encode it once, in models that turn each picture into features by itself.

`generate` and `forward` of such a model ask `get_image_features` for the features of a batch's pictures, one row of
pixels each. In its place stands a memory of them by the pixels' digest. Each picture is encoded alone, so that what it
becomes, to the last bit, does not depend on its company or on what was asked before.

Only LLaVA's architecture has it: others cut pictures into tiles, or let their rows see one another.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

ROW_BY_ROW = frozenset({"llava"})  # config.model_type
KEPT = 64  # pictures; of LLaVA-1.5 7B, 9 MB each in float32


def share_pictures(model: Any) -> None:
    """Give a model that memory, if it is one of ROW_BY_ROW. Whoever calls the model sees to one call at a time."""
    if model.config.model_type in ROW_BY_ROW:
        core = model.model
        core.get_image_features = _Shared(core.get_image_features)


class _Shared:
    """Takes the place of a bound `get_image_features`."""

    def __init__(self, encode: Any) -> None:
        self._encode = encode
        self._known: OrderedDict[str, Tensor] = OrderedDict()

    def __call__(self, pixel_values: Tensor, *arguments: Any, **options: Any) -> Any:
        """pixel_values: [pictures, 3, h, w]. Returns what the model's own does, but for the tower's hidden states."""
        if torch.is_grad_enabled():  # features with a history are nobody else's
            return self._encode(pixel_values, *arguments, **options)
        # `forward` spells out options that `generate` leaves to the model's own config.
        options = {name: value for name, value in options.items() if value is not None and name != "return_dict"}
        asked = repr((arguments, sorted(options.items())))
        features = [self._features(row, asked, arguments, options) for row in pixel_values]
        return BaseModelOutputWithPooling(pooler_output=features)  # type: ignore[arg-type]

    def _features(self, row: Tensor, asked: str, arguments: Any, options: Any) -> Tensor:
        pixels = row.detach().cpu().contiguous().view(torch.uint8).numpy()
        key = hashlib.sha256(asked.encode() + pixels.tobytes()).hexdigest()
        if key not in self._known:
            self._known[key] = self._encode(row[None], *arguments, **options).pooler_output[0]
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]
