"""Edits: the smallest that make a text true, grammar put right around them, and nothing else touched."""

from __future__ import annotations

import pytest

from sensorium.correction import Corrector, apply_edits
from sensorium.correction.claims import find_claims
from sensorium.correction.editors import Rewrite
from sensorium.correction.policy import Policy
from sensorium.correction.verifiers.oracle import Oracle
from sensorium.engine import Card, Reply
from sensorium.grounding import Box, parse_grounded

# The scene: a brown dog above a blue car on the left, three green apples on the right. No cat, no spoon, no bus.
MENDED = [
    ("There are a dog, a cat and three apples.", "There are a dog and three apples."),
    ("There are a cat, a dog and three apples.", "There is a dog and three apples."),
    ("There are a dog, three apples and a cat.", "There are a dog and three apples."),
    ("There are a dog, a car, and a cat.", "There are a dog and a car."),
    ("A cat and a dog are here.", "A dog is here."),
    ("A dog and a cat are playing.", "A dog is playing."),
    ("A dog sits next to a cat.", "A dog sits."),
    ("The dog is on top of a bus.", "There is a dog."),
    ("A dog holding a spoon sits above the car.", "A dog sits above the car."),
    ("The dog, which chases a cat, is brown.", "The dog is brown."),
    ("A cat sleeps. It is black. The dog is brown.", "The dog is brown."),
    ("The dog is brown and a cat is black.", "The dog is brown."),
    ("There is a cat.", "There is no cat in the image."),
    ("The dog is brown. There is a cat. There is a spoon.", "The dog is brown."),
    ("There are two apples.", "There are three apples."),
    ("There is one apple.", "There are three apples."),
    ("An apple and 2 dogs.", "An apple and 1 dog."),
    ("Two dogs are sitting above a car.", "One dog is sitting above a car."),
    ("Two dogs sit above a car.", "One dog sits above a car."),
    ("Two dogs and a cat are playing.", "One dog is playing."),
    ("There are two cars, which are parked.", "There is one car, which is parked."),
    ("The picture shows two dogs that are barking and a cat.", "The picture shows one dog that is barking."),
    ("There is one apple and it is green.", "There are three apples and they are green."),
    ("The two cars are blue and they are parked.", "The one car is blue and it is parked."),
    ("A single apple is visible.", "Three apples are visible."),
    ("There is no apple.", "There is an apple."),
    ("There are no apples here.", "There are apples here."),
    ("The car isn't blue.", "The car is blue."),
    ("The car is red.", "The car is blue."),
    ("There is an orange car.", "There is a blue car."),
    ("The dog is below the car.", "The dog is above the car."),
    ("The dog is in the upper right corner.", "The dog is in the upper left corner."),
    ("Right of the car there is no dog, and the car is on the right side.",
     "Right of the car there is no dog, and the car is on the left side."),
]  # fmt: skip
KEPT = [
    "There are a dog, a car and three apples in the picture.",
    "The dog is brown. It is above the car.",
    "A green apple lies on the right.",
    "There is no cat.",
    "There might be a cat.",
    "A zorble frobnicates.",
    "The mood is warm; one feels at home.",
    "The apples are green and the car is blue.",
    "Two dogs or three apples?",
]


@pytest.mark.parametrize(("text", "mended"), MENDED)
def test_an_error_is_mended_with_the_fewest_words(corrected, text, mended):
    assert corrected(text) == mended


def test_a_verb_agrees_with_a_noun_that_looks_the_same_in_both_numbers(scene_maker, vocabulary, tmp_path):
    corners = ((50, 50, 250, 250), (400, 50, 600, 250), (700, 50, 900, 250))
    scene = scene_maker(tmp_path, [("moose", at, "brown") for at in corners], "moose")
    report = Corrector([Oracle.of([scene], vocabulary)]).correct(scene.image, "There is one moose.")
    assert report.output == "There are three moose."


@pytest.mark.parametrize("text", KEPT)
def test_what_is_true_guessed_or_unknown_stays_byte_for_byte(corrected, text):
    assert corrected(text) == text


@pytest.mark.parametrize(
    ("question", "text", "mended"),
    [
        ("Is there a cat?", "Yes, there is a cat.", "No, there is no cat."),
        ("Is there a cat?", "Yes.", "No."),
        ("Is there a dog?", "No, there is no dog.", "Yes, there is a dog."),
        ("Is there a dog?", "no", "yes"),
        ("Are there two apples?", "Yes, there are two apples.", "No, there are three apples."),
        ("Is the car blue?", "No, the car is not blue.", "Yes, the car is blue."),
        ("Is the dog below the car?", "Yes, the dog is below the car.", "No, the dog is above the car."),
        ("Is there a cat?", "Yes, it can be seen.", "No."),
        ("How many apples are there?", "Two.", "Three."),
        ("What color is the car?", "Red.", "Blue."),
        ("Is there a zorble?", "Yes, there is.", "Yes, there is."),
    ],
)
def test_an_answer_changes_with_its_clause(corrected, question, text, mended):
    assert corrected(text, question) == mended


@pytest.mark.parametrize(("text", "mended"), MENDED)
def test_the_edits_of_the_original_text_make_the_output(corrector, scene, text, mended):
    report = corrector.correct(scene.image, text)
    assert apply_edits(report.text, report.edits) == report.output == mended


@pytest.mark.parametrize(("text", "mended"), MENDED)
def test_a_mended_text_needs_no_mending(corrected, text, mended):
    assert corrected(mended) == mended


def test_boxes_are_written_beside_what_is_there(corrector, scene):
    report = corrector.correct(scene.image, "A dog, a cat and two apples.")
    assert report.output == "A dog and three apples."
    assert [(g.name, g.boxes) for g in parse_grounded(report.grounded)] == [
        ("dog", (Box(50, 50, 250, 250),)),
        ("apples", (Box(650, 80, 780, 230), Box(650, 420, 780, 570), Box(800, 700, 930, 850))),
    ]


class Writer:
    """An engine that rewrites as it was told to, and likes short texts best or worst."""

    card = Card("writer", ("text", "image"), 4096, 1)

    def __init__(self, says: str = "", likes_short: bool = True) -> None:
        self.says, self.likes_short, self.asked = says, likes_short, []

    def answer(self, conversations, sampling):
        self.asked += conversations
        return [Reply(self.says, "stop", 9, 9) for _ in conversations]

    def score(self, conversation, candidates):
        sign = -1.0 if self.likes_short else 1.0
        return [sign * len(c) * self.count(c) for c in candidates]

    def count(self, candidate):
        return len(candidate.split())


def test_an_engine_chooses_among_the_ways_and_writes_none_of_its_own(scene, vocabulary):
    text = "A dog is here. The dog chases a cat."
    oracle = [Oracle.of([scene], vocabulary)]
    short = Corrector(oracle, engine=Writer(likes_short=True)).correct(scene.image, text)
    long = Corrector(oracle, engine=Writer(likes_short=False)).correct(scene.image, text)
    assert short.output == "A dog is here."
    assert long.output == "A dog is here. There is a dog."
    assert short.cost.calls == {"editor": 1}


def test_what_is_there_is_not_lost_where_a_parse_goes_wrong(corrector, scene):
    text = "There are an apple, a piece of cheese, a car, a piece of candy and a dog. The dog is brown."
    output = corrector.correct(scene.image, text).output
    assert all(word in output for word in ("apple", "car", "dog")) and "candy" not in output


@pytest.mark.parametrize(
    ("rewritten", "output"),
    [
        ("A brown dog rests. The car is blue.", "A brown dog rests. The car is blue."),
        ("A brown dog rests. The car is green.", "A brown dog rests. The car is blue."),  # refuted again
        ("The car is blue.", "A brown dog rests. The car is blue."),  # lost the dog
        ("", "A brown dog rests. The car is blue."),
        ("A brown dog rests. The car is blue. " * 9, "A brown dog rests. The car is blue."),
    ],
)
def test_a_rewriting_is_taken_only_if_it_holds(scene, vocabulary, rewritten, output):
    writer = Writer(rewritten)
    corrector = Corrector([Oracle.of([scene], vocabulary)], editor=Rewrite(), engine=writer)
    report = corrector.correct(scene.image, "A brown dog rests. The car is red.")
    assert report.output == output == apply_edits(report.text, report.edits)
    assert "Is the car red? No (blue instead)." in writer.asked[0].messages[0].text


def test_doubts_are_left_flagged_or_hedged_as_the_policy_says(scene, corrector):
    from sensorium.correction import Evidence, Report

    text = "A cat sleeps."
    claims = find_claims(text)
    evidence = [Evidence(claim="c1", verifier="v", version="1", score=0.2, aspect="existence", reason="dim")]
    earlier = Report(picture=corrector.correct(scene.image, text).picture, text=text, claims=claims, evidence=evidence)
    outcomes = {}
    for what in ("leave", "flag", "hedge"):
        corrector.policy = Policy(doubtful=what)
        report = corrector.correct(scene.image, text, earlier=earlier, start="verdicts")
        outcomes[what] = (report.output, report.flags)
    assert outcomes == {
        "leave": (text, ()), "flag": (text, ("c1",)), "hedge": ("What may be a cat sleeps.", ()),
    }  # fmt: skip
