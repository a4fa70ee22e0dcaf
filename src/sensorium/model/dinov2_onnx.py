"""Read DINOv2 weights out of an exported ONNX graph into a `transformers` Dinov2Model folder.

The export keeps names for biases, norms and LayerScale, but turned every linear weight into an unnamed MatMul
constant: those are found by the *node* that uses them and transposed (ONNX multiplies x @ W, torch x @ W.T). The
position table is there in full, 37x37, so the folder says `image_size: 518` and the model interpolates to whatever it
is shown.

Used once for each file; `parts.derived` caches the folder.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from sensorium.errors import SensoriumError

# The node path inside one layer -> the module of transformers 5's Dinov2Layer that holds its weight.
_MATMULS = {
    "attention/attention/query": "attention.q_proj",
    "attention/attention/key": "attention.k_proj",
    "attention/attention/value": "attention.v_proj",
    "attention/output/dense": "attention.o_proj",
    "mlp/fc1": "mlp.fc1",
    "mlp/fc2": "mlp.fc2",
}
IMAGE_MEAN, IMAGE_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def convert_dinov2_onnx(source: Path, folder: Path) -> None:
    """Write config.json, model.safetensors and preprocessor_config.json for the backbone in an ONNX file.

    Raises SensoriumError when the graph is not a DINOv2 export with a `backbone.` prefix.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    try:
        graph = onnx.load(str(source)).graph
    except DecodeError as error:
        raise SensoriumError(source.name, "is not an ONNX file, so it is no vision encoder from a package.",
                             "Check that `vision` and `language` are not exchanged.") from error
    constants = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    weights = _named(constants) | _matmuls(graph, constants) | _positions(graph, constants)
    width = int(weights["embeddings.cls_token"].shape[-1])
    layers = 1 + max(int(m[1]) for name in weights if (m := re.match(r"encoder\.layer\.(\d+)\.", name)))
    side = round((weights["embeddings.position_embeddings"].shape[1] - 1) ** 0.5)
    patch = int(weights["embeddings.patch_embeddings.projection.weight"].shape[-1])
    config = {
        "architectures": ["Dinov2Model"],
        "model_type": "dinov2",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "mlp_ratio": int(weights["encoder.layer.0.mlp.fc1.weight"].shape[0]) // width,
        "image_size": side * patch,
        "patch_size": patch,
        "layer_norm_eps": 1e-6,
    }
    processor = {"image_mean": IMAGE_MEAN, "image_std": IMAGE_STD, "size": {"height": 224, "width": 224}}
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2))


def _named(constants: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that kept their names, under transformers 5's."""
    renamed = {}
    for name, tensor in constants.items():
        if not name.startswith("backbone."):
            continue
        name = name.removeprefix("backbone.")
        for node, module in _MATMULS.items():
            name = name.replace(node.replace("/", ".") + ".", module + ".")
        renamed[name] = tensor
    if "embeddings.cls_token" not in renamed:
        raise SensoriumError("ONNX file", "has no `backbone.embeddings.cls_token`; it is not a DINOv2 export.")
    renamed["embeddings.mask_token"] = torch.zeros(1, renamed["embeddings.cls_token"].shape[-1])
    return renamed


def _matmuls(graph, constants: dict[str, Tensor]) -> dict[str, Tensor]:  # type: ignore[no-untyped-def]
    """The linear weights, found by the path of the MatMul node that multiplies by them."""
    found = {}
    for node in graph.node:
        match = re.fullmatch(r"/backbone/encoder/layer\.(\d+)/(.+)/MatMul", node.name)
        if match and match[2] in _MATMULS:
            found[f"encoder.layer.{match[1]}.{_MATMULS[match[2]]}.weight"] = constants[node.input[1]].T
    return found


def _positions(graph, constants: dict[str, Tensor]) -> dict[str, Tensor]:  # type: ignore[no-untyped-def]
    """The position table [1, 1 + side², d], class position first: two constants in the export."""
    patches = next(t for t in constants.values() if t.dim() == 3 and t.shape[1] > 1 and t.shape[0] == 1)
    # The class position is the one unnamed [1, 1, d] constant; the class token itself kept its name.
    class_position = next(t for name, t in constants.items() if tuple(t.shape) == (1, 1, patches.shape[2])
                          and not name.startswith("backbone."))
    return {"embeddings.position_embeddings": torch.cat([class_position, patches], dim=1)}
