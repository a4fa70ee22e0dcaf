"""Views of pictures by every scheme: numbers by hand, grids and pixels as transformers' processors have them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers.image_processing_utils import select_best_resolution
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import (
    GotOcr2ImageProcessorPil,
    get_optimal_tiled_canvas,
)
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_next.modeling_llava_next import unpad_image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from sensorium.errors import SensoriumError
from sensorium.media.sight import Sight, ViewsConfig
from sensorium.media.tiles import AnyResTiles, InternVLTiles, NanoVLMTiles
from sensorium.media.views import WHOLE, Corners, Views

SIZES = [(w, h) for w in range(20, 2000, 97) for h in range(20, 2000, 113)]  # 20 x 18 shapes, thin strips among them
SIDE, TOKEN = 28, 14  # a view of 2 x 2 visual tokens

sides = st.integers(1, 3000)
schemes = st.sampled_from([
    ViewsConfig(), ViewsConfig(fit="pad"), ViewsConfig(fit="letterbox"), ViewsConfig(fit="native"),
    ViewsConfig(tiles=InternVLTiles()), ViewsConfig(tiles=InternVLTiles(max_tiles=6, thumbnail=False)),
    ViewsConfig(tiles=AnyResTiles()), ViewsConfig(tiles=NanoVLMTiles(max_side=SIDE * 8)),
])


def seen(config: ViewsConfig, width: int, height: int) -> Views:
    return Sight(config, SIDE, TOKEN).views((width, height))


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.RandomState(0).randint(0, 256, (height, width, 3), dtype=np.uint8))


def pixels(views: Views, picture: Image.Image) -> np.ndarray:
    return np.stack([np.asarray(view) for view in views.cut(picture)])


@pytest.mark.parametrize("most", [1, 6, 12])
def test_internvl_chooses_the_grid_that_transformers_chooses(most):
    tiles = InternVLTiles(max_tiles=most)
    for width, height in SIZES:
        assert tiles.best_grid((width, height), 448) == get_optimal_tiled_canvas((height, width), (448, 448), 1, most)


def test_of_two_shapes_equally_near_internvl_takes_the_larger_where_the_picture_fills_half_of_it():
    tiles = InternVLTiles(max_tiles=4)
    assert tiles.best_grid((100, 100), 448) == (1, 1)
    assert tiles.best_grid((640, 640), 448) == (2, 2)  # 640² is more than half of 896²
    assert tiles.best_grid((633, 633), 448) == (1, 1)  # 633² is less


@pytest.mark.parametrize("size", [(90, 50), (50, 90), (28, 28), (300, 40)])
def test_internvl_cuts_the_pixels_that_transformers_cuts(size):
    processor = GotOcr2ImageProcessorPil(size={"height": SIDE, "width": SIDE}, crop_to_patches=True, min_patches=1,
                                         max_patches=12, do_normalize=False, do_rescale=False)
    expected = processor(noise(*size), return_tensors="np")["pixel_values"]
    found = pixels(seen(ViewsConfig(tiles=InternVLTiles()), *size), noise(*size))
    assert np.abs(found.transpose(0, 3, 1, 2).astype(int) - expected.astype(int)).max() <= 1


def test_internvl_shows_the_whole_last_and_only_beside_several_tiles():
    views = seen(ViewsConfig(tiles=InternVLTiles()), 60, 20)
    assert len(views) == 4 and views.to_picture(WHOLE, 3) == WHOLE
    assert [views.to_picture(WHOLE, i)[::2] for i in range(3)] == [
        pytest.approx((i / 3, (i + 1) / 3)) for i in range(3)
    ]
    assert len(seen(ViewsConfig(tiles=InternVLTiles()), 20, 20)) == 1
    assert views.layout == tuple(range(4 * 4))


def test_anyres_chooses_the_grid_that_transformers_chooses():
    tiles = AnyResTiles()
    resolutions = [(rows * 336, columns * 336) for columns, rows in tiles.grids]
    for width, height in SIZES:
        columns, rows = tiles.best_grid((width, height), 336)
        assert (rows * 336, columns * 336) == select_best_resolution((height, width), resolutions)


@pytest.mark.parametrize("size", [(90, 50), (50, 90), (57, 23), (28, 28), (300, 40)])
def test_anyres_cuts_the_pixels_that_transformers_cuts(size):
    grids = AnyResTiles().grids
    square = {"height": SIDE, "width": SIDE}
    processor = LlavaNextImageProcessorPil(size=square, crop_size=square, do_normalize=False, do_rescale=False,
                                           image_grid_pinpoints=[[r * SIDE, c * SIDE] for c, r in grids])
    expected = processor(noise(*size), return_tensors="np")["pixel_values"][0]
    found = pixels(seen(ViewsConfig(tiles=AnyResTiles()), *size), noise(*size)).transpose(0, 3, 1, 2)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


@given(st.integers(5, 900), st.integers(5, 900))
def test_anyres_keeps_the_tokens_that_transformers_keeps(width, height):
    import torch

    grid = (6, 6)
    tiles = AnyResTiles()
    columns, rows = tiles.best_grid((width, height), 84)
    views = tiles.views((width, height), 84, 36, grid)
    numbers = 36 + torch.arange(columns * rows * 36).view(rows, columns, *grid)
    together = numbers.permute(0, 2, 1, 3).reshape(1, rows * 6, columns * 6)
    kept = unpad_image(together, (height, width))[0].tolist()
    assert list(views.layout) == [*range(36), *(item for row in kept for item in (*row, "<row>"))]


def test_a_square_of_anyres_takes_2928_tokens_of_llava_next():
    views = AnyResTiles().views((1000, 1000), 336, 576, (24, 24))
    assert len(views.layout) == 576 + 48 * 48 + 48


def test_anyres_needs_tokens_in_rows():
    with pytest.raises(SensoriumError, match="internvl"):
        AnyResTiles().views((50, 50), 28, 32, None)


def test_nanovlm_rounds_up_to_squares_and_announces_each_tile():
    tiles = NanoVLMTiles(max_side=2048)
    assert tiles.resized((1100, 500), 512) == (1536, 1024)  # 500 * 1536 / 1100 = 698, up to 1024
    assert tiles.resized((5000, 500), 512) == (2048, 512)
    assert tiles.resized((300, 200), 512) == (512, 512)
    assert NanoVLMTiles(max_side=2048, always_max=True).resized((300, 200), 512) == (2048, 1536)
    views = tiles.views((600, 300), 512, 2, (1, 2))
    assert views.layout == ("<global>", 0, 1, "<row_1_col_1>", 2, 3, "<row_1_col_2>", 4, 5)
    assert views.to_picture(WHOLE, 0) == WHOLE and views.to_picture(WHOLE, 2) == (0.5, 0.0, 1.0, 1.0)
    assert tiles.views((300, 200), 512, 2, (1, 2)).layout == ("<global>", 0, 1)
    assert set(views.layout) - {*range(6)} <= set(tiles.added_tokens())


@given(sides)
def test_a_square_stays_square_under_nanovlms_rule(side):
    assert len(set(NanoVLMTiles(max_side=SIDE * 8).resized((side, side), SIDE))) == 1


def test_nanovlm_has_no_token_for_a_ninth_row():
    with pytest.raises(SensoriumError, match="Set at most 224"):
        NanoVLMTiles(max_side=28 * 9).views((50, 50), 28, 4, (2, 2))


def test_native_rounds_as_qwen2_vl_does():
    config = ViewsConfig(fit="native", min_pixels=56 * 56, max_pixels=28 * 28 * 40)
    for width, height in SIZES:
        views = Sight(config, 224, 28).views((width, height))
        assert views.size[::-1] == smart_resize(height, width, 28, 56 * 56, 28 * 28 * 40)
        assert views.n_tokens == views.size[0] * views.size[1] // 28**2


def test_a_strip_too_thin_for_its_own_size_is_refused():
    with pytest.raises(SensoriumError, match="one side over 200 times the other"):
        seen(ViewsConfig(fit="native"), 4001, 20)


def test_letterbox_keeps_the_shape_and_every_border_is_ground():
    config = ViewsConfig(fit="letterbox", mean=(1.0, 0.0, 0.0))
    views = seen(config, 56, 28)
    view = views.cut(Image.new("RGB", (56, 28), (0, 0, 255)))[0]
    colours = np.asarray(view)
    assert (colours[:7] == (255, 0, 0)).all() and (colours[21:] == (255, 0, 0)).all()
    assert (colours[7:21] == (0, 0, 255)).all()
    assert views.to_picture((0, 0.25, 1, 0.75), 0) == pytest.approx((0, 0, 1, 1))


def test_pad_maps_a_box_of_the_square_back_to_the_picture():
    views = seen(ViewsConfig(fit="pad"), 80, 40)
    assert views.to_picture((0.0, 0.25, 0.5, 0.5), 0) == pytest.approx((0.0, 0.0, 0.5, 0.5))
    assert views.from_picture((0.0, 0.0, 0.5, 0.5), 0) == pytest.approx((0.0, 0.25, 0.5, 0.5))


@given(schemes, sides, sides, st.tuples(*[st.floats(0, 1)] * 4))
def test_boxes_come_back_from_every_view(config, width, height, box: Corners):
    if max(width, height) > 200 * min(width, height):
        return
    views = seen(config, width, height)
    for view in range(len(views)):
        assert views.to_picture(views.from_picture(box, view), view) == pytest.approx(box, abs=1e-6)


@given(schemes, st.integers(10, 400), st.integers(10, 400))
def test_a_visual_token_covers_the_pixels_its_part_of_the_view_was_made_of(config, width, height):
    """A picture whose red is its column and whose green is its row: a view's colours say where it looks."""
    across, down = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    ramp = np.stack([255 * across / width, 255 * down / height, np.full_like(across, 200)], axis=-1)
    picture = Image.fromarray(ramp.round().astype(np.uint8))
    views = seen(config, width, height)
    cut = [np.asarray(view, dtype=float) for view in views.cut(picture)]
    for token in views.order:
        left, top, right, bottom = views.covers(token)
        if min(left, top) < 0 or max(right, bottom) > 1:
            continue  # partly ground
        view, within = divmod(token, views.n_tokens)
        row, column = divmod(within, views.grid[1])
        part = cut[view][row * TOKEN : (row + 1) * TOKEN, column * TOKEN : (column + 1) * TOKEN]
        red, green = part[..., 0].mean() / 255, part[..., 1].mean() / 255
        assert red == pytest.approx((left + right) / 2, abs=0.06)
        assert green == pytest.approx((top + bottom) / 2, abs=0.06)


@given(schemes, sides, sides)
def test_every_token_of_the_layout_is_one_that_a_view_makes_and_none_stands_twice(config, width, height):
    if max(width, height) > 200 * min(width, height):
        return
    views = seen(config, width, height)
    assert len(set(views.order)) == len(views.order)
    assert set(views.order) <= set(range(len(views) * views.n_tokens))
    named = {item for item in views.layout if isinstance(item, str)}
    assert named <= set(config.added_tokens)
