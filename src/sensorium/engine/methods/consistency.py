"""Self-consistency (arXiv:2203.11171): several sampled replies, and the one that the others agree with most.

It needs nothing of an engine but replies, so it works on each of them. Where replies answer yes or no, that is the
vote; other replies agree as far as they share words, so the answer is the one nearest to all others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from sensorium.conversation import Conversation, Image
from sensorium.engine.base import GREEDY, Card, Delta, Engine, Reply, Sampling
from sensorium.media.views import Size

_WORD = re.compile(r"\w+")


class SelfConsistency(BaseModel):
    """replies: how many are sampled, with a seed of its own each; temperature: where the asker chose none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[Literal["self-consistency"]] = "self-consistency"

    replies: int = Field(default=5, ge=2, le=100)
    temperature: float = Field(default=0.7, gt=0, le=10)

    @property
    def passes(self) -> int:
        return self.replies

    @property
    def spec(self) -> str:
        return f"{self.name}:replies={self.replies},temperature={self.temperature}"


class Consistent:
    """An engine that asks another several times."""

    def __init__(self, engine: Engine, method: SelfConsistency) -> None:
        self.engine, self.method, self.watcher = engine, method, engine.watcher
        card = engine.card
        self.card: Card = replace(card, provenance={**card.provenance, "method": method.spec})

    def stream(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Iterator[Delta]:
        """The reply in one piece, since it is known when all are."""
        [reply] = self.answer([conversation], sampling)
        yield Delta(reply.text, reply.finish, reply.n_tokens, reply.n_prompt, reply.n_cached, reply.logprobs)

    def answer(self, conversations: Sequence[Conversation], sampling: Sampling = GREEDY) -> list[Reply]:
        """The replies that agree most with the others; tokens and prompts are counted of the chosen one."""
        warm = replace(sampling, temperature=sampling.temperature or self.method.temperature)
        # Not seeds one after the other: those who ask again with the next seed would get the same replies but one.
        asked = [self.engine.answer(conversations, warm.apart(i)) for i in range(self.method.replies)]
        return [replies[agreed([reply.text for reply in replies])] for replies in zip(*asked, strict=True)]

    def score(self, conversation: Conversation, candidates: Sequence[str]) -> list[float]:
        return self.engine.score(conversation, candidates)

    def count(self, candidate: str) -> int:
        return self.engine.count(candidate)

    def visual_tokens(self, shown: Image | Size) -> int:
        return self.engine.visual_tokens(shown)


def agreed(texts: Sequence[str]) -> int:
    """The number of the text that agrees most with all, the first of equals."""
    bags = [_said(text) for text in texts]
    worth = [sum(agreement(bag, other) for other in bags) for bag in bags]
    return max(range(len(texts)), key=lambda i: (worth[i], -i))


def agreement(first: Counter[str], second: Counter[str]) -> float:
    """F1 of the words that two texts share, 0-1."""
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 1.0


def _said(text: str) -> Counter[str]:
    """The words of a text, of an answer that begins with yes or no that word alone."""
    words = _WORD.findall(text.lower())
    return Counter(words[:1] if words and words[0] in ("yes", "no") else words)
