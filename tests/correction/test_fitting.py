"""Scores become chances by what was seen: rising, drawn to the mean, and only where enough was seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.correction import Evidence
from sensorium.correction.combination import Combination, Curve, load_combination, shipped
from sensorium.correction.fitting import Example, fit, isotonic
from sensorium.errors import SensoriumError


def seen(score, is_true, aspect="existence", verifier="v", group="g", claim="c"):
    evidence = Evidence(claim=claim, verifier=verifier, version="1", score=score, aspect=aspect)
    return Example(group, evidence, is_true)


def test_a_curve_is_the_isotonic_regression_drawn_to_the_mean():
    curve = isotonic([(0.1, False), (0.2, True), (0.3, False), (0.4, True)])
    # Pooled: 0.1 -> 0; 0.2 and 0.3 -> 1/2; 0.4 -> 1. The mean is 1/2, drawn with 4 examples' weight.
    assert curve.scores == (0.1, 0.25, 0.4)
    assert curve.chances == pytest.approx((2 / 5, 3 / 6, 3 / 5), abs=1e-4)
    assert curve.at(0.0) == pytest.approx(0.4) and curve.at(0.325) == pytest.approx(0.55)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.booleans()), min_size=1, max_size=40))
def test_equal_scores_have_one_chance_and_curves_never_fall(pairs):
    curve = isotonic(pairs)
    assert list(curve.scores) == sorted(set(curve.scores)) and list(curve.chances) == sorted(curve.chances)


def test_absence_means_what_it_meant_for_its_class():
    examples = [seen(0.0, i < 1, "existence:none:cat") for i in range(60)]
    examples += [seen(0.0, i < 40, "existence:none:fork") for i in range(60)]
    fitted = fit(examples, "test")
    cat, fork, other = (
        fitted.chance(seen(0.0, True, f"existence:none:{name}").evidence) for name in ("cat", "fork", "dog")
    )
    # 41 of 120 were there after all: the rate to which classes are drawn with 12 examples' weight.
    rate = 41 / 120
    assert cat == pytest.approx((1 + 12 * rate) / 72, abs=1e-3)
    assert fork == pytest.approx((40 + 12 * rate) / 72, abs=1e-3)
    assert cat < other < fork


def test_of_two_verifiers_the_one_that_was_right_weighs_more():
    examples = []
    for number in range(200):
        truth = number % 2 == 0
        examples.append(seen(0.9 if truth else 0.1, truth, verifier="good", group=str(number)))
        examples.append(seen(0.9 if number % 3 else 0.1, truth, verifier="noise", group=str(number)))
    fitted = fit(examples, "test")
    assert fitted.weights["good"] > fitted.weights["noise"]
    for truth in (True, False):
        said = {"good": 0.9 if truth else 0.1, "noise": 0.1 if truth else 0.9}
        pair = [seen(score, truth, verifier=name) for name, score in said.items()]
        assert (fitted.together([example.evidence for example in pair]) > 0.5) == truth


def test_what_was_never_learned_is_not_believed_to_the_end():
    nothing = Combination()
    assert nothing.chance(seen(0.0, True).evidence) == pytest.approx(0.04)
    assert nothing.chance(seen(0.0, True, "existence:none:dog").evidence) > 0.05


def test_an_aspect_without_a_curve_takes_that_before_its_colon():
    combination = Combination(curves={"v": {"count": Curve(scores=(0.0, 1.0), chances=(0.2, 0.8))}})
    assert combination.chance(seen(0.5, True, "count:more").evidence) == pytest.approx(0.5)


def test_what_ships_was_learned_and_rises():
    assert "train" in shipped().about and {"detector", "colour", "text"} <= set(shipped().curves)
    for curves in shipped().curves.values():
        for curve in curves.values():
            assert list(curve.chances) == sorted(curve.chances) and 0 < curve.chances[0] <= curve.chances[-1] < 1


def test_a_damaged_combination_is_named(tmp_path):
    (tmp_path / "c.json").write_text('{"curves": 3}')
    with pytest.raises(SensoriumError, match=r"c.json: is no combination"):
        load_combination(tmp_path / "c.json")
