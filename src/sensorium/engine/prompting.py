"""What engines that run a model themselves share: the prompt's ids, the reply's text, the ids of candidates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sensorium.conversation import Conversation
from sensorium.engine.base import Card, Delta, FinishReason, Sampling
from sensorium.engine.sampler import TextStream
from sensorium.errors import SensoriumError
from sensorium.rendering.renderer import Rendered, Renderer


def render_prompt(renderer: Renderer, conversation: Conversation, max_new_tokens: int, card: Card) -> Rendered:
    """The conversation as the model was trained on it, up to where the reply begins.

    Raises SensoriumError when there is nothing to answer, or no room for the reply.
    """
    if conversation.messages[-1].role != "user":
        raise SensoriumError("conversation", "ends with another turn than the user's; there is nothing to answer.")
    prompt = renderer.render(conversation, generate=True)
    if len(prompt) + max_new_tokens > card.context_length:
        raise SensoriumError(
            "conversation",
            f"has {len(prompt)} tokens ({len(prompt.slots)} pictures of {card.visual_tokens}); with "
            f"{max_new_tokens} for the reply that is more than the {card.context_length} there is room for.",
            "Show fewer pictures, start anew, or lower max_new_tokens.",
        )
    return prompt


def scored_ids(renderer: Renderer, candidate: str) -> list[int]:
    """The ids that `score` looks at: a reply and the end of its turn."""
    return renderer.encode_reply(candidate) + renderer.turn_end


def deltas(tokens: Iterable[int], renderer: Renderer, sampling: Sampling) -> Iterator[Delta]:
    """A reply's tokens as text that can be shown, up to its end: of the turn, at a stop string, or of the tokens."""
    text, stop_ids = TextStream(renderer.decode, sampling.stop), renderer.stop_ids
    n_tokens = 0
    finish: FinishReason = "length"
    for token in tokens:
        if token in stop_ids:
            finish = "stop"
            break
        n_tokens += 1
        if piece := text.push(token):
            yield Delta(piece, n_tokens=n_tokens)
        if text.stopped:
            finish = "stop"
            break
    yield Delta(text.finish(), finish, n_tokens)
