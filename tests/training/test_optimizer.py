"""Rates per module, decay by shape, and the schedule against numbers worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from sensorium.errors import SensoriumError
from sensorium.training.optimizer import OptimizerConfig, build_optimizer, learning_rate_share, set_learning_rates


def _groups() -> dict[str, list[tuple[str, nn.Parameter]]]:
    torch.manual_seed(0)
    connector = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 3))
    return {
        "connector": list(connector.named_parameters()),
        "language_model": list(nn.Linear(3, 3, bias=False).named_parameters()),
    }


RATES = {"connector": 1e-3, "language_model": 2e-5}


def test_schedule_has_the_numbers_of_the_rule():
    def share(step: int) -> float:
        return learning_rate_share(step, total_steps=110, warmup_steps=10, min_share=0.0)

    assert share(0) == pytest.approx(0.1)
    assert share(4) == pytest.approx(0.5)
    assert share(9) == share(10) == pytest.approx(1.0)
    assert share(35) == pytest.approx(0.5 + math.sqrt(2) / 4)  # a quarter of the way: cos(45 degrees)
    assert share(60) == pytest.approx(0.5)
    assert share(85) == pytest.approx(0.5 - math.sqrt(2) / 4)
    assert share(110) == share(500) == 0.0
    assert learning_rate_share(60, 110, 10, 0.2) == pytest.approx(0.6)  # halfway between 1 and the floor
    assert learning_rate_share(110, 110, 10, 0.2) == 0.2


def test_schedule_agrees_with_that_of_transformers_one_warmup_step_on():
    from transformers import get_cosine_schedule_with_warmup

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=7, num_training_steps=50)
    for step in range(50):
        ours = learning_rate_share(step - 1 if step < 7 else step, 50, 7, 0.0)
        assert ours == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()


@given(st.integers(1, 500), st.integers(0, 600), st.floats(0, 1))
def test_share_rises_to_one_then_falls_to_the_floor(total: int, warmup: int, floor: float):
    shares = [learning_rate_share(step, total, warmup, floor) for step in range(max(total, warmup) + 2)]
    assert all(0 <= share <= 1 for share in shares)
    assert shares[:warmup] == sorted(shares[:warmup])
    assert shares[warmup:] == sorted(shares[warmup:], reverse=True)
    assert shares[-1] == floor


def test_warmup_is_a_share_of_the_stage_unless_given_in_steps():
    assert OptimizerConfig().warmup(1000) == 30
    assert OptimizerConfig(warmup_steps=5).warmup(1000) == 5
    assert OptimizerConfig(warmup_steps=0).share(0, 1000) == 1.0
    assert OptimizerConfig().share(14, 1000) == pytest.approx(0.5)


@pytest.mark.parametrize("wrong", [{"betas": (0.9, 1.0)}, {"clip_norm": 0}, {"warmup_share": 2}, {"weightdecay": 0.1}])
def test_an_impossible_configuration_is_refused(wrong: dict):
    with pytest.raises(ValidationError):
        OptimizerConfig(**wrong)


def test_only_matrices_decay_and_each_module_has_its_rate():
    groups = _groups()
    optimizer = build_optimizer(groups, RATES, OptimizerConfig(weight_decay=0.1))
    found = {
        id(p): (group["name"], group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    for name, parameters in groups.items():
        for _, parameter in parameters:
            assert found.pop(id(parameter)) == (name, RATES[name], 0.1 if parameter.ndim == 2 else 0.0)
    assert not found


def test_a_step_without_gradient_shrinks_matrices_by_rate_times_decay_and_leaves_norms():
    groups = _groups()
    before = {name: p.detach().clone() for name, p in groups["connector"]}
    optimizer = build_optimizer(groups, RATES, OptimizerConfig(weight_decay=0.1))
    set_learning_rates(optimizer, 0.5)
    for _, parameter in groups["connector"]:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in groups["connector"]:
        kept = 1 - 0.5 * 1e-3 * 0.1 if parameter.ndim == 2 else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * kept)


def test_the_first_step_moves_each_weight_by_its_modules_rate():
    groups = _groups()  # Adam's first step is rate * sign(gradient), whatever the gradient's size
    before = {name: [p.detach().clone() for _, p in parameters] for name, parameters in groups.items()}
    optimizer = build_optimizer(groups, RATES, OptimizerConfig(weight_decay=0.0))
    assert set_learning_rates(optimizer, 1.0) == RATES
    for parameters in groups.values():
        for _, parameter in parameters:
            parameter.grad = torch.full_like(parameter, 3.0)
    optimizer.step()
    for name, parameters in groups.items():
        for (_, parameter), old in zip(parameters, before[name], strict=True):
            moved = (old - parameter.detach()).double()
            torch.testing.assert_close(moved, torch.full_like(moved, RATES[name]), rtol=0.01, atol=1e-8)


def test_frozen_parameters_are_passed_over():
    groups = _groups()
    for _, parameter in groups["language_model"]:
        parameter.requires_grad_(False)
    optimizer = build_optimizer(groups, {"connector": 1e-3}, OptimizerConfig())
    assert {group["name"] for group in optimizer.param_groups} == {"connector"}


def test_mistakes_in_learning_rates_are_named():
    groups = _groups()
    config = OptimizerConfig()
    with pytest.raises(SensoriumError, match=r"learning_rates\.conector: .*Did you mean `connector`\?"):
        build_optimizer(groups, {"conector": 1e-3, "language_model": 1e-5}, config)
    with pytest.raises(SensoriumError, match=r"learning_rates\.language_model: .*no rate"):
        build_optimizer(groups, {"connector": 1e-3}, config)
    for wrong in (0.0, -1e-3, math.nan, math.inf):
        with pytest.raises(SensoriumError, match="not a positive number"):
            build_optimizer(groups, RATES | {"connector": wrong}, config)
    for _, parameter in groups["connector"]:
        parameter.requires_grad_(False)
    with pytest.raises(SensoriumError, match=r"learning_rates\.connector: nothing in this module is trainable"):
        build_optimizer(groups, RATES, config)


def test_a_reloaded_optimizer_goes_on_bit_for_bit():
    def train(steps: range, state: dict | None, weights: list | None) -> tuple[dict, list]:
        groups = _groups()
        parameters = [p for group in groups.values() for _, p in group]
        optimizer = build_optimizer(groups, RATES, OptimizerConfig())
        if state is not None and weights is not None:
            optimizer.load_state_dict(state)
            for parameter, weight in zip(parameters, weights, strict=True):
                parameter.data.copy_(weight)
        for step in steps:
            set_learning_rates(optimizer, learning_rate_share(step, 20, 3, 0.0))
            generator = torch.Generator().manual_seed(step)
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
        return optimizer.state_dict(), [p.detach().clone() for p in parameters]

    straight = train(range(20), None, None)[1]
    resumed = train(range(10, 20), *train(range(10), None, None))[1]
    assert all(torch.equal(a, b) for a, b in zip(straight, resumed, strict=True))
