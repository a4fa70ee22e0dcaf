"""Views of pictures by every scheme: numbers by hand, grids and pixels as transformers' processors have them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from transformers.image_processing_utils import get_patch_output_size, select_best_resolution
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import (
    GotOcr2ImageProcessorPil,
    get_optimal_tiled_canvas,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_next.modeling_llava_next import unpad_image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from sensorium.errors import SensoriumError
from sensorium.media.sight import Sight, ViewsConfig
from sensorium.media.tiles import AnyResTiles, InternVLTiles, NanoVLMTiles
from sensorium.media.views import WHOLE, Corners, Views

SIZES = [(w, h) for w in range(20, 2000, 97) for h in range(20, 2000, 113)]  # 20 x 18 shapes, thin strips among them
SMALL = [(w, h) for w in range(7, 200, 7) for h in range(10, 200, 13)]
ONEVISION = tuple((columns, rows) for columns in range(1, 7) for rows in range(1, 7))
SIDE, TOKEN = 28, 14  # a view of 2 x 2 visual tokens

sides = st.integers(1, 3000)
schemes = st.sampled_from([
    ViewsConfig(), ViewsConfig(fit="pad"), ViewsConfig(fit="letterbox"), ViewsConfig(fit="native"),
    ViewsConfig(tiles=InternVLTiles()), ViewsConfig(tiles=InternVLTiles(max_tiles=6, thumbnail=False)),
    ViewsConfig(tiles=AnyResTiles()), ViewsConfig(tiles=NanoVLMTiles(max_side=SIDE * 8)),
    ViewsConfig(tiles=InternVLTiles(), whole_up_to=200),
])


def seen(config: ViewsConfig, width: int, height: int) -> Views:
    return Sight(config, SIDE, TOKEN).views((width, height))


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.RandomState(0).randint(0, 256, (height, width, 3), dtype=np.uint8))


def pixels(views: Views, picture: Image.Image) -> np.ndarray:
    return np.stack([np.asarray(view) for view in views.cut(picture)])


@pytest.mark.parametrize(("least", "most"), [(1, 1), (1, 6), (1, 12), (3, 12)])
def test_internvl_chooses_the_grid_that_transformers_chooses(least, most):
    tiles = InternVLTiles(min_tiles=least, max_tiles=most)
    for width, height in SIZES:
        theirs = get_optimal_tiled_canvas((height, width), (448, 448), least, most)
        assert tiles.best_grid((width, height), 448) == theirs


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
    assert len(seen(ViewsConfig(tiles=InternVLTiles(thumbnail=False)), 60, 20)) == 3


def test_a_picture_that_is_small_enough_stays_whole_and_a_larger_one_is_cut():
    config = ViewsConfig(tiles=InternVLTiles(), whole_up_to=60)
    assert [len(seen(config, *size)) for size in ((60, 20), (20, 60), (61, 20))] == [1, 1, 4]
    whole, squashed = seen(config, 60, 20), seen(ViewsConfig(), 60, 20)
    assert (whole.layout, whole.canvases) == (squashed.layout, squashed.canvases)
    sight = Sight(config, SIDE, TOKEN)
    assert [sight.in_words((side, 20)) for side in (60, 61)] == [
        "squashed to 28x28 pixels", "cut into 4 views of 28x28 pixels (internvl)",
    ]


@pytest.mark.parametrize("others", [{}, {"tiles": {"scheme": "internvl"}, "fit": "native"}])
def test_what_stays_whole_is_said_only_where_others_are_cut(others):
    with pytest.raises(ValidationError, match="it needs tiles, and another fit than native"):
        ViewsConfig.model_validate({"whole_up_to": 60} | others)


@pytest.mark.parametrize(("grids", "side"), [(AnyResTiles().grids, 336), (AnyResTiles().grids, 7), (ONEVISION, 384)])
def test_anyres_chooses_the_grid_and_the_size_within_it_that_transformers_chooses(grids, side):
    tiles = AnyResTiles(grids=grids)
    resolutions = [(rows * side, columns * side) for columns, rows in tiles.grids]
    for width, height in SIZES + SMALL:
        columns, rows = tiles.best_grid((width, height), side)
        assert (rows * side, columns * side) == select_best_resolution((height, width), resolutions)
        canvas = tiles.views((width, height), side, 1, (1, 1)).canvases[1]
        theirs = get_patch_output_size(np.zeros((height, width, 3)), (rows * side, columns * side), "channels_last")
        assert canvas.placed[2:] == theirs[::-1]


@pytest.mark.parametrize("size", [(90, 50), (50, 90), (57, 23), (28, 28), (300, 40), (20, 23), (25, 50), (80, 20)])
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
@example(82, 205)  # the ratio times the side is a whole number but for its last bit
@example(47, 282)
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


def test_nanovlm_takes_the_least_squares_that_hold_the_picture():
    """By search and in whole numbers: the longer side at most four squares, the shorter one in its proportion."""
    tiles = NanoVLMTiles(max_side=2048)
    for picture in SIZES:
        longer = next(n for n in (1, 2, 3, 4) if n == 4 or n * 512 >= max(picture))
        shorter = next(n for n in (1, 2, 3, 4) if n * max(picture) >= longer * min(picture))
        sides = (longer * 512, shorter * 512)
        assert tiles.resized(picture, 512) == (sides if picture[0] >= picture[1] else sides[::-1])


def test_a_square_larger_than_the_longest_side_is_one_view():
    assert NanoVLMTiles(max_side=14).views((50, 20), 28, 4, (2, 2)).layout == ("<global>", 0, 1, 2, 3)


@given(sides)
def test_a_square_stays_square_under_nanovlms_rule(side):
    assert len(set(NanoVLMTiles(max_side=SIDE * 8).resized((side, side), SIDE))) == 1


def test_nanovlm_has_no_token_for_a_ninth_row():
    with pytest.raises(SensoriumError, match="Set at most 224"):
        NanoVLMTiles(max_side=28 * 9).views((50, 50), 28, 4, (2, 2))
    assert len(NanoVLMTiles(max_side=28 * 9 - 1).views((500, 500), 28, 4, (2, 2))) == 1 + 8 * 8


def test_fewer_tiles_are_the_next_fewer_and_one_is_the_least():
    assert InternVLTiles(min_tiles=5, max_tiles=5).fewer(28) == InternVLTiles(min_tiles=4, max_tiles=4)
    assert InternVLTiles(max_tiles=5).fewer(28) == InternVLTiles(max_tiles=4)
    assert InternVLTiles(max_tiles=1).fewer(28) is None
    assert AnyResTiles().fewer(28) == AnyResTiles(grids=((1, 2), (2, 1), (3, 1), (1, 3)))
    assert AnyResTiles(grids=((1, 2), (2, 1))).fewer(28) is None
    assert NanoVLMTiles(max_side=28 * 3 + 5).fewer(28) == NanoVLMTiles(max_side=28 * 2)
    assert NanoVLMTiles(max_side=28).fewer(28) is None


def test_half_the_pixels_are_fewer_down_to_one_token():
    sight = Sight(ViewsConfig(fit="native", min_pixels=800, max_pixels=1000), SIDE, TOKEN)
    assert (sight.fewer().config.min_pixels, sight.fewer().config.max_pixels) == (500, 500)
    assert sight.fewer().fewer().config.max_pixels == 250
    assert sight.fewer().fewer().fewer() is None, "125 pixels are less than the 196 of a token"


def test_native_rounds_as_qwen2_vl_does():
    config = ViewsConfig(fit="native", min_pixels=56 * 56, max_pixels=28 * 28 * 40)
    for width, height in SIZES + SMALL:
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


def test_letterbox_puts_an_odd_pixel_below_and_leaves_a_thin_strip_one():
    views = seen(ViewsConfig(fit="letterbox"), 56, 26)
    assert views.canvases[0].placed == (0, 7, 28, 13)  # 7 rows above, 8 below
    assert seen(ViewsConfig(fit="letterbox"), 3000, 1).canvases[0].placed == (0, 13, 28, 1)


@pytest.mark.parametrize("size", [(90, 50), (50, 91), (33, 34), (28, 28), (300, 40)])
def test_pad_makes_the_pixels_that_transformers_makes_for_llava(size):
    square = {"height": SIDE, "width": SIDE}
    processor = LlavaImageProcessorPil(do_pad=True, size=square, crop_size=square, do_normalize=False, do_rescale=False)
    expected = processor(noise(*size), return_tensors="np")["pixel_values"]
    config = ViewsConfig(fit="pad", mean=tuple(processor.image_mean))
    found = pixels(seen(config, *size), noise(*size)).transpose(0, 3, 1, 2)
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


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


def test_tokens_without_a_place_stand_for_their_whole_view():
    views = Sight(ViewsConfig(tiles=InternVLTiles()), SIDE, TOKEN, queries=3).views((60, 20))
    assert (views.n_tokens, views.grid) == (3, None)
    assert [views.covers(token) for token in (0, 2, 9)] == [views.to_picture(WHOLE, 0)] * 2 + [WHOLE]


@given(schemes, sides, sides)
def test_every_token_of_the_layout_is_one_that_a_view_makes_and_none_stands_twice(config, width, height):
    if max(width, height) > 200 * min(width, height):
        return
    views = seen(config, width, height)
    assert len(set(views.order)) == len(views.order)
    assert set(views.order) <= set(range(len(views) * views.n_tokens))
    named = {item for item in views.layout if isinstance(item, str)}
    assert named <= set(config.added_tokens)
    assert views.is_plain == (not named and len(views.order) == len(views) * views.n_tokens)
    if not config.depends_on_size:
        assert len(views.layout) == len(seen(config, 640, 480).layout)
    if config.has_one_size:
        assert views.size == (SIDE, SIDE)
