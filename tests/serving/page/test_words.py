"""Both languages say everything, with the same values put in."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from sensorium.serving.page import words
from sensorium.serving.page.words import CHINESE, ENGLISH, language_of, say

PAGE = Path(words.__file__).parent


def _values(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_have_the_same_texts_with_the_same_values():
    assert list(ENGLISH) == list(CHINESE)
    assert not {key for key, text in ENGLISH.items() if _values(text) != _values(CHINESE[key])}
    same = {key for key, text in ENGLISH.items() if CHINESE[key] == text}
    assert same == {"top_p"}  # a name in both
    assert all(re.search("[\u4e00-\u9fff]", CHINESE[key]) for key in set(CHINESE) - same)


def test_every_text_is_used_and_every_text_that_is_used_is_there():
    source = "".join(path.read_text("utf-8") for path in PAGE.glob("*.py") if path.name != "words.py")
    labels = set(re.findall(r'_Text\("(\w+)"\)', source))
    said = set(re.findall(r"""say\([^"']*?, ["'](\w+)["']""", source))
    assert labels and said and labels | said <= set(ENGLISH)
    assert not {key for key in ENGLISH if f'"{key}"' not in source and f"'{key}'" not in source}


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("zh-TW", "zh"), ("en-US,en;q=0.9,zh-CN;q=0.8", "en"), ("de", "en"),
        ("", "en"),
    ],
)  # fmt: skip
def test_the_language_is_that_of_the_browser(accepted, language):
    assert language_of(accepted) == language


def test_values_are_put_in():
    assert say("en", "tokens", n=5) == "5 tokens" and say("zh", "tokens", n=5) == "5 个词元"
