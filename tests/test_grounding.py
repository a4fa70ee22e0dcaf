"""Boxes in text: round trips through every convention, and a parser that no reply can upset."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from sensorium.errors import SensoriumError
from sensorium.grounding import (
    CONVENTIONS,
    MARKS,
    Box,
    Grounded,
    draw_grounded,
    format_grounded,
    from_convention,
    marks_apart,
    parse_grounded,
    to_convention,
)

coordinates = st.integers(0, 999)
sides = st.integers(1, 20_000)


@st.composite
def boxes(draw):
    (x1, x2), (y1, y2) = (sorted((draw(coordinates), draw(coordinates))) for _ in range(2))
    return Box(x1, y1, x2, y2)


names = st.text(st.characters(exclude_characters="<")).map(str.strip).filter(bool)


@given(boxes(), st.sampled_from(CONVENTIONS), sides, sides)
def test_every_convention_gives_the_same_box_back(box, convention, width, height):
    assert from_convention(to_convention(box, convention, width, height), convention, width, height) == box


def test_conventions_say_what_they_are_documented_to_say():
    box = Box(100, 200, 500, 800)  # the middles of the cells: 0.1005, 0.2005, 0.5005, 0.8005
    expected = {
        "unit": (0.1005, 0.2005, 0.5005, 0.8005),
        "pixels": (201, 80.2, 1001, 320.2),
        "coco": (201, 80.2, 800, 240),
        "paligemma": (205, 102, 819, 512),
        "thousand": (100, 200, 500, 800),
    }
    for convention in CONVENTIONS:
        assert to_convention(box, convention, 2000, 400) == pytest.approx(expected[convention])


def test_an_unknown_convention_is_refused_with_the_known_ones():
    with pytest.raises(SensoriumError, match="paligemma"):
        to_convention(Box(0, 0, 1, 1), "yolo", 1, 1)
    with pytest.raises(SensoriumError, match="paligemma"):
        from_convention((0, 0, 1, 1), "", 1, 1)


@given(st.tuples(*[st.floats()] * 4))
def test_any_four_numbers_make_a_box_inside_the_picture(values):
    box = Box.from_unit(*values)
    assert 0 <= box.x1 <= box.x2 <= 999 and 0 <= box.y1 <= box.y2 <= 999


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_a_coordinate_is_the_thousandth_it_lies_in(x, y):
    box = Box.from_unit(x, y, x, y)
    assert (box.x1, box.y1) == (int(x * 1000), int(y * 1000))
    unit = box.to_unit()
    assert abs(unit[0] - x) <= 0.0005 + 1e-12 and abs(unit[1] - y) <= 0.0005 + 1e-12


def test_pixels_scale_with_the_picture():
    assert Box.from_pixels(0, 0, 640, 480, 640, 480) == Box(0, 0, 999, 999)
    assert Box.from_pixels(320, 120, 480, 240, 640, 480) == Box(500, 250, 750, 500)
    assert Box.from_pixels(480, 240, 320, 120, 640, 480) == Box(500, 250, 750, 500)
    assert Box(500, 250, 750, 500).to_pixels(640, 480) == pytest.approx((320.32, 120.24, 480.32, 240.24))


@pytest.mark.parametrize("corners", [(-1, 0, 1, 1), (0, 0, 1000, 1), (5, 0, 4, 1), (0, 5, 1, 4)])
def test_impossible_corners_are_refused(corners):
    with pytest.raises(SensoriumError, match="999"):
        Box(*corners)


@given(boxes(), boxes())
def test_iou_is_the_share_of_common_cells(a, b):
    def covered(low, high):
        return set(range(low, high + 1))

    # Rectangles: cells in common multiply over the axes, so two sets of a thousand replace one of a million.
    across = len(covered(a.x1, a.x2) & covered(b.x1, b.x2))
    down = len(covered(a.y1, a.y2) & covered(b.y1, b.y2))
    assert a.area == len(covered(a.x1, a.x2)) * len(covered(a.y1, a.y2))
    assert a.iou(b) == pytest.approx(across * down / (a.area + b.area - across * down))
    assert a.iou(b) == b.iou(a) and 0 <= a.iou(b) <= 1
    assert (a.iou(b) == 1) == (a == b) and (a.iou(b) == 0) == (across * down == 0)


def test_iou_of_known_boxes():
    assert Box(0, 0, 99, 99).iou(Box(50, 0, 149, 99)) == pytest.approx(1 / 3)
    assert Box(0, 0, 99, 99).iou(Box(100, 0, 199, 99)) == 0
    assert Box(0, 0, 999, 999).iou(Box(0, 0, 499, 499)) == 0.25


@given(names, st.lists(boxes(), min_size=1, max_size=4))
def test_what_is_formatted_is_parsed_back(name, found):
    (grounded,) = parse_grounded(text := format_grounded(name, *found))
    assert (grounded.name, grounded.boxes, grounded.span) == (name, tuple(found), (0, len(text)))


@given(st.lists(st.tuples(names, st.lists(boxes(), min_size=1, max_size=2)), max_size=4))
def test_several_grounded_names_are_parsed_in_order_with_their_spans(items):
    marked = [format_grounded(name, *found) for name, found in items]
    text = "I see " + " and ".join(marked) + "."
    parsed = parse_grounded(text)
    assert [(g.name, list(g.boxes)) for g in parsed] == items
    assert [text[slice(*g.span)] for g in parsed] == marked


def test_boxes_without_a_name_and_with_spaces_are_read():
    text = "It is here:  <box>( 1, 2 ),(3 ,4)</box> \n"
    (grounded,) = parse_grounded(text)
    assert grounded.name == "" and grounded.boxes == (Box(1, 2, 3, 4),)
    assert text[slice(*grounded.span)] == "<box>( 1, 2 ),(3 ,4)</box>"
    assert parse_grounded("<ref> a dog </ref> <box>(9,8),(7,6)</box>")[0].boxes == (Box(7, 6, 9, 8),)


@pytest.mark.parametrize(
    "text",
    [
        "<box>(1,2),(3,4)",
        "<box>(1,2),(3,1000)</box>",
        "<box>(1,2),(3,-4)</box>",
        "<box>(1,2)</box>",
        "<ref>dog</ref>",
        "<box></box>",
        "",
    ],
)
def test_marks_that_do_not_fit_are_plain_text(text):
    assert parse_grounded(text) == []


marks = ["<ref>", "</ref>", "<box>", "</box>", "(1,2)", ",", "(999,1000)", " ", "(٣,٤)", "dog", "\n", "<"]


@given(st.text() | st.lists(st.sampled_from(marks)).map("".join))
@example("<box>(٣,٤),(٥,٦)</box>")
def test_no_reply_is_an_error(text):
    for grounded in parse_grounded(text):
        start, end = grounded.span
        assert 0 <= start < end <= len(text) and text[start:end].endswith("</box>") and grounded.boxes


@pytest.mark.parametrize(
    "piece", [" ", "<ref>", "<ref>a</ref> ", "<box>", "<box>(1,2),", "<box>(1,2),(3,4)</box>", "<box>("]
)
def test_parsing_takes_time_in_proportion_to_the_text(piece):
    text = piece * (200_000 // len(piece))
    start = time.process_time()
    parse_grounded(text)
    assert time.process_time() - start < 2  # quadratic behaviour would take minutes


def test_a_name_with_a_mark_in_it_is_not_written():
    with pytest.raises(SensoriumError, match="holds `<`"):
        format_grounded("dog</ref>", Box(0, 0, 1, 1))


small = st.integers(1, 40)


@given(st.lists(st.builds(Grounded, st.text(max_size=8), st.tuples(boxes())), max_size=3), small, small)
def test_drawing_never_fails_and_leaves_the_picture_alone(grounded, width, height):
    picture = Image.new("RGB", (width, height), "white")
    drawn = draw_grounded(picture, grounded)
    assert drawn.size == picture.size and picture.getcolors() == [(width * height, (255, 255, 255))]


def test_a_box_is_drawn_where_it_is():
    drawn = draw_grounded(Image.new("L", (200, 100)), [Grounded("", (Box(250, 250, 750, 750),))])
    touched = [(x, y) for x in range(200) for y in range(100) if drawn.getpixel((x, y)) != (0, 0, 0)]
    assert (min(x for x, _ in touched), max(x for x, _ in touched)) == pytest.approx((50, 150), abs=1)
    assert (min(y for _, y in touched), max(y for _, y in touched)) == pytest.approx((25, 75), abs=1)
    assert drawn.getpixel((100, 50)) == (0, 0, 0)


@given(st.lists(st.sampled_from([*MARKS, "a cat", " ", "(1,2),(3,4)", "<box>(1,2),(3,4)</box>", "<"])).map("".join))
def test_marks_apart_are_all_of_the_text_and_marks_only_of_what_is_read_as_boxes(text):
    pieces = list(marks_apart(text))
    assert "".join(piece for piece, _ in pieces) == text and all(piece for piece, _ in pieces)
    marks = [piece for piece, is_mark in pieces if is_mark]
    assert marks.count("<box>") == marks.count("</box>") == sum(len(item.boxes) for item in parse_grounded(text))
    assert marks.count("<ref>") == marks.count("</ref>") <= len(parse_grounded(text))
