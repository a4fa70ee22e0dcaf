"""A picture that several questions are about is encoded once, and nothing else changes."""

from __future__ import annotations

import pytest
import torch

from sensorium.conversation import Conversation, user
from sensorium.engine import Sampling
from sensorium.engine.transformers.engine import TransformersEngine
from sensorium.engine.transformers.folder import load_folder
from sensorium.engine.transformers.pictures import KEPT, _Shared

from .conftest import BLUE, RED

SHORT = Sampling(max_new_tokens=4)
ABOUT = [Conversation((user(picture, text),)) for picture in (RED, BLUE) for text in ("What is it?", "Is it red? Why?")]


@pytest.fixture
def engine(llava_folder):
    return TransformersEngine(*load_folder(llava_folder, "llava", torch.float32), "llava")


def test_each_picture_is_encoded_once_whatever_is_asked_about_it(engine):
    encoded = []
    engine.model.model.vision_tower.register_forward_hook(lambda *_: encoded.append(1))
    replies = engine.answer(ABOUT, SHORT)
    assert len(encoded) == 2
    assert engine.answer(ABOUT[::-1], SHORT) == replies[::-1]
    assert "".join(delta.text for delta in engine.stream(ABOUT[0], SHORT)) == replies[0].text
    engine.score(ABOUT[1], ["Yes", "No"])
    assert len(encoded) == 2, "later calls remember it"


def test_shared_features_are_those_of_the_model_itself(engine, llava_folder):
    plain, _ = load_folder(llava_folder, "llava", torch.float32)
    prompt, _ = engine._prompt(ABOUT, SHORT)
    with torch.inference_mode():
        ours, theirs = engine.model(**prompt).logits, plain(**prompt).logits
    assert torch.allclose(ours[:, -1], theirs[:, -1], atol=1e-4)


def test_no_more_pictures_are_kept_than_the_limit():
    class Output:
        def __init__(self, rows):
            self.pooler_output = list(rows.mean((1, 2, 3), keepdim=True))

    encoded = []
    shared = _Shared(lambda rows: encoded.append(len(rows)) or Output(rows))
    with torch.inference_mode():
        pictures = torch.arange(KEPT + 1.0)[:, None, None, None].expand(-1, 3, 2, 2)
        found = shared(pictures).pooler_output
        assert [float(one) for one in found] == list(range(KEPT + 1))
        shared(pictures[1:])
        assert encoded == [1] * (KEPT + 1)
        shared(pictures[:1])
        assert len(encoded) == KEPT + 2, "the first one was given up"
