"""Bombs, broken files and things that are no pictures: refused in one line, whatever the bytes."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest
from handmade import corner_marked, encoded, png_header
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage
from PIL import ImageCms, ImageFile

from sensorium.errors import SensoriumError
from sensorium.media import ImageLimits, image_size, open_image


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_cost_the_picture():
    data = encoded(corner_marked(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff damaged")
    assert open_image(data).size == image_size(data) == (24, 16)


@pytest.mark.parametrize(
    ("width", "height"), [(100_000, 100_000), (2**31 - 1, 2**31 - 1), (12_000, 12_000), (40_000, 1)]
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_by_its_header(width, height):
    for ask in (open_image, image_size):
        with pytest.raises(SensoriumError, match="pixels"):
            ask(png_header(width, height))


def test_a_bomb_inside_an_icon_is_refused_by_its_header():
    for inside in (png_header(12_000, 12_000), struct.pack("<IiiHHIIiiII", 40, 20_000, 20_000, 1, 1, 0, 0, 0, 0, 0, 0)):
        icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(inside), 22) + inside
        with pytest.raises(SensoriumError, match="000 pixels"):
            open_image(icon)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"<svg/>", "an SVG drawing"),
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PostScript document"),
        (b"\n<!DOCTYPE html><title>404</title>", r"a web page \(HTML\)"),
        ("Grüße aus Köln".encode(), "plain text"),
        (b'{"error": "not found"}', "JSON text"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video"),
        (b"RIFF\0\0\0\0WAVEfmt ", "a sound"),
        (b"PK\3\4\0\0", "a ZIP archive"),
        (b"8BPS\0\1", "a Photoshop document"),
        (b"\xff\x0a\x00", "a JPEG XL picture"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x89PNG\r\n\x1a\n", "is damaged or cut off"),
        (b"\xff\xd8\xff\xe0", "is damaged or cut off"),
        (b"\x93\x00\x17", "of no known picture format"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path, data, said):
    mislabelled = tmp_path / "photo.png"
    mislabelled.write_bytes(data)
    for source in (data, mislabelled):
        for ask in (open_image, image_size):
            with pytest.raises(SensoriumError, match=said) as caught:
                ask(source)
            assert caught.value.remedy


def test_heic_without_its_plugin_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(SensoriumError, match=r"HEIC.*`sensorium\[heic\]`.*JPEG"):
        open_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000"])
def test_a_truncated_picture_is_told_from_a_whole_one(format):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = encoded(PILImage.fromarray(noise), format)
    with pytest.raises(SensoriumError, match="damaged or cut off"):
        open_image(data[: len(data) // 2])


def test_pillows_own_switches_stay_as_they_were():
    before = PILImage.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    open_image(encoded(corner_marked()))
    with pytest.raises(SensoriumError):
        open_image(png_header(100_000, 100_000))
    assert before == (PILImage.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


def opens_or_refuses(data):
    limits = ImageLimits(max_pixels=100_000)
    try:
        picture = open_image(data, limits)
    except SensoriumError as error:
        assert error.what
    else:
        assert picture.mode == "RGB" and picture.size == image_size(data, limits)


HEADS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM", b"II*\0", b"MM\0*", b"P5 ",
         b"Pf\n", b"\0\0\1\0\1\0", b"\0\0\0\x1cftypavif", b"\0\0\0\x0cjP  \r\n", b"<svg", b"")  # fmt: skip


@given(st.sampled_from(HEADS), st.binary(max_size=300))
@pytest.mark.filterwarnings("ignore")
def test_arbitrary_bytes_open_or_are_refused(head, rest):
    opens_or_refuses(head + rest)


@pytest.fixture(scope="module")
def wholes():
    """One small whole file a format, with all that can hang on it: EXIF, profile, palette, frames, deep samples."""
    exif = PILImage.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    colour = corner_marked(20, 12)
    more = {"exif": exif.tobytes(), "icc_profile": profile}
    files = [encoded(colour, format, **more) for format in ("PNG", "JPEG", "WEBP", "AVIF")]
    files += [encoded(colour, format) for format in ("BMP", "TIFF", "PPM", "GIF", "JPEG2000", "ICO", "MPO")]
    deep = PILImage.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16))
    files += [encoded(deep, format) for format in ("PNG", "TIFF", "PPM")]
    files.append(encoded(colour.convert("CMYK"), "JPEG"))
    files.append(encoded(colour.convert("RGBA"), "TIFF", compression="tiff_lzw"))
    files.append(encoded(colour.convert("P"), "GIF", save_all=True, append_images=[colour.convert("L")]))
    return files


@given(st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("ignore")
def test_damage_anywhere_in_a_file_opens_or_is_refused(wholes, data):
    damaged = bytearray(data.draw(st.sampled_from(wholes)))
    for _ in range(data.draw(st.integers(1, 4))):
        # The first bytes decide most, so half of the damage goes there.
        top = data.draw(st.sampled_from([min(64, len(damaged)), len(damaged)]))
        damaged[data.draw(st.integers(0, top - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(1, len(damaged)) | st.just(len(damaged)))
    opens_or_refuses(bytes(damaged[:end]))
