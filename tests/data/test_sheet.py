"""The contact sheet shows pictures, boxes and words."""

from __future__ import annotations

import numpy as np
import pytest

from sensorium.data.scenes.build import build_scenes
from sensorium.data.sheet import contact_sheet
from sensorium.errors import SensoriumError


def test_a_sheet_shows_as_many_pictures_as_asked_for_and_is_repeatable(config):
    root = build_scenes(config)
    sheet = contact_sheet(root, "train", rows=2, seed=1, columns=2)
    assert sheet.mode == "RGB" and sheet.width == 2 * (420 + 12) + 12
    assert contact_sheet(root, "train", rows=2, seed=1, columns=2).tobytes() == sheet.tobytes()
    assert contact_sheet(root, "train", rows=2, seed=2, columns=2).tobytes() != sheet.tobytes()
    assert contact_sheet(root, "val", rows=9, columns=4).width == 4 * (420 + 12) + 12


def test_boxes_are_drawn_and_words_written(config):
    sheet = np.asarray(contact_sheet(build_scenes(config), "train", rows=1, columns=1)).astype(int)
    first_box_colour = np.abs(sheet - np.array([0xE6, 0x19, 0x4B])).sum(axis=-1) < 12
    answer_ink = np.abs(sheet - 0x22).sum(axis=-1) < 12
    assert first_box_colour[:440].sum() > 200
    assert answer_ink[-60:].any() or answer_ink[330:].any()


def test_an_unknown_split_or_a_lost_picture_is_named(config):
    root = build_scenes(config)
    with pytest.raises(SensoriumError, match="train"):
        contact_sheet(root, "trian")
    for picture in (root / "val").rglob("*.jpg"):
        picture.unlink()
    with pytest.raises(SensoriumError, match=r"\.jpg: cannot be read"):
        contact_sheet(root, "val")
