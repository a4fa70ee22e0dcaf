"""A language model whose numbers are still in their files, to be read layer by layer.

Where several devices share a model's layers out in slices, none of them has room for all of it, and none needs it: what
is read is a layer, what is kept its slice. Until then a parameter has its shape and its type and takes the memory of
one number; `read_parameters` puts the numbers into those of a module.

Only for folders whose files name tensors as the model does, as causal language models' do; others are loaded whole.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from sensorium.model.pretrained import load_pretrained
from sensorium.parts.hub import hub_folder

Read = Callable[[], Tensor]


def unread_language(source: Path | str, part: str) -> nn.Module | None:
    """A causal language model in float32, its embedding table read and nothing else of it; None where tensors cannot be
    found by their names. source, part: as `load_pretrained` takes them, and raises.
    """
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = source if isinstance(source, Path) else Path(source) if Path(source).is_dir() else hub_folder(source)
    config = load_pretrained(AutoConfig, source, part)
    with init_empty_weights(include_buffers=False):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    model.tie_weights()
    found = _found(folder)
    named = dict(model.named_parameters())
    if any(found.get(name, (None, None))[1] != list(p.shape) for name, p in named.items()):
        return None
    fresh = {id(p): _unread(p, partial(_read, found[name][0], name)) for name, p in named.items()}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = fresh[id(parameter)]  # tied ones stay one
    read_parameters(model.get_input_embeddings())
    return model  # type: ignore[no-any-return]


def is_unread(parameter: Tensor) -> bool:
    return hasattr(parameter, "read")


def make_unread(parameter: nn.Parameter, read: Read) -> None:
    """Forget a parameter's numbers; `read` gives them back, all of them, when they are needed."""
    parameter.data = _shape_alone(parameter.shape, parameter.dtype, parameter.device)
    parameter.read = read  # type: ignore[attr-defined]


def read_parameters(module: nn.Module) -> None:
    """Read what is unread in a module and what is below it, as the type and onto the device that it stands for."""
    for parameter in module.parameters():
        if is_unread(parameter):
            read: Read = parameter.read  # type: ignore[attr-defined]
            parameter.data = read().to(parameter.device, parameter.dtype)
            del parameter.read  # type: ignore[attr-defined]


def converted_to(parameter: Tensor, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """A parameter's data on another device, or of another type, unread if it is."""
    if is_unread(parameter):
        return _shape_alone(parameter.shape, dtype or parameter.dtype, device or parameter.device)
    return parameter.data.to(device or parameter.device, dtype or parameter.dtype)


def move(model: nn.Module, device: torch.device) -> None:
    """`model.to(device)`, what is unread left so."""
    for parameter in model.parameters():
        parameter.data = converted_to(parameter, device)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = buffer.to(device)


def _unread(parameter: nn.Parameter, read: Read) -> nn.Parameter:
    made = nn.Parameter(_shape_alone(parameter.shape, torch.float32, torch.device("cpu")), parameter.requires_grad)
    made.read = read  # type: ignore[attr-defined]
    return made


def _shape_alone(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.zeros((), dtype=dtype, device=device).expand(shape)


def _found(folder: Path) -> dict[str, tuple[Path, list[int]]]:
    """File and shape of each tensor in a folder's files, by name."""
    found: dict[str, tuple[Path, list[int]]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found |= {name: (path, file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return found


def _read(path: Path, name: str) -> Tensor:
    file: Any
    with safe_open(path, "pt") as file:
        return file.get_tensor(name)  # type: ignore[no-any-return]
