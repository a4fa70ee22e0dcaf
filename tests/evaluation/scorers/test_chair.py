"""CHAIR: mentions and shares by hand, with a synonym table written for these tests."""

from __future__ import annotations

import pytest

from sensorium.errors import SensoriumError
from sensorium.evaluation.scorers import chair
from sensorium.evaluation.scorers.chair import ChairReply, Synonyms

TABLE = """person, girl, man, woman, baby, passenger
dog, puppy
bear, panda
teddy bear
chair, seat
toilet, urinal
train
tie
wine glass
hot dog
knife
bus
skis, ski
"""


@pytest.fixture
def synonyms(write):
    return Synonyms.read(write("synonyms.txt", TABLE))


@pytest.mark.parametrize(
    ("caption", "mentions"),
    [
        ("A man and two women with puppies.", ["person", "person", "dog"]),
        ("A teddy bear, a bear", ["teddy bear", "bear"]),
        ("Teddy bears!", ["teddy bear"]), ("Two wine glasses and knives", ["wine glass", "knife"]),
        ("a baby dog near a baby", ["dog", "person"]),  # the young of an animal is no person
        ("a passenger train of passengers", ["train", "person"]),
        ("a toilet seat", ["toilet"]), ("a toilet beside a seat", ["toilet"]),  # no seat where a toilet is
        ("a seat", ["chair"]), ("bow ties", ["tie"]), ("hot. Dogs", ["dog"]),
        ("buses, skis and a ski", ["bus", "skis", "skis"]),
        ("The dog and the DOG", ["dog", "dog"]), ("nothing", []), ("", []),
    ],
)  # fmt: skip
def test_things_are_found_by_the_rules(synonyms, caption, mentions):
    assert synonyms.mentions(caption) == mentions


def test_shares_are_as_worked_out_by_hand(synonyms):
    replies = [
        ChairReply(frozenset({"person", "dog"}), "A man, a man and a train."),  # 3 mentions, 1 wrong; 1 of 2 found
        ChairReply(frozenset({"bus"}), "A bus."),  # 1, none; 1 of 1
        ChairReply(frozenset({"tie"}), "A dog with a bear."),  # 2, both; 0 of 1
        ChairReply(frozenset(), "Nothing."),
    ]
    outcome = chair.score(replies, synonyms)
    assert outcome["chair_s"] == 100 * 2 / 4
    assert outcome["chair_i"] == 100 * 3 / 6
    assert outcome["recall"] == 100 * 2 / 4
    assert (outcome["mentions"], outcome["wrong"]) == (6, 3)
    assert outcome["words"] == (7 + 2 + 5 + 1) / 4
    assert chair.score(replies[::-1], synonyms).to_json() == outcome.to_json()
    assert chair.score(replies[3:], synonyms).notes == ("chair_i is 0 / 0, where the official tool stops; 0 is given",)


def test_truth_is_what_is_annotated_and_what_people_name(write, synonyms):
    instances = write("instances.json", {
        "images": [{"id": 1}, {"id": 2}], "categories": [{"id": 18, "name": "dog"}],
        "annotations": [{"image_id": 1, "category_id": 18}],
    })  # fmt: skip
    captions = write("captions.json", {"annotations": [{"image_id": 1, "caption": "A girl on a train"}]})
    rows = [{"image_id": 1, "caption": "x"}, {"image_id": 2, "caption": "y"}]
    official = {"overall": {}, "imgToEval": {str(row["image_id"]): row for row in rows}}
    for results in (write("r.jsonl", rows), write("r.json", rows), write("official.json", official)):
        found = chair.read(results, synonyms, [instances], [captions])
        assert [reply.truth for reply in found] == [{"dog", "person", "train"}, set()]
    with pytest.raises(SensoriumError, match="line 1: image_id 9 is in none of the annotation files"):
        chair.read(write("r.jsonl", [{"image_id": 9, "caption": ""}]), synonyms, [instances], [captions])
    with pytest.raises(SensoriumError, match="the class 'cat' is not in the synonym table"):
        chair.read(results, synonyms, [write("i.json", {"categories": [{"id": 1, "name": "cat"}]})], [])


def test_a_table_with_a_name_twice_is_told(write):
    with pytest.raises(SensoriumError, match=r"s\.txt line 2: 'man' was there in line 1"):
        Synonyms.read(write("s.txt", "person, man\nboy, man\n"))
    with pytest.raises(SensoriumError, match="has no classes"):
        Synonyms.read(write("s.txt", "\n"))
