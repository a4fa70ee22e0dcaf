"""Pictures opened from every place, turned upright, held to limits, and saved whole or not at all."""

from __future__ import annotations

import base64
import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from handmade import BLUE, GREEN, RED, WHITE, chunk, corner_marked, encoded
from PIL import Image as PILImage

from sensorium.conversation import Image
from sensorium.errors import SensoriumError
from sensorium.media import ImageLimits, encode_image, image_size, open_image, save_image


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    PILImage.new("RGB", (6, 4), RED).save(path)
    return path


def test_a_picture_opens_from_path_text_bytes_data_url_and_conversation(photo):
    data = photo.read_bytes()
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    for source in (photo, str(photo), data, url, Image(str(photo)), Image(data), Image(url)):
        picture = open_image(source)
        assert (picture.mode, picture.size, picture.getpixel((5, 3))) == ("RGB", (6, 4), RED)
        assert image_size(source) == (6, 4)


def test_an_opened_picture_is_free_of_its_file(photo):
    picture = open_image(photo)
    photo.unlink()
    assert type(picture) is PILImage.Image and picture.info == {}
    assert picture.resize((1, 1)).getpixel((0, 0)) == RED


@pytest.mark.parametrize(
    "format", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO", "MPO"]
)
def test_common_formats_are_read(format):
    data = encoded(PILImage.new("RGB", (32, 32), (200, 60, 20)), format)
    assert open_image(data).getpixel((9, 9)) == pytest.approx((200, 60, 20), abs=4)
    assert image_size(data) == (32, 32)


@pytest.mark.parametrize("format", ["PNG", "GIF", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(format):
    frames = [PILImage.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert open_image(data).getpixel((4, 4)) == RED


# What EXIF 2.32 says: the stored first row and first column are, seen upright, the … Hence where the stored upper left
# corner lies in the upright picture, and whether its sides are swapped.
CORNERS = {1: "upper left", 2: "upper right", 3: "lower right", 4: "lower left", 5: "upper left", 6: "upper right",
           7: "lower right", 8: "lower left"}  # fmt: skip


@pytest.mark.parametrize("orientation", CORNERS)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_pictures_are_turned_upright_by_exif(format, orientation):
    exif = PILImage.Exif()
    exif[0x0112] = orientation
    options = {"TIFF": {"tiffinfo": {0x0112: orientation}}, "AVIF": {"quality": 100}}.get(format, {})
    data = encoded(corner_marked(), format, **(options if format == "TIFF" else {"exif": exif.tobytes(), **options}))
    upright = open_image(data)
    width, height = (24, 16) if orientation < 5 else (16, 24)
    assert upright.size == image_size(data) == (width, height)
    row, column = CORNERS[orientation].split()
    seen = {
        f"{row} {column}": upright.getpixel((3 if column == "left" else width - 4, 3 if row == "upper" else height - 4))
        for row in ("upper", "lower")
        for column in ("left", "right")
    }
    assert [place for place, pixel in seen.items() if min(pixel) > 200] == [f"{row} {column}"]


def test_flips_and_turns_are_told_apart():
    # Two marks: white at the stored first corner, red further along the first row.
    stored = PILImage.new("RGB", (2, 2))
    stored.putpixel((0, 0), WHITE)
    stored.putpixel((1, 0), RED)
    place_of_red = {1: (1, 0), 2: (0, 0), 3: (0, 1), 4: (1, 1), 5: (0, 1), 6: (1, 1), 7: (1, 0), 8: (0, 0)}
    for orientation, place in place_of_red.items():
        exif = PILImage.Exif()
        exif[0x0112] = orientation
        assert open_image(encoded(stored, exif=exif.tobytes())).getpixel(place) == RED, orientation


def test_exif_after_the_pixels_of_a_png_counts_for_the_size_too():
    exif = PILImage.Exif()
    exif[0x0112] = 6
    whole = encoded(corner_marked())
    late = whole[:-12] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + whole[-12:]
    assert open_image(late).size == image_size(late) == (16, 24)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_impossible_orientation_is_ignored(value):
    exif = PILImage.Exif()
    exif[0x0112] = value
    assert open_image(encoded(corner_marked(), "JPEG", exif=exif.tobytes())).size == (24, 16)


def test_the_limits_are_the_callers(photo):
    for limits, said in (
        (ImageLimits(max_pixels=23), "6 x 4 pixels; at most 23"),
        (ImageLimits(max_side=5), "5 a side"),
        (ImageLimits(max_bytes=10), "bytes; at most 10 are allowed"),
    ):
        for source in (photo, photo.read_bytes()):
            with pytest.raises(SensoriumError, match=said):
                open_image(source, limits)
    assert open_image(photo, ImageLimits(max_pixels=24, max_side=6)).size == (6, 4)


def test_a_huge_data_url_is_refused_before_it_is_decoded():
    with pytest.raises(SensoriumError, match="at most 1,000 are allowed"):
        open_image("data:image/png;base64," + "!" * 10_000, ImageLimits(max_bytes=1000))


def test_missing_empty_and_wrong_places_are_told(tmp_path):
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    for source, said in (
        (tmp_path / "no.png", "does not exist"),
        (tmp_path / "empty.png", "is empty"),
        (b"", "is empty"),
        ("data:image/png;base64,", "is empty"),
        (tmp_path, "is a folder"),
        (tmp_path / "pipe.png", "not a regular file"),
        (tmp_path / "empty.png" / "x.png", "cannot be opened"),
        ("a\0b.png", "cannot be opened"),
        ("x" * 10_000, "cannot be opened"),
        ("http://example.org/a.png", "Download the picture"),
        ("HTTPS://example.org/a.png", "Download the picture"),
        ("ftp://example.org/a.png", "unknown scheme, ftp"),
        ("data:image/png,abc", "not a base64 data URL"),
        ("data:image/png;base64,###", "damaged"),
    ):
        for ask in (open_image, image_size):
            with pytest.raises(SensoriumError, match=said) as caught:
                ask(source)
            assert len(str(caught.value)) < 400


def test_a_file_that_may_not_be_read_is_told(photo, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # by hand: permissions do not bind every user that runs tests
    with pytest.raises(SensoriumError, match="permission denied"):
        open_image(photo)


def test_bytes_are_never_part_of_a_message():
    secret = b"SECRET" * 50
    for source in (secret, "data:image/png;base64," + base64.b64encode(secret).decode()):
        with pytest.raises(SensoriumError, match=r"^picture \(300 bytes\): ") as caught:
            open_image(source)
        assert "SECRET" not in str(caught.value) and "U0VDUkVU" not in str(caught.value)


def test_a_saved_picture_is_read_back(tmp_path):
    picture = corner_marked()
    for suffix in (".png", ".PNG", ".webp", ".bmp", ".gif", ".jpg", ".jpeg"):
        save_image(picture, tmp_path / f"a{suffix}")
        again = np.asarray(open_image(tmp_path / f"a{suffix}")).astype(int)
        assert np.abs(again - np.asarray(picture)).mean() < (0.01 if suffix.lower() in (".png", ".bmp", ".gif") else 6)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_jpeg_gets_white_for_alpha():
    data = encode_image(PILImage.new("RGBA", (8, 8), (0, 0, 0, 0)), "JPEG")
    assert open_image(data).getpixel((4, 4)) == WHITE


def test_a_full_disk_leaves_the_old_file_and_no_other(photo, monkeypatch):
    before = photo.read_bytes()

    def full(self, _target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SensoriumError, match="No space left on device"):
        save_image(corner_marked(), photo)
    assert photo.read_bytes() == before and list(photo.parent.iterdir()) == [photo]


def test_a_write_that_the_system_stops_halfway_leaves_nothing(tmp_path):
    pytest.importorskip("resource")
    script = """
import resource, signal, sys
from PIL import Image
from sensorium.errors import SensoriumError
from sensorium.media import save_image
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    save_image(Image.effect_noise((200, 200), 50), sys.argv[1])
except SensoriumError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "a.png: cannot be written (File too large)" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.txt", "no picture format"),
        ("a", "no picture format"),
        ("grey.png/a.png", "exists|director"),
        ("folder.png", "director"),
    ],
)
def test_a_picture_that_cannot_be_saved_is_told(tmp_path, name, said):
    (tmp_path / "folder.png").mkdir()
    save_image(corner_marked(), tmp_path / "grey.png")
    with pytest.raises(SensoriumError, match=said):
        save_image(corner_marked(), tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.png", "grey.png"]
