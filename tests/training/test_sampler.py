"""Every sample once an epoch, within the budget, little padding, the same order everywhere, and resumable anywhere."""

from itertools import chain, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from sensorium.errors import SensoriumError
from sensorium.training.sampler import LengthSampler, SamplerConfig

lengths_of_samples = st.lists(st.integers(1, 60), min_size=1, max_size=80)
configs = st.builds(
    SamplerConfig,
    max_tokens=st.integers(1, 200),
    max_samples=st.integers(1, 9),
    megabatch=st.integers(1, 5),
    too_long=st.just("alone"),
)


def _take(sampler: LengthSampler, n: int) -> list[list[int]]:
    return list(islice(sampler, n))


@given(lengths_of_samples, configs, st.integers(0, 2**32), st.integers(0, 5))
def test_each_epoch_covers_every_sample_once_within_the_budget(lengths, config, seed, epoch):
    batches = config.build(lengths, seed).batches(epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for batch in batches:
        padded = max(lengths[i] for i in batch) * len(batch)
        assert len(batch) <= config.max_samples
        assert padded <= config.max_tokens or len(batch) == 1


@settings(max_examples=60)
@given(lengths_of_samples, configs, st.integers(0, 40), st.integers(0, 40))
def test_resuming_at_any_point_goes_on_exactly(lengths, config, before, between):
    straight = _take(config.build(lengths, 3), before + between + 10)
    sampler = config.build(lengths, 3)
    for n_batches in (before, between):
        _take(sampler, n_batches)
        state, sampler = sampler.state_dict(), config.build(lengths, 3)
        sampler.load_state_dict(state)
    assert _take(sampler, 10) == straight[before + between :]


@given(lengths_of_samples, configs, st.integers(0, 30), st.integers(0, 10))
def test_batches_drawn_ahead_but_not_trained_on_are_given_again(lengths, config, trained, ahead):
    sampler = config.build(lengths, 3)
    straight = _take(sampler, trained + ahead + 3)
    resumed = config.build(lengths, 3)
    resumed.load_state_dict(sampler.state_dict(trained=trained))
    assert sampler.drawn == trained + ahead + 3
    assert _take(resumed, ahead + 3) == straight[trained:]


def test_iterating_runs_on_through_the_epochs_each_in_its_own_order():
    sampler = SamplerConfig(max_tokens=40).build([10] * 40, seed=1)
    first, second = _take(sampler, 10), _take(sampler, 10)
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(40))
    assert first != second
    assert {key: sampler.state_dict()[key] for key in ("epoch", "cursor")} == {"epoch": 2, "cursor": 0}


def test_the_order_depends_on_seed_and_epoch_and_not_on_global_random_state():
    config, lengths = SamplerConfig(max_tokens=300), list(range(1, 101))
    np.random.seed(1)
    one = _take(config.build(lengths, seed=5), 30)
    np.random.seed(2)
    assert _take(config.build(lengths, seed=5), 30) == one
    assert _take(config.build(lengths, seed=6), 30) != one


class _Numbers(Dataset):
    def __len__(self) -> int:
        return 50

    def __getitem__(self, index: int) -> int:
        return index


def test_the_order_is_the_same_with_and_without_workers():
    def batches(workers: int) -> list[list[int]]:
        sampler = SamplerConfig(max_tokens=100).build(range(1, 51), seed=2)
        loader = DataLoader(_Numbers(), batch_sampler=sampler, num_workers=workers, collate_fn=list)
        return list(islice(loader, 40))

    assert batches(0) == batches(2)


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
