"""Contrast with a branch that sees or understands worse: what it holds likely all the same does not come from looking.

Both take (1 + alpha) * logits - alpha * logits of the worse branch, among plausible tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from sensorium.conversation import Conversation, Message, Text
from sensorium.engine.methods.base import Method

if TYPE_CHECKING:
    from torch import Tensor

STEPS = 1000  # of the diffusion


class Contrast(Method):
    """alpha: how strongly the worse branch is taken off; 0 is the model as it is."""

    alpha: float = Field(default=1.0, ge=0, le=10)

    def combine(self, logits: Tensor, others: Tensor) -> Tensor:
        scores = (1 + self.alpha) * logits - self.alpha * others[0]
        return self.plausible(logits, scores)


class VisualContrast(Contrast):
    """VCD (arXiv:2311.16922): against the same picture under noise.

    step: of the forward diffusion, 0-999 of 1000; seed: of the noise, which depends on it and the picture alone.
    """

    name: ClassVar[str] = "vcd"

    step: int = Field(default=500, ge=0, lt=STEPS)
    seed: int = 0

    def disturb(self, pixels: Tensor, digest: str) -> Tensor:
        import torch

        generator = torch.Generator().manual_seed((int(digest[:12], 16) + self.seed) % 2**63)
        noise = torch.randn(pixels.shape, generator=generator).to(pixels)
        kept = signal(self.step)
        return kept**0.5 * pixels + (1 - kept) ** 0.5 * noise


def signal(step: int) -> float:
    """The share of the picture's variance that is left after `step`: the product of 1 - beta up to it.

    beta rises from 1e-5 to 0.005 along a sigmoid from -6 to 6, as in the method's own code.
    """
    import torch

    betas = torch.sigmoid(torch.linspace(-6, 6, STEPS, dtype=torch.float64)) * (0.5e-2 - 1e-5) + 1e-5
    return float((1 - betas).cumprod(0)[step])


class InstructionContrast(Contrast):
    """ICD (arXiv:2403.18715): against the same question behind an instruction that disturbs. words: that instruction,
    put before the last user's words."""

    name: ClassVar[str] = "icd"

    words: str = "You see badly and are easily confused; give no more than a vague guess of what there may be."

    def beside(self, conversation: Conversation) -> Conversation:
        return told(conversation, self.words)


def told(conversation: Conversation, words: str) -> Conversation:
    """The conversation with words before those of its last message, pictures where they were."""
    *before, last = conversation.messages
    first = next((i for i, part in enumerate(last.parts) if isinstance(part, Text)), len(last.parts))
    parts = (*last.parts[:first], Text(f"{words} "), *last.parts[first:])
    return Conversation((*before, Message(last.role, parts, last.plain, last.content_first)))
