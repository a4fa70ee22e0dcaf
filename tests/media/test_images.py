"""Pictures of every kind, whole and broken: the right pixels, or one line that says what is wrong."""

from __future__ import annotations

import base64
import errno
import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage
from PIL import ImageCms, ImageFile

from sensorium.conversation import Image
from sensorium.errors import SensoriumError
from sensorium.media import ImageLimits, encode_image, image_size, open_image, save_image

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def encoded(picture, format="PNG", **options):
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def chunk(kind, data=b""):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, *more):
    """A PNG written by hand, so that what Pillow cannot write can be read: rows are the raw, unfiltered samples."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND")


def corner_marked(width=24, height=16):
    """Black with a white 8x8 block in the upper left corner: shows every turn and flip."""
    picture = PILImage.new("RGB", (width, height))
    picture.paste(WHITE, (0, 0, 8, 8))
    return picture


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


def test_damaged_exif_does_not_cost_the_picture():
    data = encoded(corner_marked(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff damaged")
    assert open_image(data).size == image_size(data) == (24, 16)


RAMP16 = np.array([[0, 1, 128, 129, 257, 32896, 65407, 65535]], np.uint16)
RAMP8 = [0, 0, 0, 1, 1, 128, 255, 255]  # round(x / 257), by hand: 128/257 = .498, 129/257 = .502, 65407/257 = 254.502


def gray_levels(data):
    return [pixel[0] for pixel in np.asarray(open_image(data))[0]]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_scaled_not_clipped(format):
    assert gray_levels(encoded(PILImage.fromarray(RAMP16), format)) == RAMP8


def test_big_endian_and_12_bit_tiffs_are_scaled_by_their_own_range():
    assert gray_levels(encoded(PILImage.fromarray(RAMP16.astype(">u2")), "TIFF")) == RAMP8
    # Two samples of 12 bits in three bytes: 0xFFF is white, 0x800 half.
    assert gray_levels(tiff_12_bit(b"\xff\xf8\x00")) == [255, round(0x800 / 0xFFF * 255)]


def tiff_12_bit(strip):
    entries = [(256, 3, 2), (257, 3, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 3, 1),
               (279, 4, len(strip))]  # fmt: skip
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + directory


def test_16_bit_colour_keeps_its_proportions():
    row = struct.pack(">6H", 65535, 32768, 0, 257, 25700, 51400)
    pixels = np.asarray(open_image(png(2, 1, 16, 2, [row])))[0]
    assert pixels.tolist() == [pytest.approx([255, 128, 0], abs=1), pytest.approx([1, 100, 200], abs=1)]


@pytest.mark.parametrize(
    ("samples", "levels"),
    [
        (np.float32([[0, 0.2, 1]]), [0, 51, 255]),  # floats in 0-1
        (np.float32([[0, 51, 255]]), [0, 51, 255]),  # floats in 0-255
        (np.float32([[-1, 0, 1]]), [0, 128, 255]),  # signed: from the least to the most
        (np.float32([[np.nan, 0.2, 1]]), [0, 51, 255]),
        (np.float32([[0.5, 0.5, 0.5]]), [128, 128, 128]),
        (np.int32([[0, 51, 255]]), [0, 51, 255]),
        (np.int32([[0, 51 * 257, 65535]]), [0, 51, 255]),
        (np.int32([[-100, 0, 100]]), [0, 128, 255]),
    ],
    ids=str,
)
def test_floats_and_long_integers_are_scaled_by_the_range_that_holds_them(samples, levels):
    assert gray_levels(encoded(PILImage.fromarray(samples), "TIFF")) == levels


def test_one_bit_is_black_and_white():
    picture = PILImage.new("1", (2, 1))
    picture.putpixel((1, 0), 1)
    for format in ("PNG", "TIFF", "BMP", "GIF"):
        assert gray_levels(encoded(picture, format)) == [0, 255]


def test_alpha_lies_on_white():
    half_red = encoded(PILImage.new("RGBA", (2, 2), (255, 0, 0, 128)))
    assert open_image(half_red).getpixel((0, 0)) == pytest.approx((255, 127, 127), abs=1)
    invisible = encoded(PILImage.new("RGBA", (2, 2), (0, 0, 0, 0)), "WEBP", lossless=True)
    assert open_image(invisible).getpixel((0, 0)) == WHITE
    gray = encoded(PILImage.new("LA", (2, 2), (0, 64)))
    assert open_image(gray).getpixel((0, 0)) == pytest.approx((191, 191, 191), abs=1)


def test_transparent_palettes_and_colour_keys_lie_on_white():
    palette = PILImage.new("P", (3, 1))
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    for index in range(3):
        palette.putpixel((index, 0), index)
    keyed = encoded(palette, "PNG", transparency=0)
    assert np.asarray(open_image(keyed)).tolist() == [[list(WHITE), list(RED), list(BLUE)]]
    graded = encoded(palette, "PNG", transparency=bytes([255, 0, 51]))
    assert np.asarray(open_image(graded))[0].tolist() == [list(BLACK), list(WHITE), [204, 204, 255]]
    assert np.asarray(open_image(encoded(palette, "GIF", transparency=1)))[0][1].tolist() == list(WHITE)
    for depth, row, key in ((8, b"\x07\x09", 7), (16, struct.pack(">2H", 7 * 257, 9 * 257), 7 * 257), (1, b"\x40", 0)):
        data = png(2, 1, depth, 0, [row], chunk(b"tRNS", struct.pack(">H", key)))
        assert open_image(data).getpixel((0, 0)) == WHITE, depth
        assert gray_levels(data)[1] == (255 if depth == 1 else 9), depth
    deep = png(1, 1, 16, 2, [struct.pack(">3H", 257, 514, 771)], chunk(b"tRNS", struct.pack(">3H", 257, 514, 771)))
    assert open_image(deep).size == (1, 1)


def test_cmyk_is_ink_on_paper():
    for colour, expected in (((0, 0, 0, 0), WHITE), ((0, 255, 255, 0), RED), ((0, 0, 0, 255), BLACK)):
        for format in ("JPEG", "TIFF"):
            data = encoded(PILImage.new("CMYK", (16, 16), colour), format)
            assert open_image(data).getpixel((8, 8)) == pytest.approx(expected, abs=3)


def test_lab_becomes_rgb():
    data = encoded(PILImage.new("LAB", (4, 4), (255, 0, 0)), "TIFF")
    assert min(open_image(data).getpixel((1, 1))) > 250
    assert max(open_image(encoded(PILImage.new("LAB", (4, 4), (0, 0, 0)), "TIFF")).getpixel((1, 1))) < 5


def swapped_profile():
    """sRGB's profile with its red and green primaries exchanged: what it calls red is green."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"tmp!").replace(b"gXYZ", b"rXYZ").replace(b"tmp!", b"gXYZ")


def test_an_embedded_colour_profile_is_followed_to_srgb():
    picture = PILImage.new("RGB", (8, 8), RED)
    swapped = open_image(encoded(picture, icc_profile=swapped_profile()))
    assert swapped.getpixel((0, 0)) == pytest.approx(GREEN, abs=3) and "icc_profile" not in swapped.info
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert open_image(encoded(picture, icc_profile=srgb)).getpixel((0, 0)) == pytest.approx(RED, abs=1)
    see_through = encoded(PILImage.new("RGBA", (8, 8), (255, 0, 0, 128)), icc_profile=swapped_profile())
    assert open_image(see_through).getpixel((0, 0)) == pytest.approx((127, 255, 127), abs=3)


def test_a_damaged_or_unfitting_profile_is_ignored():
    picture = PILImage.new("RGB", (8, 8), RED)
    assert open_image(encoded(picture, icc_profile=b"no profile at all")).getpixel((0, 0)) == RED
    for_rgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    cmyk = encoded(PILImage.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF", icc_profile=for_rgb)
    assert open_image(cmyk).getpixel((0, 0)) == pytest.approx(RED, abs=3)


def png_header(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND")


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (2**31 - 1, 2**31 - 1), (12_000, 12_000), (40_000, 1)])
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


def test_pillows_own_switches_stay_as_they_were(photo):
    before = PILImage.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    open_image(photo)
    with pytest.raises(SensoriumError):
        open_image(png_header(100_000, 100_000))
    assert (PILImage.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES) == before


def opens_or_refuses(data):
    limits = ImageLimits(max_pixels=100_000)
    try:
        picture = open_image(data, limits)
    except SensoriumError as error:
        assert error.what
    else:
        assert picture.mode == "RGB" and picture.size == image_size(data, limits)


HEADS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM", b"II*\0", b"MM\0*", b"P5 ", b"Pf\n",
         b"\0\0\1\0\1\0", b"\0\0\0\x1cftypavif", b"\0\0\0\x0cjP  \r\n", b"<svg", b"")  # fmt: skip


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
    files += [encoded(PILImage.fromarray(RAMP16), format) for format in ("PNG", "TIFF", "PPM")]
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

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SensoriumError, match="No space left on device"):
        save_image(corner_marked(), photo)
    assert photo.read_bytes() == before and list(photo.parent.iterdir()) == [photo]


def test_a_truly_full_device_is_told():
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    script = "import errno; f = open('/dev/full', 'wb'); f.write(b'x'); f.flush()"
    # The premise of the test above: a full disk raises OSError with this number when written through.
    assert "No space left" in subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [("a.txt", "no picture format"), ("a", "no picture format"), ("no/a.png", "No such file"), ("folder.png", "director")],
)
def test_a_picture_that_cannot_be_saved_is_told(tmp_path, name, said):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(SensoriumError, match=said):
        save_image(corner_marked(), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]
