"""Printed words: what is printed is what the truth says, where it says, in a size and a font that the split allows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from sensorium.data.records import scene_from_json
from sensorium.data.scenes.compose import SMALL, Composer
from sensorium.data.scenes.fonts import BY_NAME, FACES, faces_of, fetch_fonts
from sensorium.data.scenes.printed import PAGE, PrintedComposer, cell_place
from sensorium.data.scenes.printing import pixels_of, print_card
from sensorium.data.scenes.words import Words


@pytest.fixture(scope="module")
def composer_of(catalogue):
    fetch_fonts()
    return lambda split: PrintedComposer(Composer(catalogue, split, seed=4))


@pytest.fixture(scope="module")
def pages(composer_of):
    return {split: [composer_of(split).compose(n, "page") for n in range(7)] for split in ("train", "test_seen")}


@pytest.fixture(scope="module")
def cards(composer_of):
    made = {}
    for split in ("train", "test_style"):
        composer = composer_of(split)
        made[split] = [composer.compose(n, "cards") for n in range(24)]
    return made


def test_twelve_points_are_sixteen_pixels():
    assert [pixels_of(points) for points in (9, 12, 18, 72)] == [12, 16, 24, 96]


def test_all_ink_of_a_page_lies_in_the_boxes_of_its_words_and_every_box_is_tight(pages):
    for page, scene in (made for of_split in pages.values() for made in of_split):
        grey = np.asarray(page.convert("L")).astype(int)
        inked = np.abs(grey - grey[0, 0]) >= 80
        assert page.size == PAGE and not scene.objects
        for word in scene.words:
            x1, y1, x2, y2 = (round(v) for v in word.box.to_pixels(*PAGE))
            box = inked[y1 - 2 : y2 + 3, x1 - 2 : x2 + 3]
            assert box.any(axis=1)[:5].any() and box.any(axis=1)[-5:].any()
            assert box.any(axis=0)[:5].any() and box.any(axis=0)[-5:].any()
            inked[y1 - 2 : y2 + 3, x1 - 2 : x2 + 3] = False
        assert not inked.any()


def test_lines_are_in_reading_order(pages):
    for _, scene in pages["train"]:
        for block in scene.printed:
            assert all(a.box.x2 < b.box.x1 for line in block.lines for a, b in pairwise(line))
            firsts = [line[0].box for line in block.lines]
            assert all(a.y1 < b.y1 for a, b in pairwise(firsts))


def test_words_that_stand_apart_have_places_of_their_own(pages):
    apart = [scene for of_split in pages.values() for _, scene in of_split if len(scene.printed) > 1]
    assert apart
    for scene in apart:
        assert len({cell_place(block) for block in scene.printed}) == len(scene.printed)


def test_test_pages_are_in_twelve_points_and_training_ones_in_several(pages):
    assert {block.pixels for _, scene in pages["test_seen"] for block in scene.printed} == {pixels_of(12)}
    assert len({block.pixels for _, scene in pages["train"] for block in scene.printed}) > 2


def test_tests_print_held_out_words_and_training_never_does(pages, cards):
    words = Words.load()

    def printed(made):
        return {word.text.lower() for _, scene in made for word in scene.words}

    assert not printed([*pages["train"], *cards["train"]]) & set(words.held_out)
    assert printed([*pages["test_seen"], *cards["test_style"]]) <= set(words.held_out)
    assert printed(cards["train"]) - words.known, "some words of training are made up"


def test_one_font_is_seen_in_test_style_alone(cards):
    held_out = {face.name for face in FACES if face.held_out}
    assert {block.font for _, scene in cards["test_style"] for block in scene.printed} <= held_out
    assert not {block.font for _, scene in cards["train"] for block in scene.printed} & held_out
    assert {BY_NAME[name].package for name in held_out}.isdisjoint(face.package for face in faces_of("train"))


def test_a_card_holds_its_words_and_no_card_covers_another(cards):
    for _, scene in (made for of_split in cards.values() for made in of_split):
        assert scene.objects
        for block in scene.printed:
            for word in block.words:
                assert block.box.x1 <= word.box.x1 and word.box.x2 <= block.box.x2
                assert block.box.y1 <= word.box.y1 and word.box.y2 <= block.box.y2
        texts = [word.text.lower() for word in scene.words]
        assert len(texts) == len(set(texts))
        if len(scene.printed) == 2:
            first, second = scene.printed
            assert first.box.iou(second.box) < 0.02  # boxes may touch where cards are turned
            assert first.colour != second.colour


def test_cards_are_of_many_sizes_and_all_can_be_read(cards):
    pixels = [block.pixels for _, scene in cards["train"] for block in scene.printed]
    assert min(pixels) >= 9 and min(pixels) < 14 and max(pixels) > 28


def test_a_turned_word_keeps_its_box():
    """Dark on white: the box of the second word holds ink at its rims, and there is none between it and the first."""
    fetch_fonts()
    for seed in range(6):
        made = print_card([["one", "bold"]], "card", "white", "lato", 40, np.random.default_rng(seed))
        first, (left, top, right, bottom) = made.words[0]
        assert first[2] <= left and right <= made.picture.width and bottom <= made.picture.height
        dark = np.asarray(made.picture.convert("L")) < 110
        inside = dark[top:bottom, left:right]
        assert inside[:, :4].any() and inside[:, -4:].any() and inside[:4].any() and inside[-4:].any()
        assert not dark[top + 8 : bottom - 8, first[2] + 2 : left - 2].any()


def test_the_same_seed_prints_the_same_and_the_truth_survives_its_file(composer_of, cards):
    picture, scene = cards["train"][7]
    again, same = composer_of("train").compose(7, "cards")
    assert again.tobytes() == picture.tobytes() and same == scene
    assert scene_from_json(scene.to_json(), "row") == scene


def test_small_things_take_a_twentieth_to_a_tenth_of_a_large_picture(catalogue):
    composer = Composer(catalogue, "train", seed=4)
    sides = []
    for number in range(12):
        picture, scene = composer.compose(number, "small")
        assert min(picture.size) >= 448 and max(picture.size) <= 896
        assert picture.size == (scene.width, scene.height) and scene.kind == "small"
        mean = (picture.width * picture.height) ** 0.5
        for thing in scene.objects:
            x1, y1, x2, y2 = thing.box.to_pixels(*picture.size)
            sides.append(max(x2 - x1, y2 - y1) / mean)
    low, high = SMALL.sizes[1]
    assert (low, high) == (0.05, 0.1)
    # Each copy of a repeated kind is up to 12 % larger or smaller, and a turn by 12 degrees widens a square by 18 %.
    assert low * 0.85 < min(sides) and max(sides) < high * 1.12 * 1.22
