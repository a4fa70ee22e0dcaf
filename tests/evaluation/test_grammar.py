"""Faults of English are found where they are, and an edit is not blamed for what was there before."""

from __future__ import annotations

import pytest

from sensorium.evaluation.grammar import faults, new_faults


@pytest.mark.parametrize(("text", "kind"), [
    ("The dogs is brown.", "verb"),
    ("A dog sit on the floor.", "verb"),
    ("There are a dog.", "verb"),
    ("The dog and the cat is here.", "verb"),
    ("The picture shows one dog that are barking.", "verb"),
    ("There is a car and they is red.", "verb"),
    ("There are two dog.", "determiner"),
    ("The picture shows a dogs.", "determiner"),
    ("These cat sleep.", "determiner"),
    ("There is a apple.", "determiner"),
    ("There is an dog.", "determiner"),
    ("There is a dog and.", "dangling"),
    ("The dog sits on the.", "dangling"),
    ("There is a  dog.", "dangling"),
    ("There is a dog , a cat.", "dangling"),
    ("There is a dog..", "dangling"),
    ("there is a dog.", "dangling"),
    ("And a dog sits there.", "dangling"),
    ("There is a a dog.", "dangling"),
    ("A brown dog with a ball on the floor.", "dangling"),
])  # fmt: skip
def test_a_fault_is_found(text, kind):
    assert kind in {fault.kind for fault in faults(text)}


@pytest.mark.parametrize("text", [
    "There is a cat and two dogs.",
    "There are a cat and two dogs in the picture.",
    "The dogs are brown and the cat is black.",
    "You can see an oil lamp, three old men and a pair of scissors here.",
    "The man was running. The dogs were not.",
    "There are two dogs that are barking.",
    "There are two sheep and a fish.",
    'A sign says "two dog is ,, here".',
    "No, there is no dog.",
    "Yes",
])  # fmt: skip
def test_sound_english_has_none(text):
    assert faults(text) == []


def test_only_what_was_not_there_before_is_blamed_on_an_edit():
    assert new_faults("The dogs is brown.", "The dogs is black.") == []
    [fault] = new_faults("The dogs are brown.", "The dog are brown.")
    assert fault == ("verb", "dog are")
    assert new_faults("A dog.", "") == []
