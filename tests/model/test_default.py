"""The model that ships: small enough to ship, readable, and described by its card."""

from __future__ import annotations

import re

import pytest

from sensorium.data.scenes.vocabulary import Vocabulary
from sensorium.model.checkpoint import read_config
from sensorium.model.folder import DEFAULT_FOLDER
from sensorium.parts import KNOWN

pytestmark = pytest.mark.skipif(
    not (DEFAULT_FOLDER / "trained.safetensors").exists(), reason="the default model is not in this copy yet"
)
# Of COCO's 80 classes, those that none of the drawings shows well.
WITHOUT_ART = (
    "bench", "fire hydrant", "parking meter", "sink", "oven", "toaster", "microwave", "refrigerator", "remote",
    "hair drier", "snowboard", "surfboard", "sports ball",
)  # fmt: skip


@pytest.fixture(scope="module")
def card() -> str:
    """The model card as one line, so that a name may be broken over two."""
    return " ".join((DEFAULT_FOLDER / "README.md").read_text(encoding="utf-8").split())


def test_it_is_small_enough_to_ship():
    assert (DEFAULT_FOLDER / "trained.safetensors").stat().st_size < 40e6


def test_its_config_is_read_and_names_parts_that_are_pinned():
    config, content = read_config(DEFAULT_FOLDER)
    assert {config.vision.part, config.language.part} <= set(KNOWN)
    assert content["provenance"]


def test_the_card_names_licences_parts_and_how_many_names_were_learnt(card):
    entries = Vocabulary.load().entries
    learnt = sum(not entry.held_out for entry in entries)
    assert re.search(rf"\b{learnt}\b", card) and re.search(rf"\b{len(entries) - learnt}\b", card)
    assert "Apache-2.0" in card and "CC-BY-SA" in card
    config, _ = read_config(DEFAULT_FOLDER)
    for part in (config.vision.part, config.language.part):
        package = KNOWN[part].package
        assert package.name in card and package.version in card


def test_the_card_names_what_was_held_out_and_what_could_not_be_drawn(card):
    vocabulary = Vocabulary.load()
    held_out = [entry.name for entry in vocabulary.entries if entry.held_out]
    assert not [name for name in (*held_out, *WITHOUT_ART) if name not in card]
    assert not [name for name in WITHOUT_ART if name in vocabulary]
