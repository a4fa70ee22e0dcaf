"""Every sample once an epoch, within the budget, little padding, and the same order everywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import SensoriumError
from sensorium.training.sampler import SamplerConfig

lengths_of_samples = st.lists(st.integers(1, 60), min_size=1, max_size=80)
configs = st.builds(
    SamplerConfig,
    max_tokens=st.integers(1, 200),
    max_samples=st.integers(1, 9),
    megabatch=st.integers(1, 5),
    too_long=st.just("alone"),
)


@given(lengths_of_samples, configs, st.integers(0, 2**32), st.integers(0, 5))
def test_each_epoch_covers_every_sample_once_within_the_budget(lengths, config, seed, epoch):
    batches = config.build(lengths, seed).batches(epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for batch in batches:
        padded = max(lengths[i] for i in batch) * len(batch)
        assert len(batch) <= config.max_samples
        assert padded <= config.max_tokens or len(batch) == 1


def _batches(lengths, seed: int, epoch: int = 0, **config) -> list[list[int]]:
    return [batch.tolist() for batch in SamplerConfig(**config).build(lengths, seed).batches(epoch)]


def test_the_order_depends_on_seed_and_epoch_and_not_on_global_random_state():
    lengths = list(range(1, 101))
    np.random.seed(1)
    one = _batches(lengths, 5, max_tokens=300)
    np.random.seed(2)
    assert _batches(lengths, 5, max_tokens=300) == one
    assert _batches(lengths, 6, max_tokens=300) != one
    assert _batches(lengths, 5, epoch=1, max_tokens=300) != one


def test_the_order_stays_what_runs_in_progress_began_with():
    """Another order, or another fingerprint of the same order, would make every unfinished run impossible to resume."""
    sampler = SamplerConfig(max_tokens=40, max_samples=3).build([10, 20, 30, 5, 8, 13, 21, 34], seed=7)
    assert [batch.tolist() for batch in sampler.batches(0)] == [[0, 4, 3], [6], [1, 5], [7], [2]]
    fingerprint = "893659807c766193d475077aa980e64c27db6d3ae6488a4870364c6e219eb120"
    assert sampler.state_dict() == {"order": fingerprint}
    sampler.load_state_dict({"epoch": 0, "cursor": 0, "order": fingerprint})  # as checkpoints of the first version say


def test_mixed_lengths_waste_little_padding_and_are_still_shuffled():
    lengths = np.random.default_rng(0).lognormal(4.5, 0.7, size=5000).astype(int).clip(1, 2000)
    batches = SamplerConfig(max_tokens=4096, max_samples=64).build(lengths, seed=0).batches(0)
    padded = sum(lengths[batch].max() * len(batch) for batch in batches)
    shuffled = np.random.default_rng(1).permutation(5000)
    plain = sum(lengths[part].max() * len(part) for part in np.array_split(shuffled, len(batches)))
    assert lengths.sum() / padded > 0.93 > 0.5 > lengths.sum() / plain
    longest = np.array([lengths[batch].max() for batch in batches])
    assert abs(np.corrcoef(longest[:-1], longest[1:])[0, 1]) < 0.3  # long batches do not come in a row


def test_a_sample_beyond_the_budget_is_named_or_stands_alone():
    with pytest.raises(SensoriumError, match=r"sample 2: its 90 tokens exceed the batch budget, max_tokens = 50"):
        SamplerConfig(max_tokens=50).build([10, 20, 90], seed=0)
    batches = SamplerConfig(max_tokens=50, too_long="alone").build([10, 20, 90], seed=0).batches(0)
    assert sorted(map(sorted, (batch.tolist() for batch in batches))) == [[0, 1], [2]]


def test_no_samples_or_an_empty_one_is_an_error():
    with pytest.raises(SensoriumError, match="none to train on"):
        SamplerConfig().build([], seed=0)
    with pytest.raises(SensoriumError, match="sample 1: it has no tokens"):
        SamplerConfig().build([4, 0], seed=0)


@pytest.mark.parametrize("change", ["lengths", "seed", "config"])
def test_a_place_in_another_order_is_refused(change):
    state = SamplerConfig().build([1, 2, 3], seed=0).state_dict()
    other = {
        "lengths": SamplerConfig().build([1, 2, 4], seed=0),
        "seed": SamplerConfig().build([1, 2, 3], seed=1),
        "config": SamplerConfig(max_samples=2).build([1, 2, 3], seed=0),
    }[change]
    with pytest.raises(SensoriumError, match="not those of the checkpoint"):
        other.load_state_dict(state)
