"""Captions: CIDEr-D against its formula written out with vectors, BLEU and ROUGE-L by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.errors import SensoriumError
from sensorium.evaluation.scorers import caption
from sensorium.evaluation.scorers.caption import CaptionReply, bleu, bleu_counts, cider, rouge_l


def _runs(words, n):
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _cider_by_its_formula(captions, references):
    """arXiv:1411.5726, equations 1 to 4 with the changes of CIDEr-D, over dense vectors of all n-grams there are."""
    every = [*captions, *(one for others in references for one in others)]
    found = np.zeros(len(captions))
    for n in (1, 2, 3, 4):
        basis = sorted({run for words in every for run in _runs(words, n)})
        if not basis:
            continue
        holds = [[any(run in _runs(one, n) for one in others) for run in basis] for others in references]
        idf = np.log(len(captions) / np.maximum(1, np.sum(holds, axis=0)))

        def vector(words, n=n, basis=basis, idf=idf):
            return np.asarray([_runs(words, n).count(run) for run in basis]) * idf

        for i, (words, others) in enumerate(zip(captions, references, strict=True)):
            for other in others:
                g, s = vector(words), vector(other)
                lengths = np.linalg.norm(g) * np.linalg.norm(s)
                same = np.minimum(g, s) @ s / lengths if lengths else 0.0
                apart = len(_runs(words, 2)) - len(_runs(other, 2))
                found[i] += 10 * same * math.exp(-(apart**2) / (2 * 6**2)) / 4 / len(others)
    return found


WORDS = st.lists(st.sampled_from(list("abcde")), max_size=7)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=5))
def test_cider_is_its_formula(pairs):
    captions, references = [list(part) for part in zip(*pairs, strict=True)]
    assert cider(captions, references) == pytest.approx(_cider_by_its_formula(captions, references), abs=1e-9)


def test_cider_of_one_picture_is_zero_and_of_its_own_reference_ten():
    one = ["a", "b", "c", "d", "e"]
    assert cider([one], [[one]]) == [0]
    # Two pictures, nothing in common: each n-gram weighs ln 2, both vectors are equal, so 10 for each n.
    assert cider([one, ["v", "w", "x", "y"]], [[one], [["v", "w", "x", "y"]]]) == pytest.approx([10, 10])


def test_bleu_by_hand():
    """"the cat sat on the mat" beside "the cat is on the mat": unigrams 5 of 6 (sat), bigrams 3 of 5, trigrams 1 of 4,
    none of three runs of four; the same length, no penalty."""
    sums = bleu_counts(["the", "cat", "sat", "on", "the", "mat"], [["the", "cat", "is", "on", "the", "mat"]])
    assert sums == (6, 6, 5, 3, 1, 0, 6, 5, 4, 3)
    one, two, three, four = bleu(sums)
    assert one == pytest.approx(5 / 6)
    assert two == pytest.approx(math.sqrt(5 / 6 * 3 / 5))
    assert three == pytest.approx((5 / 6 * 3 / 5 * 1 / 4) ** (1 / 3))
    assert four == pytest.approx(0, abs=1e-3)


def test_bleu_clips_repeats_and_takes_the_nearest_length():
    # "the the the" beside "the cat": one of three counts; of lengths 2 and 9 the nearest to 3 is 2, so no penalty.
    assert bleu(bleu_counts(["the"] * 3, [["the", "cat"], ["x"] * 9]))[0] == pytest.approx(1 / 3)
    # Four words for eight: exp(1 - 8/4); of two equally near lengths the shorter.
    assert bleu(bleu_counts(list("abcd"), [list("abcdefgh")]))[0] == pytest.approx(math.exp(-1))
    assert bleu_counts(["a"] * 3, [["a"] * 4, ["a"] * 2])[1] == 2


def test_rouge_takes_the_best_precision_and_the_best_recall_apart():
    """Precision 2/3 from the first (a, b), recall 1 from the second (c of one): F with beta 1.2."""
    found = rouge_l(["a", "b", "c"], [["a", "b", "x", "y", "z"], ["c"]])
    assert found == pytest.approx((1 + 1.44) * (2 / 3) * 1 / (1 + 1.44 * (2 / 3)))
    assert rouge_l(["a"], [["b"]]) == 0
    assert rouge_l([], [["b"]]) == 0


REPLIES = [
    CaptionReply(("A dog runs on grass.", "The dog is running."), "A dog runs."),
    CaptionReply(("Two cats sleep.", "Cats (two) asleep!"), "two cats sleep"),
    CaptionReply(("A red bus.", "A bus on the street."), "A horse"),
]


def test_scores_do_not_depend_on_case_punctuation_or_order():
    plain = caption.score(REPLIES)
    shouted = [CaptionReply(reply.references, reply.caption.upper() + " !") for reply in REPLIES]
    assert caption.score(shouted).values == plain.values
    turned = caption.score(REPLIES[::-1])
    assert turned.values == pytest.approx(plain.values)
    assert turned.intervals["bleu_2"] == pytest.approx(plain.intervals["bleu_2"])
    for name, (low, high) in plain.intervals.items():
        assert low - 1e-9 <= plain[name] <= high + 1e-9


def test_vlmevalkit_splits_at_blanks_and_gives_percent():
    outcome = caption.score([CaptionReply(("a dog.",), "a dog")], "vlmevalkit")
    assert outcome["bleu_1"] == pytest.approx(50)  # "dog" is not "dog."
    assert caption.score([CaptionReply(("a dog.",), "a dog")])["bleu_1"] == pytest.approx(1)


def test_only_pictures_with_a_caption_are_scored_and_the_others_counted(write):
    told = {"images": [{"id": i} for i in (1, 2, 3)],
            "annotations": [{"id": 9 + i, "image_id": i, "caption": f"thing {i}"} for i in (1, 1, 2, 3)]}  # fmt: skip
    annotations = write("c.json", told)
    replies, missing = caption.read(annotations, write("r.json", [{"image_id": 1, "caption": "thing 1"}]))
    assert replies == [CaptionReply(("thing 1", "thing 1"), "thing 1")]
    outcome = caption.score(replies, missing=missing)
    assert outcome["missing"] == 2
    assert outcome.notes == ("2 pictures have no caption and are not scored",)
    for rows, said in (
        ([{"image_id": 7, "caption": ""}], "r.json line 2: image_id 7 is not in c.json"),
        ([{"image_id": 1, "caption": ""}] * 2, "r.json line 6: image_id 1 was there before, in line 2"),
        ([], "holds no captions"),
    ):
        with pytest.raises(SensoriumError) as caught:
            caption.read(annotations, write("r.json", rows))
        assert said in str(caught.value)
