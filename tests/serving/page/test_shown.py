"""How text becomes what the page shows: always its characters, and names in their boxes' colours."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture

from sensorium.conversation import Image, assistant, user
from sensorium.errors import SensoriumError
from sensorium.grounding import Box, format_grounded
from sensorium.media import image_size
from sensorium.serving.page.shown import checked, coloured, plain, rows_of, settled


@given(st.text(alphabet="<>/!?&;[]()aib`\n"))
def test_no_text_opens_a_tag_or_a_picture(text):
    outside = "".join(plain(text).split("`")[::2]) if plain(text).count("`") % 2 == 0 else plain(text)
    assert "`" in text or ("<" not in outside and "![" not in outside)


def test_code_keeps_its_characters():
    assert plain("if `a < b` & c < d") == "if `a < b` &amp; c &lt; d"
    assert plain("```\na < b\n```") == "```\na < b\n```"


def test_names_have_the_colours_of_their_boxes_and_text_around_stays():
    one, two = format_grounded("a cat", Box(1, 2, 3, 4)), format_grounded("b", Box(5, 6, 7, 8))
    reply = f"Here: {one} & {two}."
    assert coloured(reply) == (
        'Here: <b><i style="color: #e6194b">■</i> a cat</b> &amp; <b><i style="color: #3cb44b">■</i> b</b>.'
    )


@pytest.mark.parametrize(
    ("so_far", "shown"),
    [
        ("A ", "A "), ("A <ref>ca", "A "), ("A <ref>cat</ref><box>(1,2),(3", "A "), ("A <box>(1,", "A "),
        ("A <ref>cat</ref><box>(1,2),(3,4)</box>", "A <ref>cat</ref><box>(1,2),(3,4)</box>"),
    ],
)  # fmt: skip
def test_a_box_that_is_still_being_written_is_not_shown(so_far, shown):
    assert settled(so_far) == shown


def test_boxes_are_drawn_into_a_copy_of_the_picture_shown_last(tmp_path):
    for name, size in (("one", (2000, 1000)), ("two", (100, 50))):
        Picture.new("RGB", size, "white").save(tmp_path / f"{name}.png")
    one, two = (Image(str(tmp_path / f"{name}.png")) for name in ("one", "two"))
    reply = assistant(format_grounded("it", Box(100, 100, 500, 500)))
    folder = tmp_path / "page"
    rows = rows_of((user(one, "First"), reply, user(two, "Second"), reply, user("Third"), reply), folder)
    assert [row["role"] for row in rows] == ["user", "assistant"] * 3
    files = [[Path(part["path"]) for part in row["content"] if isinstance(part, dict)] for row in rows]
    sizes = [[image_size(path) for path in row] for row in files]
    assert sizes == [[(1024, 512)], [(1024, 512)], [(100, 50)], [(640, 320)], [], [(640, 320)]]
    assert files[3] == files[5]  # drawn once
    assert all(path.parent == folder for row in files for path in row)


def test_a_broken_picture_is_named_as_its_owner_knows_it(tmp_path):
    path = tmp_path / "a b.png"
    path.write_bytes(b"<svg></svg>")
    with pytest.raises(SensoriumError) as raised:
        checked(path)
    assert raised.value.where == "a b.png" and str(tmp_path) not in str(raised.value)
