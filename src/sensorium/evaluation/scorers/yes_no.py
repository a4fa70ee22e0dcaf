"""What a reply to a yes-or-no question says, by the rules of each harness. They disagree on plain replies.

The same "Yes." is right on POPE for its own tool and wrong for lmms-eval; "Answer: no" is no for VLMEvalKit and neither
for MME's tool. MME's own rule is `evaluation.metrics.yes_or_no`.
"""

from __future__ import annotations

from collections.abc import Callable

from sensorium.evaluation.metrics import Label, yes_or_no
from sensorium.evaluation.scorers.vqa_text import without_punctuation


def mme_of_lmms_eval(reply: str) -> Label:
    """lmms-eval on MME: blanks around and periods out, a single y or n counts, then MME's rule of four characters."""
    reply = reply.lower().strip().replace(".", "")
    return {"y": "yes", "n": "no"}.get(reply) or yes_or_no(reply)  # type: ignore[return-value]


def by_words(reply: str) -> Label:
    """VLMEvalKit without a judge: the word yes is there and the word no is not, or the other way round."""
    words = without_punctuation(reply.lower(), "vlmevalkit").split()
    has_yes, has_no = "yes" in words, "no" in words
    return "other" if has_yes == has_no else "yes" if has_yes else "no"


def first_sentence(reply: str) -> Label:
    """POPE's own rule (RUCAIBox/POPE, `evaluate.py`): a negation before the first period is no, all else is yes.

    Words are what stands between single spaces, commas taken out, and only No, no and not count: "NO" is yes, so is
    "no" before a line end, and "Yes, there is no doubt" is no.
    """
    words = reply.split(".", 1)[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"} & set(words) else "yes"


def exactly(reply: str) -> Label:
    """lmms-eval on POPE: the whole reply is yes or no, blanks and case apart; "Yes." is neither."""
    reply = reply.lower().strip()
    return reply if reply in ("yes", "no") else "other"  # type: ignore[return-value]


MME_RULES: dict[str, Callable[[str], Label]] = {
    "official": yes_or_no, "vlmevalkit": by_words, "lmms-eval": mme_of_lmms_eval,
}  # fmt: skip
POPE_RULES: dict[str, Callable[[str], Label]] = {
    "official": first_sentence, "vlmevalkit": by_words, "lmms-eval": exactly,
}  # fmt: skip
