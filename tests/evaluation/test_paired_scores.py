"""Official scores of two runs: against the definitions of the paired bootstrap and of the exchange test."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from sensorium.evaluation import intervals
from sensorium.evaluation.intervals import Clusters
from sensorium.evaluation.paired_scores import score_differences
from sensorium.evaluation.scorers import caption, mme, pope
from sensorium.evaluation.scorers.outcome import Outcome
from sensorium.evaluation.statistics import sign_flip

WORDS = ("a", "dog", "cat", "runs", "sleeps", "on", "grass", "sofa")


def _pope(said, pictures):
    """Replies to pairs of yes and no about each picture; said: of all questions in their order."""
    truths = ("yes", "no") * pictures
    return pope.score([pope.PopeReply(str(i // 2), truths[i], said[i]) for i in range(2 * pictures)])


def _f1(rows):
    """rows: (truth, said)."""
    right = sum(truth == said == "yes" for truth, said in rows)
    return 2 * right / (sum(said == "yes" for _, said in rows) + sum(truth == "yes" for truth, _ in rows))


@pytest.fixture
def two():
    """Two models on 60 pictures, alike on two questions in three: what each said."""
    draw = random.Random(3)
    one = [draw.choice(("yes", "no")) for _ in range(120)]
    return one, [said if draw.random() < 0.7 else ("yes", "no")[i % 2] for i, said in enumerate(one)]


def test_the_interval_of_a_difference_of_f1_is_that_of_pictures_drawn_for_both_together(two):
    one, other = two
    found = {row.name: row for row in score_differences(_pope(one, 60), _pope(other, 60))}["f1"]
    truths = ("yes", "no") * 60
    draw = random.Random(0)
    drawn = []
    for _ in range(3000):
        pictures = [draw.randrange(60) for _ in range(60)]
        chosen = [i for picture in pictures for i in (2 * picture, 2 * picture + 1)]
        drawn.append(_f1([(truths[i], other[i]) for i in chosen]) - _f1([(truths[i], one[i]) for i in chosen]))
    assert found.value == pytest.approx(_f1(zip_list(truths, other)) - _f1(zip_list(truths, one)))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.015)
    # Pairing is the point: two intervals side by side would be wider.
    apart = np.sqrt(sum(np.ptp(_pope(said, 60).intervals["f1"]) ** 2 for said in two))
    assert found.high - found.low < 0.85 * apart


def zip_list(truths, said):
    return list(zip(truths, said, strict=True))


def test_p_is_the_share_of_all_exchanges_that_differ_as_much():
    """Seven pictures: all 2^7 ways of exchanging what the two models said about a picture."""
    one, other = ["yes", "yes"] * 4 + ["no", "no"] * 3, ["yes", "no"] * 6 + ["no", "yes"]
    found = {row.name: row for row in score_differences(_pope(one, 7), _pope(other, 7))}["f1"]
    truths = ("yes", "no") * 7
    extreme, observed = 0, abs(_f1(zip_list(truths, other)) - _f1(zip_list(truths, one)))
    for exchanged in itertools.product((False, True), repeat=7):
        first = [(other if exchanged[i // 2] else one)[i] for i in range(14)]
        second = [(one if exchanged[i // 2] else other)[i] for i in range(14)]
        extreme += abs(_f1(zip_list(truths, second)) - _f1(zip_list(truths, first))) >= observed - 1e-12
    assert found.p_exchange == pytest.approx(extreme / 2**7, abs=0.02)


def test_of_a_mean_the_exchange_test_is_the_one_that_flips_signs():
    draw = np.random.default_rng(5)
    first, second = draw.integers(0, 2, 40), draw.integers(0, 2, 40)

    def outcome(right):
        shares = Clusters()
        for one in right:
            shares.add(None, int(one), 1)
        return Outcome("t", "official", {"share": float(right.mean())}, {"share": shares.mean_interval()})

    [found] = score_differences(outcome(first), outcome(second))
    assert found.p_exchange == pytest.approx(sign_flip((second - first).astype(float)), abs=0.03)


def _mme(right):
    """right: subtask -> of each picture (first, second)."""
    return mme.score({
        subtask: [mme.MmeReply(str(i), f"{i} {turn}", truth, truth if pair[turn] else "hm")
                  for i, pair in enumerate(pairs) for turn, truth in enumerate(("yes", "no"))]
        for subtask, pairs in right.items()
    })  # fmt: skip


def test_the_sums_of_mme_are_resampled_subtask_by_subtask():
    """One subtask differs in every second picture: the error of the difference is that of ten pictures' points."""
    one = {"count": [(True, False)] * 20, "color": [(True, True)] * 20}
    other = {"count": [(True, True), (True, False)] * 10, "color": [(True, True)] * 20}
    rows = {row.name: row for row in score_differences(_mme(one), _mme(other))}
    found = rows["perception"]
    # A picture that is now wholly right adds 50 + 100 of 20 pictures: 10 · 150 / 20 points.
    assert found.value == pytest.approx(75)
    # Variance of a share of a half over 20 pictures, times 150 points.
    error = 150 * np.sqrt(0.25 / 20)
    assert (found.low, found.high) == pytest.approx((75 - 1.96 * error, 75 + 1.96 * error), abs=8)
    assert found.smallest == pytest.approx(2.8 * error, rel=0.1)
    assert rows["subtasks.count.acc_plus"].value == 0.5 and rows["subtasks.count.acc"].value == 0.25
    assert (rows["subtasks.color.score"].p, rows["subtasks.color.score"].verdict) == (1.0, "tied")
    # Ten pictures differ, all one way: 2 of 2^10; the only headline there is, above six numbers of subtasks.
    assert found.p == pytest.approx(2 / 2**10, abs=0.002) and found.verdict == "higher"
    assert rows["subtasks.count.score"].p == pytest.approx(6 * rows["subtasks.count.score"].p_exchange)


def _captions(rng, n, is_good):
    found = []
    for i in range(n):
        own = [WORDS[(i + k) % len(WORDS)] for k in range(5)]
        said = own if rng.random() < is_good else rng.choices(WORDS, k=5)
        found.append(caption.CaptionReply((" ".join(own),), " ".join(said)))
    return found


def test_cider_and_bleu_are_compared_with_what_both_runs_share():
    good, bad = _captions(random.Random(0), 80, 0.9), _captions(random.Random(1), 80, 0.2)
    rows = {row.name: row for row in score_differences(caption.score(bad), caption.score(good))}
    for name in ("cider", "rouge_l", "bleu_1", "bleu_4"):
        assert rows[name].verdict == "higher" and 0 < rows[name].low < rows[name].value < rows[name].high
    # CIDEr is a mean over pictures, so its paired error is that of the differences.
    words = [(one.caption.split(), [text.split() for text in one.references]) for one in [*bad, *good]]
    each = np.asarray([caption.cider([said for said, _ in part], [texts for _, texts in part])
                       for part in (words[:80], words[80:])])  # fmt: skip
    half = 1.96 * np.std(each[1] - each[0]) / np.sqrt(80)
    assert rows["cider"].high - rows["cider"].low == pytest.approx(2 * half, rel=0.12)


def test_many_different_pictures_take_the_normal_way_to_the_same_numbers(monkeypatch):
    good, bad = caption.score(_captions(random.Random(0), 60, 0.6)), caption.score(_captions(random.Random(1), 60, 0.5))
    drawn = {row.name: row for row in score_differences(bad, good)}["rouge_l"]
    monkeypatch.setattr(intervals, "MOST_DISTINCT_ROWS", 5)
    normal = {row.name: row for row in score_differences(bad, good)}["rouge_l"]
    assert (normal.low, normal.high) == pytest.approx((drawn.low, drawn.high), abs=0.02)
    assert normal.p_exchange == pytest.approx(drawn.p_exchange, abs=0.05)


def test_equal_runs_do_not_differ(two):
    for row in score_differences(_pope(two[0], 60), _pope(two[0], 60)):
        assert (row.value, row.low, row.high, row.p, row.verdict) == (0, 0, 0, 1.0, "tied")


def test_a_share_that_needs_a_reply_is_compared_where_only_one_gave_it():
    """Precision is of the pictures that were said to show it: the one says yes to none, the other to all."""
    rows = {row.name: row for row in score_differences(_pope(["no"] * 20, 10), _pope(["yes"] * 20, 10))}
    assert (rows["precision"].first, rows["precision"].second) == (0, 0.5)
    assert rows["yes_ratio"].value == 1 and rows["yes_ratio"].verdict == "higher"
