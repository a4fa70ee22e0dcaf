"""Fold adapters into the weights that they adapt: the same outputs, no extra work a token.

Of a language model that has them, peft's own merging does it; of a checkpoint's tensors it is done here, into a model
that never gets any, which is twice as fast to load and needs no peft.
"""

from __future__ import annotations

from torch import Tensor, nn

from sensorium.errors import SensoriumError
from sensorium.model.language import ADAPTER, LoraConfig
from sensorium.model.multimodal import MultimodalModel

_LORA_A, _LORA_B = f".lora_A.{ADAPTER}.weight", f".lora_B.{ADAPTER}.weight"


def merge_lora(language: nn.Module) -> None:
    """Fold the adapters into the weights: same outputs, no extra work a token."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(language.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(language.get_submodule(parent), child, module.get_base_layer())


def merge_adapters(model: MultimodalModel, tensors: dict[str, Tensor], lora: LoraConfig) -> dict[str, Tensor]:
    """Add the adapters among `tensors` to the model's weights, W + alpha / rank · B A; returns the other tensors."""
    rest = dict(tensors)
    adapted = {name.removesuffix(_LORA_A) for name in tensors if name.endswith(_LORA_A)}
    if missing := sorted(set(_adaptable(model)) - adapted):
        raise SensoriumError("checkpoint", f"lacks the adapters of {len(missing)} layers, first {missing[0]}.")
    for name in [name for name in tensors if name.endswith(_LORA_A)]:
        base = name.removesuffix(_LORA_A)
        down, up = rest.pop(name), rest.pop(base + _LORA_B, None)
        try:
            weight = model.get_parameter(f"{base}.weight")
            if up is None or (up.shape[0], down.shape[1]) != weight.shape or up.shape[1] != down.shape[0]:
                raise SensoriumError("checkpoint", f"its adapter {base} does not fit the model.")
        except AttributeError as error:
            raise SensoriumError("checkpoint", f"has an adapter for {base}, which the model lacks.") from error
        weight.data += lora.alpha / lora.rank * (up.float() @ down.float())
    return rest


def _adaptable(model: MultimodalModel) -> list[str]:
    """The linear layers that peft's `all-linear` adapts: all of the language model's but its head."""
    head = model.language.get_output_embeddings()  # type: ignore[operator]
    layers = model.language.named_modules()
    return [f"language.{name}" for name, layer in layers if isinstance(layer, nn.Linear) and layer is not head]
