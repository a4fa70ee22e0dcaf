"""A drawn scene with its truth, and a corrector that knows that truth; only the parser is fetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage
from PIL import ImageDraw

from sensorium.correction import Corrector
from sensorium.correction.verifiers.oracle import Oracle
from sensorium.data.records import Scene, SceneObject
from sensorium.data.scenes.vocabulary import Vocabulary
from sensorium.grounding import Box

RGB = {"red": (220, 30, 30), "blue": (30, 60, 220), "green": (30, 160, 50), "brown": (120, 70, 20)}
SIZE = (320, 240)
# A brown dog top left, a blue car bottom left, three green apples on the right.
THINGS = (
    ("dog", (50, 50, 250, 250), "brown"),
    ("car", (50, 650, 300, 900), "blue"),
    ("apple", (650, 80, 780, 230), "green"),
    ("apple", (650, 420, 780, 570), "green"),
    ("apple", (800, 700, 930, 850), "green"),
)


def draw_scene(folder: Path, things: Any = THINGS, id: str = "drawn") -> Scene:
    """A picture of coloured discs in the boxes of the things, and the record of it."""
    picture = PILImage.new("RGB", SIZE, (245, 245, 240))
    pen = ImageDraw.Draw(picture)
    objects = []
    for name, corners, colour in things:
        box = Box(*corners)
        pen.ellipse(box.to_pixels(*SIZE), fill=RGB[colour])
        objects.append(SceneObject(name, box, colour, name, "disc"))
    path = folder / f"{id}.png"
    picture.save(path)
    return Scene(id, str(path), *SIZE, "plain-0", tuple(objects))


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary.load()


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return draw_scene(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="session")
def scene_maker() -> Callable[..., Scene]:
    """`draw_scene(folder, things, id)`, for other scenes."""
    return draw_scene


@pytest.fixture
def corrector(scene: Scene, vocabulary: Vocabulary) -> Corrector:
    """A corrector to which the scene is known exactly."""
    return Corrector([Oracle.of([scene], vocabulary)])


@pytest.fixture
def corrected(corrector: Corrector, scene: Scene) -> Callable[..., str]:
    """corrected(text, question) -> the corrected text about the scene."""
    return lambda text, question=None: corrector.correct(scene.image, text, question).output


@pytest.fixture(scope="session")
def tiny_owl(tmp_path_factory):
    """A random OWL-ViT of a few thousand weights with its processor, saved as transformers has it."""
    import torch
    from transformers import (
        CLIPTokenizer,
        OwlViTConfig,
        OwlViTForObjectDetection,
        OwlViTImageProcessor,
        OwlViTProcessor,
    )

    folder = tmp_path_factory.mktemp("owl")
    letters = [chr(c) for c in range(97, 123)]
    # A query that begins with token 0 is padding to OWL-ViT, so that no word may have this number.
    vocabulary = ["!", "<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    tokenizer = CLIPTokenizer(vocab={token: i for i, token in enumerate(vocabulary)}, merges=[], model_max_length=16)
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = OwlViTConfig(
        text_config={**tower, "vocab_size": len(vocabulary), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2},
        vision_config={**tower, "image_size": 32, "patch_size": 16}, projection_dim=16,
    )  # fmt: skip
    torch.manual_seed(0)
    OwlViTForObjectDetection(config).save_pretrained(folder)
    OwlViTProcessor(OwlViTImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    return folder
