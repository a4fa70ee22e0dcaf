"""What a way to answer gains and harms, counted by hand on a few answers."""

from __future__ import annotations

import pytest

from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks import Answer
from sensorium.evaluation.gains import gains


def pair(picture: str, first: str, second: str) -> list[Answer]:
    """Two questions about a picture, the first to be answered yes, the second no."""
    return [Answer(f"{picture}/{i}", picture, "existence", "?", {"answer": truth, "question": "?", "split": "s"}, reply)
            for i, (truth, reply) in enumerate((("yes", first), ("no", second)))]  # fmt: skip


PLAIN = [*pair("a", "Yes", "Yes"), *pair("b", "Yes", "No"), *pair("c", "No", "Yes, there is")]


def test_scores_of_pairs_are_those_of_200_and_harm_stands_beside_help():
    now = [*pair("a", "Yes", "No"), *pair("b", "No", "No"), *pair("c", "Yes", "perhaps")]
    [plain] = gains("scenes-mme", PLAIN, PLAIN)
    [found] = gains("scenes-mme", PLAIN, now)
    assert plain.score == pytest.approx(100 * 3 / 6 + 100 / 3)
    assert found.score == pytest.approx(100 * 4 / 6 + 100 / 3)
    assert found.change.mean.value == pytest.approx(found.score - plain.score)
    # Wrong were a's second and both of c: two of the three are right now. Right were three, of which b's first is lost.
    assert (found.fixed.value, found.fixed.of) == (pytest.approx(2 / 3), 3)
    assert (found.harmed.value, found.harmed.of) == (pytest.approx(1 / 3), 3)
    assert found.coverage.value == pytest.approx(5 / 6), "`perhaps` is neither yes nor no"
    assert found.recall.value == pytest.approx(2 / 3) and found.false.value is None
    assert found.words == 1 and plain.words == pytest.approx(8 / 6)
    assert plain.harmed.value == plain.fixed.value == 0 and plain.change.mean.value == 0 and not plain.falls


def test_only_a_loss_beyond_its_interval_is_a_fall():
    right = [answer for i in range(30) for answer in pair(f"p{i}", "Yes", "No")]
    worse = [answer for i in range(30) for answer in pair(f"p{i}", "Yes" if i % 2 else "No", "No")]
    slightly = [*pair("p0", "No", "No"), *right[2:]]
    assert gains("scenes-mme", right, worse)[0].falls
    assert not gains("scenes-mme", right, slightly)[0].falls
    assert not gains("scenes-mme", worse, right)[0].falls


def described(*replies: str) -> list[Answer]:
    truths = (["dog", "cat"], ["car"])
    return [Answer(f"s/{i}", f"s/{i}", "s", "Describe.", {"names": names, "imagined": [], "split": "s"}, reply)
            for i, (names, reply) in enumerate(zip(truths, replies, strict=True))]  # fmt: skip


def test_of_descriptions_the_names_are_counted():
    plain = described("There is a dog, a cat and a boat.", "A car and two dogs. A dog!")
    [found] = gains("scenes-caption", plain, described("There is a dog.", "A car and two dogs. A dog!"))
    # Not there were the boat and the dog beside the car: one of them is left out. There were dog, cat and car.
    assert (found.fixed.value, found.fixed.of) == (0.5, 2)
    assert (found.harmed.value, found.harmed.of) == (pytest.approx(1 / 3), 3)
    assert (found.recall.value, found.recall.of) == (pytest.approx(2 / 3), 3)
    assert (found.false.value, found.false.of) == (0.5, 4), "each mention counts, as CHAIR has it"
    assert found.coverage.value == 1
    assert found.score == pytest.approx(100 * (2 / 3 + 2 / 3) / 2)


def test_other_questions_and_other_benchmarks_are_refused():
    with pytest.raises(SensoriumError, match="answered plainly"):
        gains("scenes-mme", PLAIN, PLAIN[:4])
    with pytest.raises(SensoriumError, match="not compared"):
        gains("docvqa", PLAIN, PLAIN)
