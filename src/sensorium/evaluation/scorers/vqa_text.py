"""How VQA's evaluation makes two answers alike before it compares them, to the letter and with its faults.

Source: the official tool (GT-Vision-Lab/VQA, `vqaEval.py`). Its words for numbers, its articles and the punctuation it
takes out are facts of the protocol, and so are three things that look like mistakes and change scores:
the look-behind of the rule for periods is malformed, so that periods are judged by what follows them alone; that rule
is handed a flag where a count belongs, so that at most 32 periods go; and contractions with capitals never fire, since
the text is in lower case by then (they are left out here).
"""

from __future__ import annotations

import re
from functools import lru_cache

MARKS = ";/[]\"{}()=+\\_-><@`,?!"
_NUMBERS = dict(zip(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
                    map(str, range(11)), strict=True)) | {"none": "0"}  # fmt: skip
_ARTICLES = frozenset({"a", "an", "the"})
_MOST_PERIODS = 32

_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_COMMAS_IN_NUMBER = re.compile(r"\d,+\d")  # lmms-eval: also several in a row
_PERIOD = re.compile(r"\.(?!\d)")
_PERIOD_BY_NO_DIGIT = re.compile(r"(?<!\d)\.(?!\d)")  # VLMEvalKit, which repaired the look-behind

# Written without one or more of their apostrophes: all of them, or where a word has two, either.
_ONE_APOSTROPHE = """
    ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's isn't
    it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't should've shouldn't
    somebody'll somebody's someone'd someone'll someone's something'd something'll that's there'd there're there's
    they'd they'll they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's
    where've who'd who'll who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
"""
_TWO_APOSTROPHES = """
    couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've something'd've
    there'd've they'd've we'd've who'd've wouldn't've y'all'll you'd've
"""


def _contractions() -> dict[str, str]:
    """What a word is written as in the end; the table of the official tool without its entries that change nothing."""
    table = {word.replace("'", ""): word for word in _ONE_APOSTROPHE.split()}
    for word in _TWO_APOSTROPHES.split():
        start, middle, end = word.split("'")
        table[f"{start}{middle}'{end}"] = table[f"{start}'{middle}{end}"] = word
    table["somebody'd"] = "somebodyd"  # so it stands there
    for written in ("ow's'at", "'ows'at", "'ow'sat"):
        table[written] = "'ow's'at"
    for written in ("yall'd've", "y'alld've", "y'all'dve"):
        table[written] = "y'all'd've"
    return table


CONTRACTIONS = _contractions()


def one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def without_punctuation(text: str, variant: str = "official") -> str:
    """Marks out; each is judged on the text as it came.

    A mark that touches a space somewhere, or any mark in a text with a comma between digits, is deleted; another
    becomes a space. variant: `official`, `vlmevalkit` (a period goes only where no digit stands on either side) or
    `lmms-eval` (several commas between digits count as well).
    """
    in_number = _COMMAS_IN_NUMBER if variant == "lmms-eval" else _COMMA_IN_NUMBER
    has_number = in_number.search(text) is not None
    found = text
    for mark in MARKS:
        if mark in text:
            found = found.replace(mark, "" if has_number or f"{mark} " in text or f" {mark}" in text else " ")
    period = _PERIOD_BY_NO_DIGIT if variant == "vlmevalkit" else _PERIOD
    return period.sub("", found, count=_MOST_PERIODS)


def plain_words(text: str) -> str:
    """Lower case, numbers up to ten as digits, no articles, apostrophes where they belong, one space between words."""
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


@lru_cache(maxsize=1 << 16)  # people give the same few answers again and again
def normalised(text: str, variant: str = "official") -> str:
    return plain_words(without_punctuation(text, variant))
