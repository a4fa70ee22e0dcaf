"""Replies that the rules of scoring could not read, and what they do to the score.

A model that answers well in a form that nobody reads gets a low score; how low is a matter of the parser and not of the
model. So the score stands here beside what it would be without those replies, and the most that it could be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from sensorium.evaluation.benchmarks.base import Answer, Judged
from sensorium.evaluation.headlines import Part
from sensorium.evaluation.metrics import wilson

EXAMPLES = 5
_SHOWN = 200  # characters of a reply


class Unread(Part):
    """A reply in which nothing was read."""

    id: str
    reply: str = Field(description=f"Its first {_SHOWN} characters.")


class Audit(Part):
    """mean is over all replies, what was not read being wrong; all numbers are of `tasks`' unit."""

    replies: int
    unread: int
    share: float
    share_low: float
    share_high: float
    mean: float = Field(description="The mean worth as it is scored.")
    without: float | None = Field(description="The mean over the replies that were read; null where none was.")
    at_best: float = Field(description="The mean if every unread reply were right.")
    tasks: dict[str, int] = Field(description="Task -> unread replies, where there are any.")
    examples: list[Unread]


def audit_of(answers: Sequence[Answer], judged: Sequence[Judged]) -> Audit:
    """Of at least one answer."""
    unread = [i for i, one in enumerate(judged) if not one.said]
    n, total = len(judged), sum(one.worth for one in judged)
    lost = sum(judged[i].worth for i in unread)
    share = wilson(len(unread), n)
    return Audit(
        replies=n, unread=len(unread), share=share.value, share_low=share.low, share_high=share.high, mean=total / n,
        without=(total - lost) / (n - len(unread)) if len(unread) < n else None,
        at_best=(total - lost + len(unread)) / n, tasks=dict(Counter(answers[i].task for i in unread)),
        examples=[Unread(id=answers[i].id, reply=answers[i].reply[:_SHOWN]) for i in unread[:EXAMPLES]],
    )  # fmt: skip
