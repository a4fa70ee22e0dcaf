"""Words of captions: what Stanford's PTBTokenizer 3.4.1 gives, lower-cased, without the evaluation's punctuation.

The expected words were read from that program's output, whose rules are the reference.
"""

from __future__ import annotations

import pytest

from sensorium.evaluation.scorers.treebank import tokens_of, words_of


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A man riding a wave on top of a surfboard.", "a man riding a wave on top of a surfboard"),
        ("He's here, isn't he? I can't; they'll go!", "he 's here is n't he i ca n't they 'll go"),
        ("cannot gonna wanna gotta o'clock y'all", "can not gon na wan na got ta o'clock y' all"),
        ("a (b) [c] {d}", "a -lrb- b -rrb- -lsb- c -rsb- -lcb- d -rcb-"),
        ("a red/white T-shirt, mother-in-law's and/or -- w/o", "a red/white t-shirt mother-in-law 's and/or w/o"),
        ("$5.00 and 10% of 1,000 at 10:30 a.m. (1/2)", "$ 5.00 and 10 % of 1,000 at 10:30 a.m. -lrb- 1/2 -rrb-"),
        ("St. James St. by Mr. Smith vs. the U.S.", "st. james st. by mr. smith vs. the u.s."),
        ("“curly” ‘quotes’ and \"plain\" 'ones' … done...", "curly quotes and plain ones done"),
        ("what?! no!! well.", "what ?! no !! well"),  # a single mark is dropped, a row of them is not
        ("J. Smith at point B. The end. b. c", "j. smith at point b the end b. c"),
        ("£5 €6 ½ cup 5°C x²", "# 5 $ 6 1/2 cup 5 ° c x ²"),
        ("the '90s, the dogs' tails", "the '90s the dogs tails"),
        ("mail me@home.com or see http://x.org/a?b", "mail me@home.com or see http://x.org/a?b"),
        ("a\nb", "a b"), ("", ""), (" . ", ""),
    ],
)  # fmt: skip
def test_captions_are_split_as_the_java_tokenizer_splits_them(caption, words):
    assert words_of(caption) == words.split()


def test_tokens_keep_the_punctuation():
    assert tokens_of("A hot. Dog, isn't it") == ["a", "hot", ".", "dog", ",", "is", "n't", "it"]


@pytest.mark.parametrize("piece", ["a", "1", "1,", "a.", "a..", "'s", "-", "<a ", "(", "@a", "n't", "http://"])
def test_a_caption_that_never_ends_is_split_in_a_moment(piece):
    text = piece * (300_000 // len(piece)) + "x"
    assert "".join(tokens_of(text)).count("a") == text.count("a")
