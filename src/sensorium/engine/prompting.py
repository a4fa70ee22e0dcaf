"""What engines that run a model themselves share: the prompt's ids, the reply's text, the ids of candidates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from sensorium.conversation import Conversation
from sensorium.engine.asking import require_question, require_room
from sensorium.engine.base import Card, Delta, FinishReason, Sampling
from sensorium.engine.sampler import TextStream
from sensorium.rendering.renderer import Rendered, Renderer


class Speech(Protocol):
    """From a reply's ids to its words, and the ids that end it: a Renderer, or what another engine has in its place."""

    @property
    def stop_ids(self) -> set[int]: ...

    def decode(self, ids: list[int]) -> str: ...


def render_prompt(renderer: Renderer, conversation: Conversation, max_new_tokens: int, card: Card) -> Rendered:
    """The conversation as the model was trained on it, up to where the reply begins.

    Raises SensoriumError when there is nothing to answer, or no room for the reply.
    """
    require_question(conversation)
    prompt = renderer.render(conversation, generate=True)
    require_room(len(prompt), len(prompt.slots), max_new_tokens, card)
    return prompt


def scored_ids(renderer: Renderer, candidate: str) -> list[int]:
    """The ids that `score` looks at: a reply and the end of its turn."""
    return renderer.encode_reply(candidate) + renderer.turn_end


def deltas(tokens: Iterable[int], renderer: Speech, sampling: Sampling) -> Iterator[Delta]:
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
