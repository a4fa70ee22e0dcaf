"""What a reply says, harness by harness: each rule's own edge cases, worked out from the rule."""

from __future__ import annotations

import pytest

from sensorium.evaluation.scorers.yes_no import MME_RULES, POPE_RULES

#            MME: official, vlmevalkit, lmms-eval      POPE: official, vlmevalkit, lmms-eval
REPLIES = {
    "Yes": ("yes", "yes", "yes", "yes", "yes", "yes"),
    "Yes.": ("yes", "yes", "yes", "yes", "yes", "other"),
    "no\n": ("no", "no", "no", "yes", "no", "no"),  # POPE splits at single spaces: "no\n" is not the token "no"
    "NO": ("no", "no", "no", "yes", "no", "no"),
    "": ("other", "other", "other", "yes", "other", "other"),
    "n": ("other", "other", "no", "yes", "other", "other"),
    "Y.": ("other", "other", "yes", "yes", "other", "other"),
    "   yes": ("other", "yes", "yes", "yes", "yes", "yes"),  # the official MME rule sees three blanks and a y
    "Not sure": ("no", "other", "no", "yes", "other", "other"),
    "Nothing there": ("no", "other", "no", "yes", "other", "other"),
    "Answer: no": ("other", "no", "other", "no", "no", "other"),
    "There is not one": ("other", "other", "other", "no", "other", "other"),
    "It isn't": ("other", "other", "other", "yes", "other", "other"),
    "Yes, there is no doubt": ("yes", "other", "yes", "no", "other", "other"),
    "Yes. No more": ("yes", "other", "yes", "yes", "other", "other"),  # only the first sentence counts for POPE
    "I know, no": ("other", "no", "other", "no", "no", "other"),
}


@pytest.mark.parametrize(("reply", "labels"), REPLIES.items())
def test_each_harness_reads_a_reply_by_its_own_rule(reply, labels):
    rules = [*MME_RULES.values(), *POPE_RULES.values()]
    assert tuple(rule(reply) for rule in rules) == labels
    assert list(MME_RULES) == list(POPE_RULES) == ["official", "vlmevalkit", "lmms-eval"]
