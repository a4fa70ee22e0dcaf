"""Scenes: what is promised of the picture and of the truth about it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sensorium.data.records import COLOURS, SPLITS
from sensorium.data.scenes.catalogue import Catalogue
from sensorium.data.scenes.compose import Casting, Composer, place
from sensorium.data.scenes.cutout import dominant_colour
from sensorium.data.scenes.recolour import recolour
from sensorium.errors import SensoriumError

NUMBERS = range(60)


@pytest.fixture(scope="module")
def scenes(catalogue: Catalogue):
    composer = Composer(catalogue, "train", seed=3)
    return [composer.compose(number) for number in NUMBERS]


def test_a_scene_depends_on_seed_split_and_number_alone(catalogue):
    picture, scene = Composer(catalogue, "train", seed=3).compose(17)
    other = Composer(catalogue, "train", seed=3)
    other.compose(2)
    again, same = other.compose(17)
    assert same == scene and again.tobytes() == picture.tobytes()
    assert Composer(catalogue, "train", seed=4).compose(17)[1] != scene
    assert Composer(catalogue, "val", seed=3).compose(17)[1] != scene


def test_a_picture_shows_one_to_five_kinds_and_at_most_seven_things(scenes):
    for picture, scene in scenes:
        assert picture.mode == "RGB" and max(picture.size) == 320 and picture.size == (scene.width, scene.height)
        assert 1 <= len(scene.counts) <= 5
        assert 1 <= len(scene.objects) <= 7
    assert {len(scene.counts) for _, scene in scenes} >= {1, 2, 3, 4}
    assert {count for _, scene in scenes for count in scene.counts.values()} >= {1, 2, 3, 4}


def test_things_lie_inside_and_hardly_cover_one_another(scenes):
    for _, scene in scenes:
        for i, a in enumerate(scene.objects):
            assert 0 <= a.box.x1 < a.box.x2 <= 999 and 0 <= a.box.y1 < a.box.y2 <= 999
            for b in scene.objects[i + 1 :]:
                w = max(0, min(a.box.x2, b.box.x2) - max(a.box.x1, b.box.x1) + 1)
                h = max(0, min(a.box.y2, b.box.y2) - max(a.box.y1, b.box.y1) + 1)
                assert w * h <= 0.15 * min(a.box.area, b.box.area)


def test_a_box_holds_the_pixels_of_its_thing(catalogue):
    composer = Composer(catalogue, "train", seed=8)
    checked = 0
    for number in range(80):
        picture, scene = composer.compose(number)
        if len(scene.objects) > 1 or scene.objects[0].colour != "red":
            continue
        pixels = np.asarray(picture).astype(int)
        red = (pixels[..., 0] - pixels[..., 1:].max(axis=-1)) > 70
        ys, xs = np.nonzero(red)
        x1, y1, x2, y2 = scene.objects[0].box.to_pixels(*picture.size)
        assert np.allclose((x1, y1, x2, y2), (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1), atol=2.5)
        checked += 1
    assert checked


def test_things_that_may_be_taken_for_one_another_never_meet(scenes):
    assert not any({"bird", "duck"} <= set(scene.counts) for _, scene in scenes)


def test_what_a_background_shows_is_not_placed_on_it(scenes):
    on_it = [scene for _, scene in scenes if scene.background == "b0"]
    assert on_it and not any("drum" in scene.counts for scene in on_it)


@pytest.mark.parametrize("split", SPLITS)
def test_splits_keep_the_rules_of_holding_out(catalogue, split):
    composer = Composer(catalogue, split, seed=0)
    held_out = {"yo-yo", "boat"}
    for number in range(25):
        _, scene = composer.compose(number)
        assert (scene.background in ("b2", "b3")) == split.startswith("test")
        assert bool(held_out & set(scene.counts)) == (split == "test_objects")
        assert {thing.style == "held" for thing in scene.objects} == {split == "test_style"}


def test_a_catalogue_without_held_out_backgrounds_is_refused(catalogue):
    poor = Catalogue(catalogue.root, catalogue.drawings, catalogue.backgrounds[:2], catalogue.vocabulary, "held")
    with pytest.raises(SensoriumError, match="test_seen"):
        Casting.of(poor, "test_seen")


def test_colour_is_decoupled_from_the_thing_except_where_colour_tells_things_apart(catalogue):
    composer = Composer(catalogue, "train", seed=5)
    seen: dict[str, set[str | None]] = {}
    for number in range(150):
        for thing in composer.compose(number)[1].objects:
            seen.setdefault(thing.name, set()).add(thing.colour)
    assert len(seen["car"]) >= 6
    assert seen["bird"] <= {"red", "blue", "green"}


@pytest.mark.parametrize("colour", COLOURS)
def test_a_recoloured_drawing_is_called_by_its_new_colour(colour):
    cutout = Image.new("RGBA", (60, 60), "#c83214")
    cutout.paste("#e0583c", (0, 0, 60, 20))
    repainted = recolour(cutout, colour, np.random.default_rng(0))
    assert repainted is not None
    assert dominant_colour(repainted)[0] == colour


def test_recolouring_leaves_alpha_and_outline(catalogue):
    cutout = Image.new("RGBA", (40, 40), "#2050d0")
    cutout.paste((10, 10, 10, 255), (0, 0, 40, 4))
    cutout.paste((0, 0, 0, 0), (0, 36, 40, 40))
    repainted = recolour(cutout, "yellow", np.random.default_rng(0))
    assert repainted.getchannel("A").tobytes() == cutout.getchannel("A").tobytes()
    assert repainted.getpixel((5, 1)) == (10, 10, 10, 255)


def test_a_drawing_of_many_hues_or_none_is_not_recoloured():
    rainbow = Image.new("RGBA", (60, 60))
    for i, colour in enumerate(("red", "lime", "blue", "yellow", "magenta", "cyan")):
        rainbow.paste(colour, (i * 10, 0, i * 10 + 10, 60))
    assert recolour(rainbow, "red", np.random.default_rng(0)) is None
    assert recolour(Image.new("RGBA", (9, 9), "gray"), "red", np.random.default_rng(0)) is None


def test_what_cannot_be_placed_is_said_and_not_forced():
    rng = np.random.default_rng(0)
    assert place([(90, 90), (90, 90)], (100, 100), rng) is None
    assert place([(101, 10)], (100, 100), rng) is None
    assert len(place([(40, 40), (30, 30)], (100, 100), rng)) == 2
