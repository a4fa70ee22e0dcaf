"""AMBER: descriptions noun by noun, yes and no with the tool's rounding; by hand."""

from __future__ import annotations

import pytest

from sensorium.errors import SensoriumError
from sensorium.evaluation.scorers import amber
from sensorium.evaluation.scorers.amber import AmberReply, Associations

ASSOCIATIONS = Associations(
    {"dog": ["puppy"], "tree": ["leaf"], "sea": ["wave", "water"], "boat": ["ship"], "sky": []}, frozenset({"sky"})
)


def _described(reply, truth=("dog", "tree"), hallu=("sea",), nouns=None):
    return AmberReply("generative", truth, reply, hallu, nouns)


def _shares(outcome):
    return tuple(outcome["generative"][name] for name in ("chair", "cover", "hal", "cog"))


def test_descriptions_are_counted_noun_by_noun():
    replies = [
        # puppy (dog), leaves (tree), sky (safe), boats (wrong): 1 of 4 wrong, 2 of 2 covered, sea not made up.
        _described("A puppy under leaves, a sky, and boats."),
        # waves twice (wrong, mean the sea): 2 of 2 wrong, 0 of 2 covered, 1 of 1 made up.
        _described("Waves and waves."),
        _described("Nothing at all."),  # 0 of 0, 0 of 2, 0 of 1; an answer without a wrong noun
    ]
    # chair 3/6.001, cover 2/6.001, cog 1/3.001, hal 100 - 1/3.001: the tool's counts start at .001.
    assert _shares(amber.score(replies, ASSOCIATIONS)) == (50.0, 33.3, 66.7, 33.3)
    assert amber.score(replies[::-1], ASSOCIATIONS).to_json() == amber.score(replies, ASSOCIATIONS).to_json()
    assert "not the official numbers" in amber.score(replies, ASSOCIATIONS).notes[0]


def test_lists_made_with_the_official_tools_are_used():
    alike = Associations(ASSOCIATIONS.of, ASSOCIATIONS.safe, frozenset({("ship", "dog"), ("sea", "boat")}))
    # ship is like dog: fine, and covers it; boat is like sea: wrong, and made up. "car" is not in the vocabulary.
    outcome = amber.score([_described("", nouns=("ship", "boat", "car"))], alike)
    assert _shares(outcome) == (50.0, 50.0, 100.0, 99.9)  # 1/2.001, 1/2.001, 100 - 0, 1/1.001
    assert outcome.notes == ()


def test_without_word_lists_descriptions_are_refused():
    with pytest.raises(SensoriumError, match="--relations"):
        amber.score([_described("x")])


def _asked(kind, *pairs):
    return [AmberReply(kind, truth, reply) for truth, reply in pairs]


def test_positive_is_no_and_f1_comes_from_rounded_numbers():
    said = (("no", "No"), ("no", "Yes"), ("no", "No"), ("yes", "No"), ("yes", "Yes"), ("yes", "yes"))
    replies = _asked("relation", *said)
    outcome = amber.score(replies)
    # Accuracy 3 of 6.001, precision 2 of 3.001, recall 2 of 3.001 ("yes" is not "Yes").
    expected = {"accuracy": 50.0, "precision": 66.6, "recall": 66.6, "f1": 66.6, "questions": 6}
    assert outcome["discriminative"] == outcome["relation"] == expected
    assert "existence" not in outcome.values


def test_existence_has_its_own_term_below_the_line():
    outcome = amber.score(_asked("discriminative-hallucination", *[("no", "No")] * 9, ("no", "Yes")))
    # Precision 9/9.001 -> 100.0, recall 9/10.001 -> 90.0; 2 · 1 · .9 / (1.9 + .001) = 94.69, with .0001: 94.73.
    assert outcome["existence"]["f1"] == 94.7
    half = amber.score(_asked("discriminative-hallucination", ("no", "No"), ("no", "Yes")))
    # Recall 1/2.001 -> 50.0, precision 1/1.001 -> 99.9: .999 / (1.499 + .001) = 66.6, with .0001: 66.64.
    assert (half["existence"]["f1"], half["discriminative"]["f1"]) == (66.6, 66.6)


def test_both_parts_give_the_amber_score():
    replies = [_described("A puppy."), *_asked("discriminative-attribute-state", ("no", "No"), ("yes", "Yes"))]
    outcome = amber.score(replies, ASSOCIATIONS)
    chair, f1 = outcome["generative"]["chair"], outcome["discriminative"]["f1"]
    assert chair == 0
    assert outcome["amber"] == pytest.approx((100 - chair + f1) / 2, abs=0.05)
    assert outcome["state"] == outcome["attribute"]


def test_files_are_read_by_id_and_faults_told(write):
    annotations = write("an.json", [
        {"id": 1, "type": "generative", "truth": ["dog"], "hallu": ["sea"]},
        {"id": 2, "type": "relation", "truth": "no"},
    ])  # fmt: skip
    found = amber.read(
        write("r.json", [{"id": 2, "response": "No"}, {"id": 1, "response": "x"}]), annotations,
        write("n.jsonl", [{"id": 1, "nouns": []}]),
    )  # fmt: skip
    assert found == [AmberReply("relation", "no", "No"), AmberReply("generative", ("dog",), "x", ("sea",), ())]
    for rows, said in (
        ([{"id": 3, "response": ""}], "r.json line 2: id 3 is not in an.json"),
        ([{"id": 2, "response": ""}] * 2, "r.json line 6: id 2 was there before"),
    ):
        with pytest.raises(SensoriumError) as caught:
            amber.read(write("r.json", rows), annotations)
        assert said in str(caught.value)
    relations, safe = write("rel.json", {"dog": ["puppy"]}), write("safe.txt", "sky\n")
    read = Associations.read(relations, safe, write("s.txt", "a\tb\n"))
    assert read == Associations({"dog": ["puppy"]}, frozenset({"sky"}), frozenset({("a", "b")}))
    with pytest.raises(SensoriumError, match=r"s\.txt line 1: holds 1 words"):
        Associations.read(relations, safe, write("s.txt", "a b\n"))
