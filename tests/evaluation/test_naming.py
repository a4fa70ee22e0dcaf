"""Names in free text: whole words, longest first, and words that are not always things."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.data.scenes.phrases import joined, things
from sensorium.data.scenes.vocabulary import Vocabulary
from sensorium.evaluation.naming import Names

VOCABULARY = Vocabulary.load()
NAMES = Names(VOCABULARY.names)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A dog and two cats.", ["dog", "cat"]),
        ("A DOG, a dog and dogs!", ["dog"]),
        ("A hot dog.", ["hot dog"]),
        ("A hot dog and a dog.", ["hot dog", "dog"]),
        ("A dogma about catalogues and carpets.", []),
        ("A puppy beside two bunnies.", ["dog", "rabbit"]),
        ("The dog's bowl", ["dog", "bowl"]),
        ("Two pairs of scissors and a teddy-bear.", ["scissors", "teddy bear"]),
        ("three bunches of grapes, a glass of milk", ["grapes", "milk"]),
        ("There are two glasses.", ["glass"]),
        ("There is a pair of glasses.", ["glasses"]),
        ("The picture shows nothing; a photo, an image.", []),
        ("An orange cat.", ["cat"]),
        ("The cat is orange.", ["cat"]),
        ("The cat is orange and on the left side.", ["cat"]),
        ("An orange and white cat.", ["cat"]),
        ("There is an orange.", ["orange"]),
        ("A red orange and two oranges.", ["orange"]),
        ("An orange and a dog.", ["orange", "dog"]),
        ("I can see a dog. A can of soda is present.", ["dog", "tin can", "soda"]),
        ("I saw a saw.", ["saw"]),
        ("", []),
    ],
)
def test_names_are_found_as_a_reader_finds_them(text, found):
    assert sorted(NAMES.find(text)) == sorted(found)


def test_only_the_given_names_count_and_unknown_ones_work_too():
    assert Names(["dog", "quokka"]).find("Two quokkas, a dog and a cat.") == ["quokka", "dog"]
    assert Names([]).find("a dog") == []


@given(st.lists(st.tuples(st.sampled_from(VOCABULARY.names), st.integers(1, 5)), min_size=1, max_size=4))
def test_a_caption_of_the_builders_names_exactly_what_it_lists(listed):
    listed = list(dict(listed).items())
    sentence = f"There is {joined([things(VOCABULARY, name, count) for name, count in listed])} in the picture."
    assert NAMES.find(sentence) == [name for name, _ in listed]


@given(st.sampled_from(VOCABULARY.names), st.sampled_from(["red", "orange", "gray"]), st.integers(1, 5))
def test_a_colour_before_a_thing_is_not_a_thing(name, colour, count):
    assert NAMES.find(f"A picture of {things(VOCABULARY, name, count, colour)}.") == [name]


@given(st.text())
def test_any_text_can_be_searched(text):
    assert set(NAMES.find(text)) <= set(VOCABULARY.names)
