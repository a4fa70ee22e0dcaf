"""Which option of a multiple-choice question a reply means, by the rules of each harness.

None of them is good, all of them are what scores were published with. Letters are "A", "B", …; "" is a reply that the
rules cannot read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

UNREADABLE = "Z"  # VLMEvalKit's letter for a reply that declines

# Video-MME deletes these wherever they stand, in this order, before it looks for a letter. The two long ones are joined
# by accident (a comma is missing between two strings of the tool), and so the four halves are never deleted.
_VIDEOMME_PREFIXES = (
    "The best answer is", "The correct answer is", "The answer is", "The answer",
    "The best option isThe correct option is", "Best answer:Best option:", "Answer:", "Option:",
)  # fmt: skip
_VIDEOMME_LATER_PREFIXES = ("The correct answer", "The correct option")
_VIDEOMME_2_PREFIXES = (
    "Final Answer:", "The best answer is", "The correct answer is", "The answer is", "The answer", "The best option is",
    "The correct option is", "Best answer:", "Best option:", "Answer:", "Option:",
)  # fmt: skip

# What closed models of 2023 said when they declined; VLMEvalKit takes them for no option.
_DECLINED = (
    "Sorry, I can't help with images of people yet.", "I can't process this file.",
    "I'm sorry, but without the image provided", "Cannot determine the answer",
)  # fmt: skip
_FAILED = "Failed to obtain answer via API"
_ANSWER_IS = re.compile(r"(?i)(?:correct\s+)?answer\s+is\s+\**([ABCD])\**")
_PHRASES = (
    *(f"{the}{word} is" for word in ("answer", "correct answer", "best answer", "correct option", "best option",
                                     "choice", "correct choice") for the in ("the ", "")),
    "i choose", "i select", "i pick", "my answer is", "my choice is",
    "옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは",
)  # fmt: skip


def videomme_letter(reply: str) -> str:
    """Video-MME's own rule: the first capital A, B, C or D anywhere, once its prefixes are deleted.

    So "Best answer: A" is B, "Cats" is C, and lower-case letters are never read.
    """
    return _first_capital(reply, (*_VIDEOMME_PREFIXES, *_VIDEOMME_LATER_PREFIXES), "ABCD")


def videomme_letter_of_vlmevalkit(reply: str, options: Mapping[str, str]) -> str:
    """The same rule with two prefixes fewer; what it cannot read goes to VLMEvalKit's general rule."""
    return _first_capital(reply, _VIDEOMME_PREFIXES, "ABCD") or vlmevalkit_letter(reply, options)


def videomme_2_letter(reply: str) -> str:
    """Video-MME-v2: eight options, and the prefixes no longer joined."""
    return _first_capital(reply, _VIDEOMME_2_PREFIXES, "ABCDEFGH")


def _first_capital(reply: str, prefixes: Sequence[str], letters: str) -> str:
    reply = reply.strip()
    for prefix in prefixes:
        reply = reply.replace(prefix, "")
    found = re.search(f"[{letters}]", reply)
    return found[0] if found else ""


def vlmevalkit_letter(reply: str, options: Mapping[str, str]) -> str:
    """VLMEvalKit's `can_infer`: an option's letter as a word of its own, near the end, then the option's text.

    options: letter -> text.
    """
    return _vlmevalkit_by_letter(reply, options) or by_option_text(reply, options, is_short=True)


def _vlmevalkit_by_letter(reply: str, options: Mapping[str, str]) -> str:
    if _FAILED in reply:
        return ""
    if any(words in reply for words in _DECLINED):
        return UNREADABLE
    words = re.sub(r"[.()\[\],:;!*#{}]", " ", reply).split()
    named = [letter for letter in options if letter in words]
    if len(named) == 1 and words.index(named[0]) > len(words) - 5:
        return named[0]
    if not named and UNREADABLE in words:
        return UNREADABLE
    found = _ANSWER_IS.search(reply)
    return found[1].upper() if found and found[1].upper() in options else ""


def by_option_text(reply: str, options: Mapping[str, str], is_short: bool = False) -> str:
    """The one option whose text the reply holds. is_short: only in replies at most twice as long as all options."""
    reply = reply.lower()
    if is_short and len(reply) > 2 * sum(map(len, options.values())):
        return ""
    named = [letter for letter, text in options.items() if text.lower() in reply]
    return named[0] if len(named) == 1 else ""


def mmbench_letter_of_lmms_eval(reply: str, options: Mapping[str, str]) -> str:
    """lmms-eval on MMBench without a judge: a letter as a word, with brackets or punctuation, then the option's text.

    Letters A to E are looked for, whatever options there are.
    """
    letters = "ABCDE"
    words = reply.split()
    bare = [letter for letter in letters if letter in words]
    if len(bare) == 1 and not ("A" in words and len(words) > 3):  # an A among words may be the article
        return bare[0]
    for before, after in (("", "."), ("", ","), ("", ":"), ("", ")"), ("", ")."), ("(", ")"), ("(", ")."), (":", ""),
                          (":", ","), (":", "."), (":", ")"), (":", ").")):  # fmt: skip
        dressed = [letter for letter in letters if f"{before}{letter}{after}" in words]
        if len(dressed) == 1:
            return dressed[0]
    return by_option_text(reply, options)


def lmms_eval_letter(reply: str, letters: Sequence[str] = "ABCD") -> str:
    """lmms-eval's general rule: the last occurrence of the form it trusts most.

    At the start, at the end, after "the answer is", then (A), A., A:, A), A and a space, then anywhere.
    """
    text = reply.strip()
    for mark in ",.!?;:'\"":
        text = text.strip(mark)
    text = f" {text} "
    bare = text.strip()
    if not bare:
        return ""
    found = [(10, 0, one) for one in letters if bare.startswith(one) and not bare[1:2].isalpha()]
    found += [(9, 0, one) for one in letters if bare.endswith(one) and not bare[-2:-1].isalpha()]
    if not found:
        found = [(rank, text.rfind(form(one)), one) for rank, form in _FORMS for one in letters if form(one) in text]
        found += _after_phrases(text, letters)
    if not found:
        found = [(0, text.rfind(one), one) for one in letters if one in text]
    # Of equal ones the first found wins, as a stable sort in falling order leaves it.
    return max(found, key=lambda one: one[:2])[2] if found else ""


_FORMS: tuple[tuple[int, Callable[[str], str]], ...] = (
    (6, "({})".format), (5, "{}.".format), (4, "{}:".format), (3, "{})".format), (2, "{} ".format),
)  # fmt: skip


def _after_phrases(text: str, letters: Sequence[str]) -> list[tuple[int, int, str]]:
    found = []
    lower = text.lower()
    for phrase in _PHRASES:
        start = lower.find(phrase)
        if start >= 0:
            places = ((text.find(letter, start + len(phrase)), letter) for letter in letters)
            found += [(7, at, letter) for at, letter in places if at >= 0]
    return found
