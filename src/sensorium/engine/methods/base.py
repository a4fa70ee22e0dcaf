"""What a decoding method is: what else is computed for each token, and how it changes the model's scores.

A method may run a second branch beside the prompt (another instruction, another picture) or look at earlier layers; the
engine grows the branches together, each with its cache, and gives the method all logits of one place at once. Nothing
is trained, and nothing of a method is in the model.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from sensorium.conversation import Conversation

if TYPE_CHECKING:
    from torch import Tensor

CUT = 1e4  # what is taken off a token that is cut: its share is 0 in any precision, its rank among the cut remains


class Method(BaseModel):
    """beta: a token stays if the model itself gives it at least so much of what it gives its likeliest one; 0: all stay
    (adaptive plausibility, contrastive decoding, arXiv:2210.15097)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    passes: ClassVar[int] = 2  # of the language model for each token

    beta: float = Field(default=0.1, ge=0, le=1)

    def beside(self, conversation: Conversation) -> Conversation | None:
        """What the second branch is asked; None where there is no second branch."""
        return conversation

    def disturb(self, pixels: Tensor, digest: str) -> Tensor:
        """A picture [n, 3, h, w], normalised, as the second branch sees it. digest: of its file."""
        return pixels

    def layers(self, n_layers: int, is_tied: bool) -> tuple[int, ...]:
        """Whose outputs `combine` gets as well: 0 is the embeddings, n_layers the last. is_tied: head to embeddings."""
        return ()

    def combine(self, logits: Tensor, others: Tensor) -> Tensor:
        """The scores to choose by.

        logits [b, v]: of the model as it is; others [m, b, v]: of the second branch, or of the layers in their order.
        Both float32.
        """
        raise NotImplementedError

    @property
    def spec(self) -> str:
        """The method with all its settings: two replies are alike only where this is."""
        settings = ",".join(f"{name}={value}" for name, value in self.model_dump(mode="json").items())
        return f"{self.name}:{settings}" if settings else self.name

    def plausible(self, logits: Tensor, scores: Tensor) -> Tensor:
        """The scores of tokens with p >= beta * max p by `logits`; the others fall behind by `CUT`."""
        if self.beta == 0:
            return scores
        return scores.where(is_plausible(logits, self.beta), logits - CUT)


def is_plausible(logits: Tensor, beta: float) -> Tensor:
    """Where p >= beta * max p; the likeliest always is."""
    return logits >= logits.max(-1, keepdim=True).values + math.log(beta)
