"""Every compressor keeps to its budget; each method's rule on vectors small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import SensoriumError
from sensorium.media.sight import Sight, ViewsConfig
from sensorium.model.compressors import COMPRESSORS, Compression, Seen
from sensorium.model.compressors.base import evenly, salience
from sensorium.model.fewer import fewer_tokens


def seen(rows: int, columns: int, width: int = 8, seed: int = 0, **options: object) -> Seen:
    tokens = np.random.RandomState(seed).randn(rows * columns, width).astype(np.float32)
    return Seen(tokens, (rows, columns), **options)


@given(st.sampled_from(sorted(COMPRESSORS)), st.integers(1, 12), st.integers(1, 12), st.integers(1, 160), st.booleans())
def test_the_budget_is_kept_and_the_count_foretold(name, rows, columns, budget, is_placed):
    given_tokens = seen(rows, columns)
    given_tokens = given_tokens if is_placed else Seen(given_tokens.tokens)
    compressor = COMPRESSORS[name](budget)
    found = compressor(given_tokens)
    assert found.shape == (compressor.count(rows * columns, given_tokens.grid), 8)
    assert 1 <= len(found) <= budget
    [alone] = compressor.several([given_tokens])
    np.testing.assert_allclose(alone, found, atol=1e-6)
    assert found.dtype == np.float32 and np.isfinite(found).all()
    if rows * columns <= budget:
        assert np.array_equal(found, given_tokens.tokens)


@given(st.sampled_from(["random", "uniform"]), st.integers(2, 9), st.integers(1, 80))
def test_chosen_tokens_are_unchanged_different_and_in_order(name, side, budget):
    given_tokens = seen(side, side)
    found = COMPRESSORS[name](budget)(given_tokens)
    places = [int(np.flatnonzero((given_tokens.tokens == token).all(1))[0]) for token in found]
    assert places == sorted(set(places))


def test_lots_differ_from_picture_to_picture_and_are_the_same_for_one():
    """Were they one draw for all, all differences to `random` would move together, and their interval be too narrow."""
    def places(one: Seen) -> tuple[int, ...]:
        found = COMPRESSORS["random"](16)(one)
        return tuple(int(np.flatnonzero((one.tokens == token).all(1))[0]) for token in found)

    pictures = [seen(8, 8, seed=number) for number in range(200)]
    drawn = [places(one) for one in pictures]
    assert len(set(drawn)) == 200 and drawn == [places(one) for one in pictures]
    often = np.bincount(np.ravel(drawn), minlength=64)  # 50 each on average, with a deviation of 6.1
    assert often.min() > 20 and often.max() < 80


def test_lots_go_by_the_name_where_there_is_one_so_that_engines_draw_alike():
    """Two engines compute tokens that differ a little, and what is made of their bytes would differ altogether."""
    views = Sight(ViewsConfig(tiles={"scheme": "internvl", "max_tiles": 2}), 56, 7).views((112, 56))
    tokens = np.arange(len(views) * views.n_tokens, dtype=np.float32)[:, None] + np.zeros(4, np.float32)
    compression = Compression(len(views) * 4, "random")
    [one], [alike] = (compression.apply([(tokens + noise, views)], digests=["cat"]) for noise in (0, 1e-3))
    np.testing.assert_allclose(one, alike, atol=2e-3)
    [other] = compression.apply([(tokens, views)], digests=["dog"])
    assert not np.array_equal(one, other)
    of_views = one[:, 0].reshape(len(views), 4) % views.n_tokens
    assert len({tuple(places) for places in of_views.tolist()}) == len(views), "views of a picture share no draw"
    both = compression.apply([(tokens, views), (tokens, views)], digests=["cat", "dog"])
    assert np.array_equal(both[0], one) and np.array_equal(both[1], other)


@pytest.mark.parametrize(
    ("grid", "budget", "kept"), [((8, 8), 16, (4, 4)), ((8, 8), 32, (5, 6)), ((4, 16), 16, (2, 8))]
)
def test_pooling_is_torchs_adaptive_pooling(grid, budget, kept):
    given_tokens = seen(*grid)
    table = torch.from_numpy(given_tokens.tokens).reshape(*grid, 8).permute(2, 0, 1)
    expected = torch.nn.functional.adaptive_avg_pool2d(table, kept).permute(1, 2, 0).reshape(-1, 8)
    found = COMPRESSORS["pool"](budget)(given_tokens)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_tome_merges_the_most_alike_by_the_mean_of_all_they_stand_for():
    east, north = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    tokens = np.stack([east, 3 * east, north, -east, north * 5, north]).astype(np.float32)
    # Givers are 0, 2, 4; takers 1, 3, 5. 0 and 1 point one way, 2 and 5, 4 and 5 too; -east is like nothing.
    found = COMPRESSORS["tome"](3)(Seen(tokens))
    np.testing.assert_allclose(found, [2 * east, -east, north * 7 / 3], atol=1e-6)


def test_tome_keeps_the_sum_of_what_tokens_stand_for():
    tokens = np.eye(2, dtype=np.float32)[[0, 0, 0, 0, 1, 1, 1, 1]]
    assert np.allclose(COMPRESSORS["tome"](2)(Seen(tokens)), np.eye(2))


def test_salient_is_what_differs_from_the_rest():
    tokens = np.ones((9, 4), np.float32)
    tokens[5] += 3
    weights = salience(tokens)
    assert weights.argmax() == 5 and weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("name", ["visionzip", "prumerge"])
def test_what_stands_out_survives(name):
    tokens = np.random.RandomState(0).randn(64, 16).astype(np.float32) * 0.1
    tokens[[7, 40]] += np.float32([[5.0] * 16, [-5.0] * 16])
    found = COMPRESSORS[name](8)(Seen(tokens, (8, 8)))
    assert found.mean(1).max() > 2 and found.mean(1).min() < -2


def test_visionzip_adds_the_mean_of_what_a_target_gathers():
    far, tokens = np.float32([100, 0]), np.float32([[0, 1], [0, 2], [0, 3], [0, 4]])
    found = COMPRESSORS["visionzip"](2)(Seen(np.concatenate([[far], tokens])))
    # One dominant token; of the other four one target in their middle, number 2, and the mean of 1, 2 and 4 is added.
    np.testing.assert_allclose(found, [far, [0, 3 + (1 + 2 + 4) / 3]], rtol=1e-6)


def test_llama_vids_context_is_what_the_question_asks_for():
    tokens = np.zeros((16, 4), np.float32)
    tokens[3, 0], tokens[9, 1] = 50, 50
    asked = Seen(tokens, (4, 4), question=np.float32([0, 50, 0, 0]))
    context = COMPRESSORS["llama-vid"](5)(asked)[0]
    np.testing.assert_allclose(context, tokens[9], atol=1e-3)


@pytest.mark.parametrize(("budget", "kept"), [(1, 1), (2, 2), (6, 4)])
def test_llama_vids_content_is_the_grid_that_pooling_takes_for_the_rest_of_the_budget(budget, kept):
    given_tokens = seen(7, 4)  # of 5 tokens pooling takes 3, of 3 it would take 2
    found = COMPRESSORS["llama-vid"](budget)(given_tokens)
    assert len(found) == COMPRESSORS["llama-vid"](budget).count(28, (7, 4)) == kept
    if kept > 1:
        np.testing.assert_allclose(found[1:], COMPRESSORS["pool"](budget - 1)(given_tokens), atol=1e-6)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 5), st.integers(1, 30))
def test_frames_together_keep_to_the_count_of_each(n_frames, rows, columns, budget):
    run = [seen(rows, columns, seed=seed) for seed in range(n_frames)]
    found = COMPRESSORS["frames"](budget).several(run)
    assert [part.shape for part in found] == [(min(budget, rows * columns), 8)] * n_frames
    whole = np.concatenate([one.tokens for one in run])
    assert np.concatenate(found).min() >= whole.min() - 1e-6 and np.concatenate(found).max() <= whole.max() + 1e-6


def test_what_stays_the_same_over_frames_is_told_once_and_what_changes_each_time():
    """Two places in three frames: the one never changes, the other always does; three of six tokens too many go."""
    still, moves = np.float32([1, 0, 0, 0]), np.eye(4, dtype=np.float32)[[1, 2, 3]]
    run = [Seen(np.stack([still * size, moving]), (1, 2)) for size, moving in zip((1, 2, 3), moves, strict=True)]
    # Budgets of 1 leave 3 for all; the still place is joined over its 2 steps, and one step of the other, the first.
    found = np.concatenate(COMPRESSORS["frames"](1).several(run))
    assert found.shape == (3, 4)
    np.testing.assert_allclose(found, [(moves[0] + moves[1]) / 2, still * 2, moves[2]], atol=1e-6)


def test_a_still_film_is_one_picture_compressed_once():
    picture = seen(4, 4)
    found = np.concatenate(COMPRESSORS["frames"](2).several([picture] * 4))
    np.testing.assert_allclose(found, COMPRESSORS["tome"](8)(picture), atol=1e-6)


def test_pictures_of_different_views_are_compressed_each_alone_and_small_ones_not_at_all():
    sight = Sight(ViewsConfig(fit="native", min_pixels=14 * 14), 56, 14)
    sizes = [(56, 56), (56, 56), (112, 56), (14, 28)]
    shown = [sight.views(size) for size in sizes]
    pictures = [(seen(*views.grid, seed=i).tokens, views) for i, views in enumerate(shown)]
    compression = Compression(8, "frames")
    found = compression.apply(pictures)
    assert [len(part) for part in found] == [compression.count(views) for views in shown] == [8, 8, 8, 2]
    assert np.array_equal(found[3], pictures[3][0])
    np.testing.assert_array_equal(found[2], COMPRESSORS["tome"](8)(Seen(*_seen(pictures[2]))))
    together = compression.apply(pictures[:2])
    assert not np.array_equal(together[0], found[0])  # two of a shape are looked at together


def _seen(picture):
    tokens, views = picture
    return tokens, views.grid


def test_what_is_not_too_much_stands_in_the_prompt_as_without_a_budget():
    """LLaVA-NeXT's tiles have marks between their rows, which go only where tokens go."""
    views = ViewsConfig(tiles={"scheme": "anyres", "grids": [[1, 2]]})
    shown = Sight(views, 56, 14).views((100, 200))
    assert any(isinstance(item, str) for item in shown.layout)
    assert Compression(len(shown.order), "pool").shown(shown) is shown
    assert Compression(len(shown.order) - 1, "pool").shown(shown) < len(shown.order)


@pytest.mark.parametrize("method", ["pool", "frames"])
def test_options_left_out_ask_for_nothing_and_half_of_them_for_the_rest(method):
    assert fewer_tokens(None, None) is None
    assert fewer_tokens(8, None) == Compression(8, "pool") and fewer_tokens(8, method).spec == f"{method}:8"
    with pytest.raises(SensoriumError, match="Add --visual-tokens N"):
        fewer_tokens(None, method)


@given(st.integers(1, 50), st.integers(0, 200))
def test_evenly_spaced_numbers_differ(n, more):
    numbers = evenly(n, n + more)
    assert len(set(numbers.tolist())) == n and numbers.max() < n + more
