"""Read a short answer in a reply: yes or no, which picture, an order of pictures, a number, or printed words.

What is looked for depends on the subset. A reply that holds nothing of the kind is unread: wrong, and counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from sensorium.evaluation.metrics import yes_or_no

_PLACES = ("first", "second", "third")
_ORDINALS = (*_PLACES, "1st", "2nd", "3rd")
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_PLACE = re.compile(r"\b(?:(first|1st|1|(?:picture|image) one)|(second|2nd|2|(?:picture|image) two)|"
                    r"(third|3rd|3|(?:picture|image) three))\b", re.I)  # fmt: skip
_NUMBER = re.compile(rf"\b({'|'.join(_NUMBERS)}|none|\d+)\b", re.I)
_QUOTED = re.compile("[\"\u201c\u201d]([^\"\u201c\u201d]+)[\"\u201c\u201d]")


def read_answer(reply: str, subset: str) -> str:
    """What a reply says, in the form of the subset's answers but in lower case; "" where it says nothing of the kind.

    Yes or no by MME's rule; a place in the row of pictures: the first ordinal, or a numeral up to three; an order: all
    three places as they are first named, by numerals if there are any, since "first" may be how one counts; a number:
    the first, in words or digits; printed words: what stands in quotation marks, else the whole reply, without its
    point.
    """
    return _READERS[subset](reply)


def is_answer(reply: str, truth: str, subset: str) -> bool:
    """Whether a reply gives the true answer; of printed words all of them and no others, in either case of letters."""
    return read_answer(reply, subset) == truth.lower()


def best_constant(truths: Sequence[str]) -> float:
    """The share that always giving the most frequent answer reaches: what can be had without looking."""
    return max(Counter(truth.lower() for truth in truths).values()) / len(truths)


def _yes_no(reply: str) -> str:
    label = yes_or_no(reply)
    return "" if label == "other" else label


def _place(reply: str) -> str:
    found = _PLACE.search(reply)
    return "" if found is None or found.lastindex is None else _PLACES[found.lastindex - 1]


def _order(reply: str) -> str:
    found = list(_PLACE.finditer(reply))
    numerals = [one for one in found if one[0].lower() not in _ORDINALS]
    places = dict.fromkeys(_PLACES[one.lastindex - 1] for one in numerals or found if one.lastindex)
    return " ".join(places) if len(places) == len(_PLACES) else ""


def _number(reply: str) -> str:
    found = _NUMBER.search(reply)
    if found is None:
        return ""
    said = found[1].lower()
    return str(int(said)) if said.isdigit() else str(_NUMBERS.index(said)) if said in _NUMBERS else "0"


def _words(reply: str) -> str:
    quoted = _QUOTED.search(reply)
    return " ".join((quoted[1] if quoted else reply).split()).strip(" .,!\"'").lower()


_READERS: dict[str, Callable[[str], str]] = {
    "several_both": _yes_no,
    "several_same": _yes_no,
    "several_which": _place,
    "several_odd": _place,
    "several_larger": _place,
    "several_more": _place,
    "several_sum": _number,
    "several_order": _order,
    "reading_card": _words,
    "reading_page": _words,
}
