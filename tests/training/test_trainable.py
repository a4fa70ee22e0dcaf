"""What a stage trains, block by block, and at which share of the rate."""

from __future__ import annotations

from typing import Any

import pytest

from sensorium.errors import SensoriumError
from sensorium.training.optimizer import OptimizerConfig, build_optimizer, set_learning_rates
from sensorium.training.recipe import StageConfig
from sensorium.training.trainable import block_heights, choose_trainable, rate_shares


def config(rates: dict[str, float], **more: Any) -> StageConfig:
    return StageConfig.model_validate({"name": "x", "objective": "replies", "learning_rates": rates, **more})


def trained(model: Any) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.fixture
def whole_tower(tiny_model_tree) -> Any:
    """A model whose vision tower is all stem: three blocks; the language model has two."""
    from sensorium.model.multimodal import ModelConfig

    tree = tiny_model_tree | {"vision": tiny_model_tree["vision"] | {"layer": 3, "tail_blocks": 0}}
    return ModelConfig.model_validate(tree).build()


def test_the_last_blocks_of_a_tower_train_alone_with_what_follows_them(whole_tower):
    choose_trainable(whole_tower, config({"vision": 1e-3}, last_blocks={"vision": 1}))
    names = trained(whole_tower)
    assert names and all(name.startswith(("vision.stem.encoder.layer.2.", "vision.stem.layers.2.", "vision.norm."))
                         or ".2." in name for name in names)
    assert "vision.norm.weight" in names
    choose_trainable(whole_tower, config({"language": 1e-3}, last_blocks={"language": 1}))
    names = trained(whole_tower)
    assert "language.model.norm.weight" in names and "language.model.embed_tokens.weight" not in names
    assert any(".layers.1." in name for name in names) and not any(".layers.0." in name for name in names)


def test_patterns_keep_parameters_frozen(whole_tower):
    choose_trainable(whole_tower, config({"language": 1e-3, "connector": 1e-3}, freeze=[r"embed_tokens", r"bias$"]))
    names = trained(whole_tower)
    assert "language.model.layers.0.mlp.up_proj.weight" in names and "connector.linear_1.weight" in names
    assert not any("embed_tokens" in name or name.endswith("bias") for name in names)


@pytest.mark.parametrize(("more", "message"), [
    ({"freeze": ["embed_tokns"]}, "freeze: `embed_tokns` matches no parameter that would train"),
    ({"last_blocks": {"vision": 9}}, "last_blocks.vision: is 9, and vision has 3 blocks"),
])
def test_what_cannot_be_meant_is_refused(whole_tower, more, message):
    with pytest.raises(SensoriumError, match=message):
        choose_trainable(whole_tower, config({"vision": 1e-3, "language": 1e-3}, **more))


def test_rates_fall_from_block_to_block_downwards(whole_tower):
    stage = config({"vision": 1e-3}, layer_decay={"vision": 0.5})
    groups = choose_trainable(whole_tower, stage)
    heights = block_heights(whole_tower, "vision")
    assert set(heights.values()) == {0, 1, 2, 3} and "vision.norm.weight" not in heights
    optimizer = build_optimizer(groups, {"vision": 1e-3}, OptimizerConfig(), rate_shares(whole_tower, stage))
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, p in whole_tower.named_parameters():
        if name.startswith("vision."):
            above = 3 - heights.get(name, 3)
            assert rate[id(p)] == pytest.approx(1e-3 * 0.5**above), name
    assert set_learning_rates(optimizer, 0.5) == {"vision": pytest.approx(5e-4)}
    assert min(group["lr"] for group in optimizer.param_groups) == pytest.approx(5e-4 / 8)
