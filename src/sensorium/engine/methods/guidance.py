"""Classifier-free guidance (arXiv:2207.12598; for language arXiv:2306.17806): from what is said without a hint, a step
in the direction in which the hint moves it, and beyond.

scores = log p(without) + gamma * (log p(with) - log p(without)); gamma 1 is with the hint, 0 without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from sensorium.conversation import Conversation, Image, Message
from sensorium.engine.methods.base import Method
from sensorium.engine.methods.contrast import told

if TYPE_CHECKING:
    from torch import Tensor


def guided(with_hint: Tensor, without: Tensor, gamma: float) -> Tensor:
    """log p [..., v] of both -> scores [..., v]."""
    return without + gamma * (with_hint - without)


class ImageGuidance(Method):
    """Guidance by the picture, as PAI has it beside its attention (arXiv:2407.21771): without it, the same words
    and no picture; among plausible tokens."""

    name: ClassVar[str] = "cfg"

    gamma: float = Field(default=1.1, ge=0, le=10)

    def beside(self, conversation: Conversation) -> Conversation:
        return Conversation(tuple(_unseen(message) for message in conversation.messages))

    def combine(self, logits: Tensor, others: Tensor) -> Tensor:
        logits = logits.log_softmax(-1)
        return self.plausible(logits, guided(logits, others[0].log_softmax(-1), self.gamma))


class DetectorGuidance(Method):
    """MARINE (arXiv:2402.08680): guidance by the names of what a detector finds, told before the question.

    objects: from a picture to those names; where there are none, the words are the same and nothing is guided.
    """

    name: ClassVar[str] = "marine"

    beta: float = Field(default=0.0, ge=0, le=1)
    gamma: float = Field(default=0.7, ge=0, le=10)
    words: str = "This picture shows {}."
    objects: Callable[[Image], tuple[str, ...]] | None = Field(default=None, exclude=True)

    def model_post_init(self, _: Any) -> None:
        if "{}" not in self.words:
            raise ValueError("`words` needs {} where the names go")

    def beside(self, conversation: Conversation) -> Conversation:
        assert self.objects is not None, "whoever loads an engine with it gives it a detector"
        names = list(dict.fromkeys(name for image in conversation.images for name in self.objects(image)))
        return told(conversation, self.words.format(_listed(names))) if names else conversation

    def combine(self, logits: Tensor, others: Tensor) -> Tensor:
        logits = logits.log_softmax(-1)
        return self.plausible(logits, guided(others[0].log_softmax(-1), logits, self.gamma))


def _unseen(message: Message) -> Message:
    parts = tuple(part for part in message.parts if not isinstance(part, Image))
    return Message(message.role, parts, message.plain, message.content_first) if parts else message


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
