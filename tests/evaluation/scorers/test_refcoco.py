"""Boxes: the three conventions and the guesser, edge cases of their parsers, precision by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import SensoriumError
from sensorium.evaluation.scorers import refcoco
from sensorium.evaluation.scorers.refcoco import BoxReply, overlap, parse
from sensorium.grounding import Box, format_grounded


def _reply(text, box=(100, 50, 300, 150), width=400, height=200):
    return BoxReply(box, width, height, text)


# The same quarter-to-three-quarters box, written in each convention.
WRITTEN = {
    "official": "<ref>it</ref><box>(250,250),(749,750)</box>",
    "internvl": "It is at [[250, 250, 750, 750]].",
    "lmms-eval": "[0.25, 0.25, 0.75, 0.75]",
    "vlmevalkit": "[250, 250, 750, 750]",
}


@pytest.mark.parametrize(("variant", "text"), WRITTEN.items())
def test_a_box_in_its_own_convention_is_found(variant, text):
    assert overlap(_reply(text), variant) == pytest.approx(1, abs=0.01)


def test_a_box_over_999_reaches_the_edge_and_over_1000_does_not():
    whole = _reply("(0,0),(999,999)")
    assert parse(whole) == (0, 0, 400, 200)
    assert parse(_reply("[0,0,999,999]"), "internvl") == pytest.approx((0, 0, 399.6, 199.8))


@pytest.mark.parametrize(
    ("variant", "text"),
    [
        ("official", "none"), ("official", "(1,2,3),(4,5)"), ("official", "(1 2),(3,4)"), ("official", "(a,b),(3,4)"),
        ("official", "(1,2), (3,4)"),  # a blank between the points
        ("internvl", "[1,2,3]"), ("internvl", "[a,b,c,d]"), ("lmms-eval", "[.1, .2, .3, .4]"),  # digits before the dot
        ("lmms-eval", "[0.1 , 0.2, 0.3, 0.4]"),  # a blank before the comma
        ("vlmevalkit", "1, 2 and 3"),
    ],
)  # fmt: skip
def test_a_reply_without_a_box_is_wrong_and_counted(variant, text):
    assert parse(_reply(text), variant) is None
    outcome = refcoco.score([_reply(text)], variant)
    assert (outcome["precision"], outcome["unparsed"]) == (0, 1)


def test_only_the_first_box_counts():
    assert overlap(_reply(WRITTEN["official"] + "<box>(0,0),(1,1)</box>")) > 0.9
    assert overlap(_reply("<box>(0,0),(1,1)</box>" + WRITTEN["official"])) < 0.1


def test_pixels_below_1000_are_misread_by_the_guesser():
    """[100, 50, 300, 150] of 400 x 200 is taken per mille: [40, 10, 120, 30], which the true box touches in 20 x 0."""
    assert overlap(_reply("[100, 50, 300, 150]"), "vlmevalkit") == 0
    large = _reply("[1100, 500, 1300, 1500]", (1100, 500, 1300, 1500), 2000, 2000)
    assert overlap(large, "vlmevalkit") == 1


def test_corners_in_the_wrong_order_are_put_right_by_the_guesser_alone():
    turned = "[750, 750, 250, 250]"
    assert overlap(_reply(turned), "vlmevalkit") == 1
    assert overlap(_reply(turned), "internvl") == 0


@pytest.mark.parametrize("number", ["1e40", "inf", "nan", "-1e39", "9" * 400])
@pytest.mark.parametrize("variant", refcoco.VARIANTS)
def test_any_number_a_model_writes_is_wrong_not_a_crash(variant, number):
    for text in (f"({number},1),(2,3)", f"[{number}, 1, 2, 3]"):
        assert 0 <= overlap(_reply(text), variant) < 0.5


@given(st.lists(st.integers(0, 999), min_size=4, max_size=4), st.integers(40, 2000), st.integers(40, 2000))
def test_overlaps_are_those_of_torchs_float32(corners, width, height):
    """The official script computes with torch tensors; the same steps, written with torch."""
    true = (0.2 * width, 0.3 * height, 0.7 * width, 0.8 * height)
    x1, y1, x2, y2 = corners
    first = torch.tensor([[float(v) for v in corners]]) / 999 * torch.tensor([[width, height, width, height]])
    second = torch.tensor([true], dtype=torch.float32)
    sides = (torch.min(first[:, 2:], second[:, 2:]) - torch.max(first[:, :2], second[:, :2])).clamp(min=0)
    shared = sides.prod()
    area = sum((box[0, 2] - box[0, 0]) * (box[0, 3] - box[0, 1]) for box in (first, second))
    expected = (shared / (area - shared)).item()
    assert overlap(_reply(f"({x1},{y1}),({x2},{y2})", true, width, height)) == expected


def test_our_own_boxes_are_in_the_official_convention():
    box = Box.from_pixels(100, 50, 300, 150, 400, 200)
    assert overlap(_reply(format_grounded("it", box))) > 0.98


def test_precision_counts_overlaps_of_a_half_and_more():
    # Of a true box of 200 x 100: the whole, 60 %, 40 % of it, none; written per mille of 400 x 200.
    replies = [_reply(f"[250, 250, {250 + 500 * part:.0f}, 750]") for part in (1, 0.6, 0.4)] + [_reply("none")]
    outcome = refcoco.score(replies, "internvl")
    assert outcome["precision"] == 2 / 4
    assert outcome["at"] == {"0.1": 0.75, "0.3": 0.75, "0.5": 0.5, "0.7": 0.25, "0.9": 0.25}
    assert outcome["mean_iou"] == pytest.approx((1 + 0.6 + 0.4) / 4, abs=1e-6)
    assert refcoco.score(replies, "vlmevalkit")["precision"] == 50
    assert refcoco.score(replies[::-1], "internvl").values["precision"] == 0.5


def test_both_layouts_are_read(write):
    apart = refcoco.read(
        write("a.jsonl", [{"answer": "x"}]),
        write("q.jsonl", [{"image": "i.jpg", "sent": "s", "bbox": [1, 2, 3, 4], "width": 50, "height": 40}]),
    )
    together = refcoco.read(write("b.json", [{"answer": "x", "gt_bbox": [1, 2, 3, 4], "hw": [40, 50]}]))
    assert apart == [BoxReply((1, 2, 3, 4), 50, 40, "x", "i.jpg")]
    assert together == [BoxReply((1, 2, 3, 4), 50, 40, "x")]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"answer": "x"}, "line 1: has neither `bbox` nor `gt_bbox`"),
        ({"answer": "x", "gt_bbox": [1, 2, 3], "hw": [1, 2]}, "`gt_bbox` is list '[1, 2, 3]' where 4 numbers"),
        ({"answer": "x", "gt_bbox": [1, 2, 3, 4], "hw": [0, 2]}, "the picture's size is 2.0 x 0.0"),
    ],
)
def test_rows_that_do_not_fit_are_told(write, row, said):
    with pytest.raises(SensoriumError) as caught:
        refcoco.read(write("a.jsonl", [row]))
    assert said in str(caught.value)


@pytest.mark.parametrize("variant", refcoco.VARIANTS)
@pytest.mark.parametrize("piece", ["(", "[", "(1,", "[1,", "),(", "1", "[1 ", "9.", "[[1, 2, 3, 4\n"])
def test_a_reply_that_never_ends_is_read_in_a_moment(variant, piece):
    assert overlap(_reply(piece * (1_000_000 // len(piece))), variant) < 0.5
