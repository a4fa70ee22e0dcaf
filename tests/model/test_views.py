"""A picture's way to normalised pixels: squashed or padded, numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from sensorium.model.views import Sight, ViewsConfig, make_views

PLAIN = ViewsConfig(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def test_squash_fills_the_square_whatever_the_shape():
    pixels = make_views(Image.new("RGB", (40, 10), (255, 0, 51)), Sight(PLAIN, 8, 4))
    assert pixels.shape == (1, 3, 8, 8) and pixels.dtype == torch.float32
    torch.testing.assert_close(pixels[0, :, 3, 3], torch.tensor([1.0, 0.0, 0.2]))
    assert torch.equal(pixels.amax(dim=(2, 3)), pixels.amin(dim=(2, 3)))


def test_pixels_are_normalised_by_channel():
    views = ViewsConfig(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    pixels = make_views(Image.new("RGB", (4, 4), (255, 0, 255)), Sight(views, 4, 4))
    torch.testing.assert_close(pixels[0, :, 0, 0], torch.tensor([1.0, -1.0, 0.5]))


def test_pad_centres_the_picture_on_the_mean_colour():
    views = ViewsConfig(fit="pad", mean=(1.0, 0.0, 0.2), std=(1.0, 1.0, 1.0))
    pixels = make_views(Image.new("RGB", (8, 4), (0, 255, 51)), Sight(views, 8, 4))
    torch.testing.assert_close(pixels[0, :, 0, 4], torch.zeros(3), atol=1e-6, rtol=0)  # padding: the mean itself
    torch.testing.assert_close(pixels[0, :, 4, 4], torch.tensor([-1.0, 1.0, 0.0]), atol=1e-6, rtol=0)


def test_directions_are_kept():
    picture = Image.new("RGB", (2, 2), (0, 0, 0))
    picture.putpixel((1, 0), (255, 0, 0))  # right, above
    pixels = make_views(picture, Sight(PLAIN, 2, 2))
    assert pixels[0, 0].tolist() == [[0.0, 1.0], [0.0, 0.0]]


def test_tiles_are_views_of_one_tensor():
    views = ViewsConfig(tiles={"scheme": "internvl", "max_tiles": 4}, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    picture = Image.new("RGB", (16, 8), (0, 0, 0))
    picture.paste((255, 0, 0), (8, 0, 16, 8))
    pixels = make_views(picture, Sight(views, 8, 4))
    assert pixels.shape == (3, 3, 8, 8)  # left half, right half, the whole
    assert pixels[0].max() == 0 and pixels[1, 0].min() == 1 and 0 < pixels[2, 0].mean() < 1


@pytest.mark.parametrize("wrong", [{"fit": "crop"}, {"tiles": {"scheme": "mosaic"}},
                                   {"tiles": {"scheme": "internvl", "min_tiles": 5, "max_tiles": 4}}])
def test_an_unknown_way_is_refused(wrong):
    with pytest.raises(ValidationError):
        ViewsConfig(**wrong)
