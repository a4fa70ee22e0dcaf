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
    """Cats that are there are seen as a rule, forks are not; how often each is spoken of makes no difference."""
    examples = [seen(0.9, True, "existence:found:cat")] * 59 + [seen(0.0, True, "existence:none:cat")]
    examples += [seen(0.9, True, "existence:found:fork")] * 20 + [seen(0.0, True, "existence:none:fork")] * 40
    examples += [seen(0.0, False, "existence:none:cat")] * 10 + [seen(0.0, False, "existence:none:fork")] * 30
    fitted = fit(examples, "test")
    cat, fork, other = (
        fitted.chance(seen(0.0, True, f"existence:none:{name}").evidence) for name in ("cat", "fork", "dog")
    )
    # 120 of 160 claims are true; of these 41 go unseen, of the false ones all 40: by one more of each kind, and shares
    # drawn to those of all classes with 12 examples' weight.
    missed, passed = 42 / 122, 41 / 42

    def chance(unseen: int, there: int, unseen_false: int, false: int) -> float:
        share = (unseen + 12 * missed) / (there + 12), (unseen_false + 12 * passed) / (false + 12)
        odds = 121 / 41 * share[0] / share[1]
        return odds / (1 + odds)

    assert cat == pytest.approx(chance(1, 60, 10, 10), abs=1e-3)
    assert fork == pytest.approx(chance(40, 60, 30, 30), abs=1e-3)
    assert cat < other < fork


def test_of_a_question_only_the_evidence_speaks_and_absence_never_for_a_presence():
    """Nearly all claims of captions are true; that a question asks for a thing makes it no more likely."""
    examples = [seen(0.9, True, "existence:found:cat")] * 90 + [seen(0.0, True, "existence:none:cat")] * 30
    examples += [seen(0.9, False, "existence:found:cat")] * 2 + [seen(0.0, False, "existence:none:cat")] * 8
    fitted = fit(examples, "test")
    found, unseen = (seen(score, True, f"existence:{how}:cat").evidence
                     for score, how in ((0.9, "found"), (0.0, "none")))  # fmt: skip
    assert fitted.chance(unseen) > 0.7 and fitted.chance(unseen, is_claimed=False) < 0.3
    prior, claimed = fitted.priors["v"]["existence"], fitted.chance(found)
    assert prior == pytest.approx(121 / 132, abs=1e-3)
    even = claimed / (1 - claimed) * (1 - prior) / prior
    assert fitted.chance(found, is_claimed=False) == pytest.approx(even / (1 + even))
    wider = seen(0.9, True, "existence:narrower:bird").evidence
    assert fitted.chance(wider, is_claimed=False) <= 0.5 < fitted.chance(wider)


def test_nothing_that_ships_takes_what_was_not_seen_for_shown():
    unseen = [aspect for aspect in shipped().curves["detector"] if aspect.startswith("existence:none")]
    assert len(unseen) > 50
    for aspect in unseen:
        assert shipped().chance(seen(0.0, True, aspect, "detector").evidence, is_claimed=False) <= 0.501


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


def test_what_was_learned_of_one_engine_is_not_believed_of_another():
    examples = [seen(0.2, False, verifier="asked"), seen(0.9, True, verifier="asked")] * 30
    fitted = Combination(about="boxes").with_more(fit(examples, "an engine"))
    said = examples[0].evidence
    other = said.model_copy(update={"version": "2"})
    assert fitted.about == "boxes; an engine" and set(fitted.curves) == {"asked:1"}
    assert fitted.chance(said) == pytest.approx(2 / 34, abs=1e-3) and fitted.chance(other) == 0.2
    assert fitted.chance(said, is_claimed=False) == pytest.approx(fitted.chance(said), abs=1e-3)  # half were true
    assert Combination().chance(said) == 0.2


def test_more_that_is_learned_leaves_the_rest_as_it_was():
    box = Combination(curves={"detector": {"count": Curve(scores=(0.0,), chances=(0.3,))}}, weights={"detector": 0.5})
    more = Combination(curves={"text": {"text": Curve(scores=(0.0,), chances=(0.1,))}}, priors={"text": {"text": 0.9}})
    both = box.with_more(more)
    assert both.curves == {**box.curves, **more.curves} and both.weights == box.weights and both.priors == more.priors
    assert more.with_more(Combination(curves={"text": {}})).curves == {"text": {}}


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
