"""Words to print: letters only, some held out, and made-up ones that are in no list."""

from __future__ import annotations

import numpy as np
import pytest

from sensorium.data.scenes.words import Words, look_alikes
from sensorium.errors import SensoriumError


def test_no_word_is_both_trained_and_held_out_and_a_split_prints_its_own():
    words = Words.load()
    assert len(words.trained) > 1000 and len(words.held_out) > 120
    assert not set(words.trained) & set(words.held_out)
    assert words.of("train") == words.of("val") == words.trained
    assert {words.of(split) for split in ("test_seen", "test_objects", "test_style")} == {words.held_out}
    assert all(3 <= len(word) <= 9 or word in ("ox", "ice") for word in words.held_out)


def test_a_made_up_word_is_in_no_list_and_pronounceable():
    words, rng = Words.load(), np.random.default_rng(0)
    made = {words.made_up(rng) for _ in range(300)}
    assert len(made) > 250
    assert not made & words.known
    assert all(word.isascii() and word.islower() and sum(letter in "aeiou" for letter in word) == 2 for word in made)


def test_a_look_alike_shares_most_letters():
    pool = ("harbor", "barber", "house", "marble", "zoo", "harvest")
    assert look_alikes("harbor", pool)[0] == "barber"  # a-r-b-r, in their places
    assert "harbor" not in look_alikes("harbor", pool)


@pytest.mark.parametrize(("text", "said"), [
    ("words: a b\nheld_out: b c", "b: held out and not"),
    ("words: ab c3\nheld_out: d", "c3: not a word of lower-case letters"),
])  # fmt: skip
def test_lists_that_cannot_be_meant_are_refused(tmp_path, text, said):
    path = tmp_path / "words.yaml"
    path.write_text(text)
    with pytest.raises(SensoriumError, match=said):
        Words.load(path)
