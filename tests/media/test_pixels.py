"""Deep, transparent, printed and profiled pictures become the right 8-bit sRGB."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from handmade import BLACK, BLUE, GREEN, RED, WHITE, chunk, encoded, png, tiff_12_bit
from PIL import Image as PILImage
from PIL import ImageCms

from sensorium.media import open_image

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
    # Lightness of 255, then green-red and blue-yellow with 128 in the middle. sRGB's red under D50 is 54.3, 80.8, 69.9.
    for colour, expected in (
        ((255, 128, 128), WHITE),
        ((0, 128, 128), BLACK),
        ((138, 209, 198), RED),
    ):
        data = encoded(PILImage.new("LAB", (4, 4), colour), "TIFF")
        assert open_image(data).getpixel((1, 1)) == pytest.approx(expected, abs=6)


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
