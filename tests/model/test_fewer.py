"""So many visual tokens by a way: one list of names for the two kinds, and the engines that can."""

from __future__ import annotations

import pytest

from sensorium.engine.loading import load_engine
from sensorium.errors import SensoriumError
from sensorium.model.checkpoint import save_model
from sensorium.model.compressors import COMPRESSORS, Compression
from sensorium.model.dropping import DROPPINGS, DroppingBudget
from sensorium.model.fewer import fewer_tokens, require_engine


def test_every_name_is_of_one_kind():
    assert not set(COMPRESSORS) & set(DROPPINGS)
    assert all(isinstance(fewer_tokens(8, name), Compression) for name in COMPRESSORS)
    assert all(isinstance(fewer_tokens(8, name), DroppingBudget) for name in DROPPINGS)


def test_what_is_left_out_is_pool_or_nothing_at_all():
    assert fewer_tokens(None, None) is None and fewer_tokens(8, None) == Compression(8, "pool")


def test_a_name_without_a_number_and_an_unknown_name_are_told_what_to_do():
    for name in ("tome", "fastv"):
        with pytest.raises(SensoriumError, match="Add --visual-tokens N"):
            fewer_tokens(None, name)
    with pytest.raises(SensoriumError, match="Did you mean `fastv`"):
        fewer_tokens(8, "fastvv")


def test_an_engine_that_cannot_says_who_can():
    with pytest.raises(SensoriumError, match=r"runs in torch; this one is for llamacpp.*as `pool`"):
        require_engine(DroppingBudget(8, "fastv"), "llamacpp")
    with pytest.raises(SensoriumError, match=r"runs in torch or llamacpp; this one is for remote.*Leave"):
        require_engine(Compression(8), "remote")
    require_engine(Compression(8), "llamacpp")


def test_a_dropping_is_fitted_to_the_model_that_is_loaded(tiny_model, tmp_path):
    """FastV runs two layers with everything, and this model has two."""
    folder = save_model(tiny_model, tmp_path / "model", ["vision", "connector"])
    assert tiny_model.language.config.num_hidden_layers == 2
    with pytest.raises(SensoriumError, match="needs more layers than the 2"):
        load_engine(folder, visual_tokens=tiny_model.tokens_per_picture, compressor="fastv")
