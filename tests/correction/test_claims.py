"""A text as claims: which things are named, what is said of them, and where in the text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.correction.claims import find_claims
from sensorium.correction.language import MAX_CHARACTERS
from sensorium.errors import SensoriumError

NAMES = {"apricot", "traffic light", "pair of scissors", "hot dog", "old man"}


def said(text: str, question: str | None = None) -> list[tuple[object, ...]]:
    """(kind, thing, value, other) of each claim, a denial marked with "not", a guess with "?"."""
    return [
        (c.kind, c.thing.name if c.thing else None, *([c.value] if c.value else []),
         *([c.other.name] if c.other else []), *([] if c.asserts else ["not"]), *(["?"] if c.is_hedged else []))
        for c in find_claims(text, question, NAMES)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("There is a dog.", [("existence", "dog")]),
        ("Two dogs sit.", [("existence", "dog"), ("count", "dog", "2"), ("action", "dog", "sitting")]),
        ("There are 3 traffic lights.", [("existence", "traffic light"), ("count", "traffic light", "3")]),
        ("A dark red car.", [("existence", "car"), ("colour", "car", "red")]),
        ("The cars are grey.", [("existence", "car"), ("colour", "car", "gray")]),
        ("The color of the car is red.", [("existence", "car"), ("colour", "car", "red")]),
        ("A black and white cat.", [("existence", "cat")]),
        ("A wooden bench.", [("existence", "bench"), ("material", "bench", "wooden")]),
        ("The dog is to the left of the cat.",
         [("existence", "dog"), ("position", "dog", "left", "cat"), ("existence", "cat")]),
        ("The dog is under the table.",
         [("existence", "dog"), ("position", "dog", "below", "table"), ("existence", "table")]),
        ("A dog is in the upper right corner.",
         [("existence", "dog"), ("position", "dog", "top"), ("position", "dog", "right")]),
        ("On the left there are a dog and a cat.",
         [("position", "dog", "left"), ("position", "cat", "left"), ("existence", "dog"), ("existence", "cat")]),
        ('A sign says "STOP".', [("existence", "sign"), ("text", "sign", "STOP")]),
        ("There are two pairs of scissors.", [("existence", "pair of scissors"), ("count", "pair of scissors", "2")]),
        ("A group of people wait on the left side of the image.",
         [("existence", "people"), ("action", "people", "waiting"), ("position", "people", "left")]),
        ("There is no dog and no cat.", [("existence", "dog", "not"), ("existence", "cat", "not")]),
        ("A man without a hat.", [("existence", "man"), ("existence", "hat", "not")]),
        ("The dog is not red.", [("existence", "dog"), ("colour", "dog", "red", "not")]),
        ("It might be a dog.", [("existence", "dog", "?")]),
        ("A dog looks at the camera.", [("existence", "dog")]),
        ("Two slices of pizza.", [("existence", "pizza")]),
        ("A woman rides a horse.",
         [("existence", "woman"), ("action", "woman", "riding a horse"), ("existence", "horse")]),
        ("The dog is above the apricot.",  # which the parser takes for somebody's name
         [("existence", "dog"), ("position", "dog", "above", "apricot"), ("existence", "apricot")]),
        ("There is a dog or a cat.", [("existence", "dog", "?"), ("existence", "cat", "?")]),
        ("The image has a warm atmosphere.", []),
    ],
)  # fmt: skip
def test_what_is_said_is_found(text, claims):
    assert said(text) == claims


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("There are two dogs.", "2"),
        ("Two dogs run on the left.", "2"),  # the place is where they run, and there may be no others
        ("There are two red dogs.", "2+"),  # and perhaps a black one
        ("There are two dogs on the left.", "2+"),
        ("One dog lies here and one dog stands there.", "1+"),
        ("Two dogs sit here. The dogs are brown.", "2"),
    ],
)
def test_a_number_is_exact_only_where_it_means_all(text, value):
    assert next(c.value for c in find_claims(text) if c.kind == "count") == value


@pytest.mark.parametrize("text", ["There are about ten dogs.", "There are at least two dogs.", "Several dogs run."])
def test_a_vague_number_is_no_claim(text):
    assert "count" not in [c.kind for c in find_claims(text)]


@pytest.mark.parametrize(
    ("text", "thing"),
    [
        ("A dog sits on a mat. It is brown.", "dog"),  # the subject
        ("There is a dog. They are brown.", None),  # numbers disagree
        ("A woman holds a dog. She is red.", "woman"),
        ("There is a dog and a cat. It is brown.", None),  # both are as near
    ],
)
def test_a_pronoun_is_its_nearest_agreeing_thing_or_nothing(text, thing):
    colour = next(c for c in find_claims(text) if c.kind == "colour")
    assert (colour.thing.name if colour.thing else None) == thing


def test_yes_and_no_are_claims_about_their_question():
    question = "Are there three red dogs?"
    claims = find_claims("No.", question)
    answer = next(c for c in claims if c.kind == "answer")
    parts = [c for c in claims if c.id in answer.parts]
    assert answer.value == "no" and answer.span.of("No.") == "No"
    assert {c.kind for c in parts} == {"existence", "count", "colour"}
    assert all(c.span.source == "question" and c.sentence == -1 for c in parts)
    assert next(c for c in parts if c.kind == "colour").span.of(question) == "red"


@pytest.mark.parametrize("question", ["Is the car blue?", "Is the umbrella orange?", "Are the dogs red in the image?"])
def test_an_adjective_after_its_noun_in_a_question_is_understood(question):
    claims = find_claims("Yes.", question)
    colour = next(c for c in claims if c.kind == "colour")
    assert colour.thing.span.of(question).startswith("the ") and colour.span.of(question) == colour.value


@pytest.mark.parametrize(
    ("text", "question", "claim"),
    [
        ("Three.", "How many dogs are there?", ("count", "dog", "3")),
        ("Red.", "What color is the ball?", ("colour", "ball", "red")),
        ("On the left.", "Where is the cat?", ("position", "cat", "left")),
    ],
)
def test_a_bare_value_is_a_claim_about_what_the_question_asks(text, question, claim):
    assert said(text, question) == [claim]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("图里有一只狗和两只猫。", "not in a Latin script; only English is supported yet"),
        ("Der Hund ist neben einem Auto und das Auto ist rot.", "seems to be German; only English"),
        ("Il y a un chien et une voiture rouge dans la rue.", "seems to be French; only English"),
        ("a" * (MAX_CHARACTERS + 1), "at most 100,000 are read"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_line(text, message):
    with pytest.raises(SensoriumError, match=message):
        find_claims(text)


def test_what_is_read_begins_behind_the_blanks_of_its_quotation():
    text = 'A sign says " STOP ,". Another says " . ".'
    (claim,) = [claim for claim in find_claims(text) if claim.kind == "text"]
    assert claim.value == claim.value_span.of(text) == "STOP"


_WORDS = st.sampled_from(
    ["a", "the", "two", "red", "dog", "cats", "is", "are", "on", "left", "of", "no", "and", ",", ".", "There", "It",
     "not", '"', "says", "STOP", "below", "which", "?", "é", "\n"]
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(_WORDS, min_size=1, max_size=14).map(" ".join))
def test_offsets_lie_in_the_original_text_whatever_it_says(text):
    for claim in find_claims(f"Look: {text}"):
        for span in (claim.span, claim.value_span, claim.thing and claim.thing.head):
            assert span is None or 0 <= span.start < span.end <= len(text) + 6
        if claim.kind == "colour":
            assert claim.value_span.of(f"Look: {text}") == "red"
