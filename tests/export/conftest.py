"""Tiny models to export: one as our recipes make them, with adapters, and one assembled as LLaVA is."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as Picture

from sensorium.conversation import Conversation, Image, user
from sensorium.model.checkpoint import module_parameters, save_model
from sensorium.model.multimodal import ModelConfig, MultimodalModel
from sensorium.model.views import make_views
from sensorium.rendering import Renderer
from sensorium.rendering.batching import collate

TRAINED = ("vision", "connector", "tokens", "language")


def _save_trained(tree: dict[str, Any], folder: Path, trained: tuple[str, ...] = TRAINED) -> Path:
    """A checkpoint in float32 of that `model:` tree whose every trained number is changed from its start."""
    torch.manual_seed(0)
    model = ModelConfig.model_validate(tree).build().eval()
    for module in trained:
        for parameter in module_parameters(model, module).values():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return save_model(model, folder, trained, {"recipe": "tiny"}, torch.float32)


@pytest.fixture(scope="session")
def save_trained() -> Callable[..., Path]:
    """`save_trained(tree, folder, trained)`, see above."""
    return _save_trained


@pytest.fixture(scope="session")
def photo() -> bytes:
    """Noise of 45x30 pixels, PNG."""
    noise = torch.randint(0, 256, (30, 45, 3), generator=torch.Generator().manual_seed(4), dtype=torch.uint8)
    data = io.BytesIO()
    Picture.fromarray(noise.numpy()).save(data, format="PNG")
    return data.getvalue()


@pytest.fixture
def logits(photo: bytes) -> Callable[[MultimodalModel], torch.Tensor]:
    """A function: a model's logits [t - 1, vocabulary + added] of every token of a question about the photo."""

    def compute(model: MultimodalModel) -> torch.Tensor:
        asked = Conversation((user(Image(photo), "What is in the picture?"),))
        row = Renderer(model.tokenizer, model.tokens_per_picture).render(asked, generate=True)
        row.labels[:] = row.ids  # every position is looked at
        picture = Picture.open(io.BytesIO(photo)).convert("RGB")
        pixels = make_views(picture, model.sight)
        with torch.inference_mode():
            return model(collate([row], 0, pixels))

    return compute


@pytest.fixture
def adapted(tiny_model_tree: dict[str, Any], tmp_path: Path) -> Path:
    """A trained tail, fresh norm, connector, tokens, and LoRA: what the default recipe makes, tiny."""
    return _save_trained(tiny_model_tree | {"lora": {"rank": 2, "alpha": 4}}, tmp_path / "model")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a random CLIP tower: 3 blocks, 4x4 patches of 32 pixels."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(1)
    config = CLIPVisionConfig(hidden_size=24, num_hidden_layers=3, num_attention_heads=2, intermediate_size=48,
                              image_size=32, patch_size=8, initializer_factor=8.0)  # fmt: skip
    folder = tmp_path_factory.mktemp("clip")
    CLIPVisionModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def llava_tree(clip: str, tiny_parts: dict[str, str]) -> dict[str, Any]:
    """The `model:` tree of LLaVA-1.5 over tiny parts, with LoRA."""
    return {
        "vision": {"part": clip, "layer": -2, "image_size": 32},
        "connector": {"kind": "mlp", "depth": 2},
        "language": {"part": tiny_parts["language"]},
        "lora": {"rank": 2, "alpha": 4},
    }
