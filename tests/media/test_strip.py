"""Frames side by side: each where it belongs, none left out, none stretched."""

from __future__ import annotations

import pytest
from PIL import Image

from sensorium.media.strip import strip_of


@pytest.mark.parametrize(("n", "across", "size"), [(1, 4, (40, 20)), (4, 4, (160, 20)), (7, 3, (120, 60))])
def test_frames_stand_in_reading_order_with_their_times(n, across, size):
    pictures = [Image.new("RGB", (80, 40), (0, 0, 100 + 20 * number)) for number in range(n)]
    plain = strip_of(pictures, [""] * n, across, 40)
    told = strip_of(pictures, ["0:01"] * n, across, 40)
    assert plain.size == told.size == size
    for number in range(n):
        x, y = number % across * 40, number // across * 20
        assert plain.getpixel((x, y)) == plain.getpixel((x + 37, y + 17)) == (0, 0, 100 + 20 * number)
        corner = (x, y, x + 38, y + 18)
        assert max(red for _, (red, _, _) in told.crop(corner).getcolors()) > 128, "white letters"
        assert plain.crop(corner).getcolors() == [(38 * 18, (0, 0, 100 + 20 * number))]
