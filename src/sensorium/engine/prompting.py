"""What engines that run a model themselves share: the prompt's ids, the reply's text, the ids of candidates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from sensorium.conversation import Conversation, Image
from sensorium.engine.asking import require_question, require_room, with_frames
from sensorium.engine.base import Card, Delta, FinishReason, Logprob, Sampling
from sensorium.engine.grammar import Grammars
from sensorium.engine.sampler import Chosen, TextStream, TokenSampler
from sensorium.media.watching import Watcher
from sensorium.rendering.renderer import Rendered, Renderer


class Speech(Protocol):
    """From a reply's ids to its words, and the ids that end it: a Renderer, or what another engine has in its place."""

    @property
    def stop_ids(self) -> set[int]: ...

    def decode(self, ids: list[int]) -> str: ...


def render_prompt(
    renderer: Renderer, watcher: Watcher, conversation: Conversation, max_new_tokens: int, card: Card
) -> Rendered:
    """The conversation as the model was trained on it, videos as frames, up to where the reply begins.

    Its slots know what is asked: what the turn says that shows the picture, so that the next turn of a chat changes
    nothing before it.
    Raises SensoriumError when there is nothing to answer, or no room for the reply.
    """
    require_question(conversation)
    prompt = renderer.render(with_frames(conversation, watcher, card, renderer.tokens_of), generate=True)
    require_room(len(prompt), len(prompt.slots), max_new_tokens, card)
    questions = [message.text for message in conversation]  # and not the times between the frames
    return replace(prompt, slots=[replace(slot, question=questions[slot.message]) for slot in prompt.slots])


def scored_ids(renderer: Renderer, candidate: str) -> list[int]:
    """The ids that `score` looks at: a reply and the end of its turn."""
    return renderer.encode_reply(candidate) + renderer.turn_end


def make_samplers(
    grammars: Grammars, sampling: Sampling, prompts: Iterable[tuple[Sequence[int], Sequence[Image]]]
) -> list[TokenSampler]:
    """One for the reply to each prompt, with draws of its own.

    prompts: the ids of each, and its pictures, which ids do not tell apart.
    Raises SensoriumError when the sampling's constraint cannot be kept to.
    """
    mask = None if sampling.constrain is None else grammars.mask(sampling.constrain)
    token_bytes = () if sampling.logprobs is None else grammars.token_bytes
    drawing = (
        sampling.apart(*ids, *(image.digest for image in images)) if sampling.temperature else sampling
        for ids, images in prompts
    )
    return [TokenSampler(one, mask and mask.copy(), token_bytes) for one in drawing]


class GrowingReply:
    """A reply's tokens as text that can be shown, up to its end: of the turn, at a stop string, or of the tokens.

    finish: why it ended, once it has.
    """

    def __init__(self, renderer: Speech, sampling: Sampling) -> None:
        self._text, self._stop_ids = TextStream(renderer.decode, sampling.stop), renderer.stop_ids
        self._logprobs: list[Logprob] = []  # of tokens whose text is not shown yet
        self.n_tokens = 0
        self.finish: FinishReason | None = None

    def push(self, chosen: Chosen) -> Delta | None:
        """What can be shown after one more token, if anything; not to be asked once `finish` is set."""
        if chosen.id in self._stop_ids:
            self.finish = "stop"
            return None
        self.n_tokens += 1
        if chosen.logprob is not None:
            self._logprobs.append(chosen.logprob)
        piece = self._text.push(chosen.id)
        if self._text.stopped or chosen.is_last:
            self.finish = "stop"
        return Delta(piece, n_tokens=self.n_tokens, logprobs=self._told()) if piece else None

    def end(self) -> Delta:
        """The last piece, with what was held back."""
        return Delta(self._text.finish(), self.finish or "length", self.n_tokens, logprobs=self._told())

    def _told(self) -> tuple[Logprob, ...]:
        told, self._logprobs = tuple(self._logprobs), []
        return told


def deltas(tokens: Iterable[Chosen], renderer: Speech, sampling: Sampling) -> Iterator[Delta]:
    """A reply's pieces, and its end."""
    reply = GrowingReply(renderer, sampling)
    for chosen in tokens:
        if delta := reply.push(chosen):
            yield delta
        if reply.finish:
            break
    yield reply.end()
