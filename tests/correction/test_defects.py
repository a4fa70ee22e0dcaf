"""D1–D9: what was wrong with the first system of this kind, each with the text that shows it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sensorium.conversation import Conversation
from sensorium.correction import Corrector, Evidence
from sensorium.correction.claims import find_claims
from sensorium.correction.combination import Combination, Curve
from sensorium.correction.policy import Policy
from sensorium.correction.verdicts import decide
from sensorium.correction.verifiers.asked import Asked
from sensorium.correction.verifiers.base import Found, Located
from sensorium.correction.verifiers.located import LocatedVerifier
from sensorium.correction.words import look_up, words
from sensorium.engine import Card
from sensorium.errors import SensoriumError
from sensorium.grounding import Box


class Boxes:
    """A locator with given boxes by class, as a detector would find them."""

    name, version = "boxes", "1"

    def __init__(self, **found: list[Found]) -> None:
        self.found = {label.replace("_", " "): boxes for label, boxes in found.items()}
        self.names = frozenset(words().coco)

    def locate(self, picture, name, meter):
        known = look_up(name, words().coco)
        if known is None:
            return Located(reason="outside the vocabulary")
        boxes = [one for label in known.classes for one in self.found.get(label, [])]
        return Located(tuple(boxes), fit=known.fit, label=known.classes[0])


# What such a locator does not find is there in one case of a hundred.
SURE = Combination(curves={"boxes": {"existence:none": Curve(scores=(0.0,), chances=(0.01,))}})


def test_d1_a_sentence_without_things_does_not_shift_the_others(corrector, scene):
    text = "What a lovely mood. The dog is brown. So calm! The car is red."
    report = corrector.correct(scene.image, text)
    assert report.output == "What a lovely mood. The dog is brown. So calm! The car is blue."
    assert [(c.thing.name, c.sentence) for c in report.claims if c.kind == "colour"] == [("dog", 1), ("car", 3)]


def test_d2_a_thing_whose_name_holds_none_is_looked_for(corrected):
    names = [c.thing.name for c in find_claims("A nonesuch stands beside a cannonet and a cat.")]
    assert names[0] == "nonesuch" and "cat" in names
    assert corrected("A nonesuch, a dog and a cat.") == "A nonesuch and a dog."


def test_d3_two_names_for_one_box_are_both_there(scene):
    box = [Found(Box(100, 100, 400, 900), 0.9)]
    corrector = Corrector([LocatedVerifier(Boxes(person=box))], combination=SURE)
    text = "A man stands here. The person is calm."
    report = corrector.correct(scene.image, text)
    assert report.output == text
    assert {v.value for v in report.verdicts if report.claim(v.claim).kind == "existence"} == {"supported"}


def test_d4_what_is_not_found_is_unknown_unless_finding_nothing_was_learned_to_mean_something(scene):
    text = "There is a dog and a zorble."
    untaught = Corrector([LocatedVerifier(Boxes())], combination=Combination()).correct(scene.image, text)
    assert untaught.output == text and {v.value for v in untaught.verdicts} == {"unknown"}
    taught = Corrector([LocatedVerifier(Boxes())], combination=SURE).correct(scene.image, text)
    assert taught.output == "There is a zorble."  # outside the vocabulary, so never denied
    assert [v.reason for v in taught.verdicts][-1] == "outside the vocabulary"


@pytest.mark.parametrize("phrase", ["zorble", "doglike", "a sense", "hot dog stand", "toy car"])
def test_d5_a_stray_phrase_is_taken_for_nothing_else(phrase):
    assert look_up(phrase, words().coco) is None


class Dead:
    """An engine that cannot be reached."""

    card = Card("dead", ("text", "image"), 1024, 1)

    def __init__(self) -> None:
        self.tried = 0

    def score(self, conversation: Conversation, candidates):
        self.tried += 1
        raise SensoriumError("http://127.0.0.1", "does not answer.")

    def count(self, candidate: str) -> int:
        return 1


def test_d6_an_engine_that_fails_is_asked_once_and_its_claims_are_unknown(scene):
    engine = Dead()
    text = "A dog, a cat and a red car stand in the garden."
    report = Corrector([Asked(engine)]).correct(scene.image, text)
    assert engine.tried == 1 and report.output == text
    assert all(v.value == "unknown" and "does not answer" in v.reason for v in report.verdicts)


def test_d7_words_that_nothing_speaks_against_stay_as_they_are(corrected):
    odd = "Well -- the DOG (brown,  mind you) is above the  car;   two apples lie about…"
    assert corrected(odd) == odd.replace("two", "three")


def test_d8_relations_are_looked_up_in_the_whole_picture_and_where_is_a_word_not_a_substring(corrected):
    assert corrected("The dog is below the car.") == "The dog is above the car."
    assert corrected("Nowhere is a somewhere dog.") == "Nowhere is a somewhere dog."


def test_d9_correction_loads_nothing_heavy_before_it_is_needed():
    code = (
        "import sys; import sensorium.correction.records, sensorium.cli.main\n"
        "print([m for m in ('torch', 'spacy', 'cv2', 'transformers', 'rapidocr') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_verifiers_that_disagree_leave_a_claim_unknown():
    claims = find_claims("There is a dog.")
    said = [Evidence(claim="c1", verifier=name, version="1", score=score, aspect="existence", reason=name)
            for name, score in (("one", 0.0), ("other", 1.0))]  # fmt: skip
    verdict = decide(claims, said, Combination(), Policy())[0]
    assert verdict.value == "unknown" and verdict.reason.startswith("verifiers disagree")


def test_not_finding_a_thing_never_shows_that_it_is_there():
    claims = find_claims("There is a dog.")
    said = [Evidence(claim="c1", verifier="boxes", version="1", score=0.0, aspect="existence:none:dog",
                     reason="not found")]  # fmt: skip
    # Nine of ten dogs that captions speak of are there, though this locator finds none of them.
    often = Combination(curves={"boxes": {"existence:none": Curve(scores=(0.0,), chances=(0.9,))}})
    verdict = decide(claims, said, often, Policy())[0]
    assert verdict.value == "unknown" and verdict.probability == 0.9 and "not found" in verdict.reason
    denied = decide(find_claims("There is no dog."), said, SURE, Policy())[0]
    assert denied.value == "supported"
