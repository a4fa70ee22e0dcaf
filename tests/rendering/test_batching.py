"""Samples of different lengths become one padded batch, and a batch that teaches nothing is an error."""

from __future__ import annotations

import pytest
import torch

from sensorium.errors import SensoriumError
from sensorium.model.labels import IGNORE
from sensorium.rendering import Rendered
from sensorium.rendering.batching import collate

LONG = Rendered([5, 6, 7, 8], [IGNORE, IGNORE, 7, 8])
SHORT = Rendered([9, 1], [IGNORE, 1])


def test_shorter_samples_are_padded_on_the_right():
    batch = collate([LONG, SHORT], pad_id=0, sample_ids=["long", "short"])
    assert batch.input_ids.tolist() == [[5, 6, 7, 8], [9, 1, 0, 0]]
    assert batch.attention_mask.tolist() == [[True] * 4, [True, True, False, False]]
    assert batch.labels.tolist() == [[IGNORE, IGNORE, 7, 8], [IGNORE, 1, IGNORE, IGNORE]]
    assert batch.n_supervised == 3
    assert batch.sample_ids == ("long", "short")


def test_the_padding_token_is_not_supervised_even_when_it_is_a_word_of_the_answer():
    batch = collate([LONG, SHORT], pad_id=8)
    assert batch.n_supervised == 3


def test_a_batch_without_supervision_is_an_error_that_names_its_samples():
    silent = Rendered([5, 6], [IGNORE, IGNORE])
    with pytest.raises(SensoriumError, match="batch of samples a, b: has no supervised token"):
        collate([silent, silent], pad_id=0, sample_ids=["a", "b"])
    assert collate([silent], pad_id=0, supervised=False).n_supervised == 0


def test_a_label_on_the_first_position_predicts_nothing():
    with pytest.raises(SensoriumError, match="no supervised token"):
        collate([Rendered([5], [5])], pad_id=0)


def test_a_batch_moves_with_all_its_tensors():
    batch = collate([LONG], 0, stem_states=torch.ones(1, 2, 3), sample_ids=["x"]).to("meta")
    assert {t.device.type for t in (batch.input_ids, batch.labels, batch.attention_mask, batch.stem_states)} == {"meta"}
    assert batch.pixel_values is None and batch.sample_ids == ("x",)
