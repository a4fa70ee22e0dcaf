"""Which visual tokens leave after which layers, and what a budget means, by the papers' rules and by counting."""

from __future__ import annotations

import pytest

from sensorium.errors import SensoriumError
from sensorium.model.dropping import DROPPINGS, Dropping, Stage, dropping_for


def test_fastv_keeps_a_share_of_the_tokens_after_its_layer():
    """arXiv:2403.06764, LLaVA-1.5: K = 2, R = 50 %, 576 tokens, 32 layers."""
    assert Dropping.fastv(layer=2, keep=0.5).counts(576, 32) == [576] * 2 + [288] * 30


def test_pyramiddrop_keeps_half_at_each_of_three_stages():
    """arXiv:2410.17247, LLaVA-1.5: after layers 8, 16 and 24 of 32, ratio 0.5."""
    assert Dropping.pyramiddrop().counts(576, 32) == [576] * 8 + [288] * 8 + [144] * 8 + [72] * 8


def test_shares_are_rounded_down_but_never_to_nothing():
    assert [Stage(1, keep).count(n) for keep, n in ((0.5, 5), (0.29, 100), (0.1, 30), (0.01, 3), (0.5, 0), (1, 7))] == [
        2, 29, 3, 1, 0, 7
    ]  # fmt: skip


def test_a_draw_by_lot_drops_as_many_at_the_same_layers():
    dropping = Dropping.pyramiddrop((1, 3), 0.6)
    assert dropping.at_random().counts(64, 5) == dropping.counts(64, 5)


def test_what_drops_otherwise_is_written_otherwise():
    droppings = [Dropping.fastv(), Dropping.fastv(3), Dropping.fastv(2, 0.25), Dropping.pyramiddrop(),
                 Dropping.pyramiddrop((8, 16)), Dropping.pyramiddrop((2,)), Dropping.fastv().at_random()]
    assert len({dropping.spec for dropping in droppings}) == len(droppings)
    assert Dropping.fastv(2, 0.5).spec == "fastv:2=0.5"
    assert Dropping.pyramiddrop((8, 16), 0.5).at_random().spec == "pyramiddrop-random:8=0.5,16=0.25"


@pytest.mark.parametrize("make", [
    lambda: Dropping.fastv(0), lambda: Dropping.fastv(2, 0), lambda: Dropping.fastv(2, 1.1),
    lambda: Dropping.pyramiddrop((8, 8)), lambda: Dropping.pyramiddrop((8, 4)), lambda: Dropping.pyramiddrop(ratio=1.5),
    lambda: Dropping("fastv", (Stage(1, 0.2), Stage(2, 0.4)), "attention"),
])  # fmt: skip
def test_stages_in_no_order_and_shares_that_are_none_are_refused(make):
    with pytest.raises(SensoriumError, match="dropping"):
        make()


def test_a_model_needs_a_layer_after_the_last_stage():
    Dropping.fastv(2).require_room(3)
    with pytest.raises(SensoriumError, match="at most 1 layers"):
        Dropping.fastv(2).require_room(2)


@pytest.mark.parametrize("name", DROPPINGS)
@pytest.mark.parametrize("n_layers", [4, 6, 30, 32])
def test_a_budget_is_what_the_layers_see_on_average(name, n_layers):
    """Never more than the budget, and less than a token below it: with the share a little larger no stage gains more
    than one."""
    for visual_tokens in (64, 576):
        for budget in (visual_tokens * 2 // 3, visual_tokens * 4 // 5, visual_tokens - 1):
            dropping = dropping_for(name, budget, n_layers, visual_tokens)
            counts = dropping.counts(visual_tokens, n_layers)
            assert budget - 1 < sum(counts) / n_layers <= budget
            assert dropping.name == name


def test_fastv_by_a_budget_worked_out_by_hand():
    """(2 * 64 + 28 k) / 30 <= 19.2 for k = 16, and 20 * 30 = 600 leaves (600 - 128) // 28 = 16."""
    assert dropping_for("fastv", 20, 30, 64) == Dropping.fastv(2, 16 / 64)


def test_pyramiddrop_by_the_budget_of_its_paper_has_the_ratio_of_its_paper():
    """576 (1 + 1/2 + 1/4 + 1/8) / 4 = 270."""
    assert dropping_for("pyramiddrop", 270, 32, 576) == Dropping.pyramiddrop((8, 16, 24), 0.5)


@pytest.mark.parametrize("name", DROPPINGS)
def test_a_budget_of_all_tokens_or_more_drops_none(name):
    for budget in (64, 100):
        assert dropping_for(name, budget, 30, 64).counts(64, 30) == [64] * 30


@pytest.mark.parametrize(("asked", "said"), [
    (("fastw", 16, 30, 64), "Did you mean `fastv`"),
    (("fastv", 0, 30, 64), "nothing to see"),
    (("fastv", 5, 30, 64), "Allow at least 6"),  # 2 * 64 + 28 = 156 > 150
    (("pyramiddrop", 16, 32, 64), "Allow at least 17"),  # 8 * 64 + 24 = 536 > 512
    (("fastv", 16, 2, 64), "needs more layers"),
    (("pyramiddrop-random", 16, 3, 64), "needs more layers"),
])  # fmt: skip
def test_a_budget_that_cannot_be_kept_says_which_can(asked, said):
    with pytest.raises(SensoriumError, match=said):
        dropping_for(*asked)


def test_the_least_budget_that_is_named_can_be_kept():
    for name, budget, n_layers in (("fastv", 6, 30), ("pyramiddrop", 17, 32)):
        assert sum(dropping_for(name, budget, n_layers, 64).counts(64, n_layers)) <= budget * n_layers
