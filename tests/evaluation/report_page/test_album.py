"""Pictures in the file: small, once, and within the limit."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image as Picture

from sensorium.conversation import Image, Video
from sensorium.errors import SensoriumError
from sensorium.evaluation.report_page.album import MOST, Album
from sensorium.evaluation.report_page.view import Sample


def sample(name="q", media=()):
    return Sample(name, "t", "c", "?", (), (), (), media)


@pytest.fixture
def picture(tmp_path):
    def made(colour, size=(1000, 500)):
        path = tmp_path / f"{colour}.png"
        Picture.new("RGB", size, colour).save(path)
        return Image(str(path))

    return made


def test_the_largest_side_is_bounded_and_the_shape_kept(picture):
    album = Album(10**6, side=100)
    shown, = album.show(sample(), {"q": lambda: (picture("red"),)}).pictures
    assert (shown.width, shown.height) == (100, 50)
    decoded = Picture.open(io.BytesIO(base64.b64decode(shown.url.partition(",")[2])))
    assert decoded.size == (100, 50) and decoded.getpixel((50, 25))[0] > 240


def test_one_picture_of_two_questions_is_held_once(picture):
    album = Album(10**6)
    media = {name: lambda: (picture("red"),) for name in "ab"}
    first, second = (album.show(sample(name), media) for name in "ab")
    assert first.pictures == second.pictures and len(album.thumbnails) == 1


def test_what_would_be_more_than_the_limit_is_left_out_and_counted(picture):
    one = Album(10**6, side=50)
    one.show(sample(), {"q": lambda: (picture("red"),)})
    album = Album(one.used + 10, side=50)
    media = {"a": lambda: (picture("red"),), "b": lambda: (picture("blue"),), "c": lambda: (picture("red"),)}
    shown = {name: album.show(sample(name), media) for name in media}
    assert [len(shown[name].pictures) for name in "abc"] == [1, 0, 1]
    assert "Left out" in shown["b"].remark and album.left_out == 1 and album.used <= album.limit


def test_a_question_of_many_pictures_shows_the_first_of_them(picture):
    colours = ["red", "green", "blue", "white", "black", "gray", "navy", "teal"]
    shown = Album(10**7, side=20).show(sample(), {"q": lambda: tuple(map(picture, colours))})
    assert len(shown.pictures) == MOST and f"{MOST} of {len(colours)} pictures are shown" in shown.remark


def test_another_picture_than_the_model_saw_is_told(picture):
    red = picture("red")
    album = Album(10**6)
    assert album.show(sample(media=(red.digest,)), {"q": lambda: (red,)}).remark == ""
    assert "no longer the one" in album.show(sample(media=("0" * 64,)), {"q": lambda: (red,)}).remark


def test_videos_and_pictures_that_cannot_be_opened_are_said_and_do_not_stop_the_rest(tmp_path):
    def gone():
        raise SensoriumError("x.png", "is not there.")

    album = Album(10**6)
    assert album.show(sample(), {"q": lambda: (Video(str(tmp_path / "v.mp4")),)}).remark == "Not shown: a video."
    assert "x.png: is not there." in album.show(sample(), {"q": gone}).remark
    assert album.show(sample(), None).remark == ""
