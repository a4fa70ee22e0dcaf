"""What uploaded files are, and which subtitles belong to which video."""

from __future__ import annotations

import pytest

from sensorium.conversation import Image, Video
from sensorium.errors import SensoriumError
from sensorium.serving.page.uploads import Frames, shown_files

CONTENTS = {
    "a.png": b"\x89PNG\r\n\x1a\n", "film.mp4": b"\0\0\0\x20ftypisom", "film.dat": b"\x1a\x45\xdf\xa3",
    "moving.gif": b"GIF89a", "film.png": b"\0\0\0\x20ftypmp42", "picture.mp4": b"\xff\xd8\xff\xe0", "empty.mpg": b"",
    "notes.txt": b"Hello", "a.srt": b"1", "b.VTT": b"WEBVTT",
}  # fmt: skip


@pytest.fixture
def files(tmp_path):
    for name, data in CONTENTS.items():
        (tmp_path / name).write_bytes(data)
    return lambda *names: [tmp_path / name for name in names]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.png", Image), ("film.mp4", Video), ("film.dat", Video), ("moving.gif", Image), ("film.png", Video),
     ("picture.mp4", Image), ("empty.mpg", Video), ("notes.txt", Image)],
)  # fmt: skip
def test_the_first_bytes_say_what_a_file_is(files, name, kind):
    [part] = shown_files(files(name), Frames())
    assert type(part) is kind and part.source.endswith(name)


def test_subtitles_go_with_the_one_video(files):
    video, picture = shown_files(files("a.srt", "film.mp4", "a.png"), Frames(5, "subtitles"))
    assert isinstance(picture, Image)
    assert (video.frames, video.sampling, video.subtitles) == (5, "subtitles", str(files("a.srt")[0]))


@pytest.mark.parametrize("names", [("a.srt",), ("a.srt", "a.png"), ("a.srt", "film.mp4", "film.dat"),
                                   ("a.srt", "b.VTT", "film.mp4")])  # fmt: skip
def test_subtitles_that_could_be_of_none_or_of_several_are_refused(files, names):
    with pytest.raises(SensoriumError, match=r"a\.srt: must come with one video; videos: \d, subtitle files: \d"):
        shown_files(files(*names), Frames())
