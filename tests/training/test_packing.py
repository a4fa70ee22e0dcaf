"""Every sample once, within every budget, little room wasted, and the same order everywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import SensoriumError
from sensorium.training.packing import PackConfig, Sizes, plan_packs

samples = st.lists(st.tuples(st.integers(1, 60), st.sampled_from((0, 0, 16, 64))), min_size=1, max_size=80)
configs = st.builds(
    PackConfig,
    max_tokens=st.integers(1, 200),
    max_visual=st.none() | st.integers(1, 150),
    max_samples=st.none() | st.integers(1, 9),
    window=st.integers(1, 40),
    too_long=st.sampled_from(("drop", "alone")),
)


@given(samples, configs, st.integers(0, 2**32))
def test_every_sample_stands_in_one_pack_within_every_budget(samples, config, seed):
    sizes = Sizes.of([text for text, _ in samples], [visual for _, visual in samples])

    def fits(packed) -> bool:
        return (
            sizes.whole[packed].sum() <= config.max_tokens
            and sizes.visual[packed].sum() <= (config.max_visual or np.inf)
            and len(packed) <= (config.max_samples or np.inf)
        )

    long = [i for i in range(len(samples)) if not fits(np.array([i]))]
    if config.too_long == "drop" and len(long) == len(samples):
        with pytest.raises(SensoriumError, match="none to train on"):
            plan_packs(sizes, config, seed)
        return
    plan = plan_packs(sizes, config, seed)
    packed = sorted(np.concatenate(plan.packs).tolist())
    assert sorted([*packed, *plan.too_long]) == list(range(len(samples)))
    assert list(plan.too_long) == (long if config.too_long == "drop" else [])
    assert all(fits(pack) or (pack.tolist()[0] in long and len(pack) == 1) for pack in plan.packs)
    if not long:
        assert plan.fill == pytest.approx(sizes.whole.sum() / (len(plan) * config.max_tokens))


def _packs(lengths, seed: int, **config) -> list[list[int]]:
    return [pack.tolist() for pack in plan_packs(Sizes.of(lengths), PackConfig(**config), seed).packs]


def test_the_order_depends_on_the_seed_and_not_on_global_random_state():
    lengths = list(range(1, 101))
    np.random.seed(1)
    one = _packs(lengths, 5, max_tokens=300)
    np.random.seed(2)
    assert _packs(lengths, 5, max_tokens=300) == one
    assert _packs(lengths, 6, max_tokens=300) != one


def test_the_order_stays_what_runs_in_progress_began_with():
    """Another order, or another fingerprint of the same order, would make every unfinished run impossible to resume."""
    plan = plan_packs(Sizes.of([10, 20, 30, 5, 8, 13, 21, 34], [0, 8, 0, 0, 0, 8, 0, 0]), PackConfig(max_tokens=40), 7)
    assert [pack.tolist() for pack in plan.packs] == [[5], [1, 4], [6], [7, 3], [2, 0]]
    fingerprint = "258e60e719122bdbe1b5cbdeb8209d7b59748acc1aa91a46579e761b5bf7785f"
    assert plan.state_dict() == {"order": fingerprint}
    plan.load_state_dict({"epoch": 0, "order": fingerprint})


def test_mixed_lengths_fill_their_packs_and_stay_shuffled():
    lengths = np.random.default_rng(0).lognormal(4.5, 0.7, size=5000).astype(int).clip(1, 2000)
    plan = plan_packs(Sizes.of(lengths), PackConfig(max_tokens=4096), seed=0)
    assert plan.fill > 0.995
    mean_number = np.array([pack.mean() for pack in plan.packs])  # about the middle where near ones do not flock
    assert np.abs(mean_number - 2500).max() < 1800
    longest = np.array([lengths[pack].max() for pack in plan.packs])
    assert abs(np.corrcoef(longest[:-1], longest[1:])[0, 1]) < 0.3  # long samples do not come in a row


def test_a_budget_of_visual_tokens_spreads_the_pictures():
    visual = [64, 0] * 50
    plan = plan_packs(Sizes.of([10] * 100, visual), PackConfig(max_tokens=400, max_visual=128), seed=0)
    assert max(sum(visual[i] for i in pack) for pack in plan.packs) == 128
    assert len(plan) == 25  # two pictures a pack, and the text goes where there is room


def test_packs_of_text_alone_have_the_whole_budget_and_pictures_have_their_own():
    """A visual budget of one picture a pack takes nothing from packs without any, and text goes beside the picture."""
    config = PackConfig(max_tokens=400, max_visual=64)
    text_alone = plan_packs(Sizes.of([100] * 40, [0] * 40), config, seed=0)
    assert len(text_alone) == 10 and text_alone.fill == 1
    sizes = Sizes.of([36] * 5 + [100] * 55, [64] * 5 + [0] * 55)
    mixed = plan_packs(sizes, config, seed=0)
    visual = sorted(int(sizes.visual[pack].sum()) for pack in mixed.packs)
    assert len(mixed) == 15 and mixed.fill == 1 and visual == [0] * 10 + [64] * 5


def test_samples_of_no_tokens_are_left_out_as_dropped_before():
    assert sorted(np.concatenate(plan_packs(Sizes.of([4, 0, 7]), PackConfig(), 0).packs)) == [0, 2]


def test_a_sample_beyond_the_budget_is_named_dropped_or_stands_alone():
    named = r"sample 2: its 90 tokens of text and 64 visual tokens exceed the batch budget, max_tokens = 50\. 1 more"
    sizes = Sizes.of([10, 20, 90, 80], [0, 0, 64, 0])
    with pytest.raises(SensoriumError, match=named):
        plan_packs(sizes, PackConfig(max_tokens=50), seed=0)
    alone = plan_packs(sizes, PackConfig(max_tokens=50, too_long="alone"), seed=0)
    assert sorted(sorted(pack.tolist()) for pack in alone.packs) == [[0, 1], [2], [3]]
    assert plan_packs(sizes, PackConfig(max_tokens=50, too_long="drop"), seed=0).too_long == (2, 3)


def test_a_sample_longer_than_the_language_model_reads_is_too_long():
    sizes = Sizes.of([10, 60])
    with pytest.raises(SensoriumError, match=r"sample 1: .*or the 50 that the language model reads"):
        plan_packs(sizes, PackConfig(max_tokens=100), seed=0, longest=50)
    assert plan_packs(sizes, PackConfig(max_tokens=100, too_long="drop"), seed=0, longest=50).too_long == (1,)
    assert len(plan_packs(sizes, PackConfig(max_tokens=100), seed=0, longest=60)) == 1


def test_no_samples_are_an_error():
    for lengths in ([], [0, 0]):
        with pytest.raises(SensoriumError, match="none to train on"):
            plan_packs(Sizes.of(lengths), PackConfig(), seed=0)


@pytest.mark.parametrize("change", ["lengths", "kinds", "seed", "config"])
def test_a_place_in_another_order_is_refused(change):
    state = plan_packs(Sizes.of([1, 2, 3]), PackConfig(), seed=0).state_dict()
    other = {
        "lengths": plan_packs(Sizes.of([1, 2, 4]), PackConfig(), seed=0),
        "kinds": plan_packs(Sizes.of([1, 2, 2], [0, 0, 1]), PackConfig(), seed=0),
        "seed": plan_packs(Sizes.of([1, 2, 3]), PackConfig(), seed=1),
        "config": plan_packs(Sizes.of([1, 2, 3]), PackConfig(max_samples=2), seed=0),
    }[change]
    with pytest.raises(SensoriumError, match="not those of the checkpoint"):
        other.load_state_dict(state)
