"""The line between models and everything that uses them: what an engine is asked, and what it answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sensorium.conversation import Conversation, Image
from sensorium.engine.constraint import Constraint
from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from sensorium.media.views import Size
    from sensorium.media.watching import Watcher

FinishReason = Literal["stop", "length"]
MAX_LOGPROBS = 20
SEES = ("text", "image", "video")  # of every model that takes pictures: a video becomes frames before it is rendered


@dataclass(frozen=True)
class Card:
    """What an engine can do and where its model comes from.

    context_length: tokens of prompt and reply together; visual_tokens: what one picture costs of them. licence: of the
    parts whose licence is known.
    """

    name: str
    modalities: tuple[str, ...]
    context_length: int
    visual_tokens: int
    licence: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def ways(self) -> tuple[str, ...]:
        """How it sees and chooses words where that is not as the model is made: the same model's other replies."""
        ways = ("compression", "dropping", "method")
        return tuple(str(self.provenance[way]) for way in ways if way in self.provenance)


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens: temperature 0 is greedy; top_p and top_k cut the distribution.

    Same seed and same prompt, words and pictures, same reply, alone or in a batch, of an engine that answers nothing
    else meanwhile. Other prompts have other draws with the same seed (see `apart`), so that what is asked of many
    questions with one seed does not lean one way on all of them. A remote server has its own rule.

    stop: strings that end the reply and are not part of it. repetition_penalty: divides the scores of tokens already in
    the reply (CTRL, arXiv:1909.05858); 1 changes nothing. constrain: what the reply may be; a reply that a stop string
    or max_new_tokens ends before it is complete is only the beginning of one. logprobs: how many of the
    likeliest tokens to tell beside each token said, 0 for that token alone, None for none.
    Raises SensoriumError for impossible values.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    stop: tuple[str, ...] = ()
    repetition_penalty: float = 1.0
    constrain: Constraint | None = None
    logprobs: int | None = None

    def __post_init__(self) -> None:
        limits = {
            "max_new_tokens": self.max_new_tokens >= 1,
            "temperature": 0 <= self.temperature <= 10,
            "top_p": 0 < self.top_p <= 1,
            "top_k": self.top_k >= 0,
            "seed": self.seed >= 0,
            "repetition_penalty": 1 <= self.repetition_penalty <= 10,
            "logprobs": self.logprobs is None or 0 <= self.logprobs <= MAX_LOGPROBS,
        }
        for name, holds in limits.items():
            if not holds:
                raise SensoriumError(f"sampling.{name}", f"{getattr(self, name)} is out of range.")
        if "" in self.stop:
            raise SensoriumError("sampling.stop", "an empty stop string would end every reply at once.")

    def apart(self, *by: int | str) -> Sampling:
        """The same, with the seed mixed with these: a prompt's ids and digests of pictures, or the number of a sample.

        The same of the same, today and on another machine; of others a seed whose draws have nothing to do with these.
        """
        mixed = hashlib.sha256(json.dumps([self.seed, *by]).encode()).digest()
        return replace(self, seed=int.from_bytes(mixed[:8]) >> 1)  # 63 bits, as servers take them


GREEDY = Sampling()


@dataclass(frozen=True)
class Logprob:
    """A token's text, its bytes (a token may be part of a character), and its natural log probability.

    top: the likeliest tokens of its place, likeliest first, where they were asked for.
    """

    text: str
    bytes: bytes
    value: float
    top: tuple[Logprob, ...] = ()


@dataclass(frozen=True)
class Delta:
    """A piece of a reply. The last one has `finish` set and may be empty.

    n_tokens: of the reply so far; n_prompt, n_cached: see Reply, in the last piece. logprobs: of the tokens that came
    since the piece before, by the model's own distribution at temperature 1, before any constraint; all that n_tokens
    counts, also those of a stop string, and not the one that ends the turn.
    """

    text: str
    finish: FinishReason | None = None
    n_tokens: int = 0
    n_prompt: int = 0
    n_cached: int = 0
    logprobs: tuple[Logprob, ...] = ()


@dataclass(frozen=True)
class Reply:
    """A whole reply. n_prompt: tokens of the prompt, visual ones too; n_cached: of them, those read before."""

    text: str
    finish: FinishReason
    n_prompt: int
    n_tokens: int
    n_cached: int = 0
    logprobs: tuple[Logprob, ...] = ()

    @classmethod
    def of(cls, pieces: Sequence[Delta]) -> Reply:
        """The reply of all its pieces."""
        last = pieces[-1]
        assert last.finish is not None
        text = "".join(piece.text for piece in pieces)
        logprobs = tuple(logprob for piece in pieces for logprob in piece.logprobs)
        return cls(text, last.finish, last.n_prompt, last.n_tokens, last.n_cached, logprobs)


class Engine(Protocol):
    """Anything that can be asked. watcher: what turns the videos of a conversation into frames."""

    card: Card
    watcher: Watcher

    def stream(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Iterator[Delta]:
        """The reply, piece by piece; pieces joined equal `answer`'s text."""
        ...

    def answer(self, conversations: Sequence[Conversation], sampling: Sampling = GREEDY) -> list[Reply]:
        """Replies to many conversations at once; work on a picture that several of them show is done once."""
        ...

    def score(self, conversation: Conversation, candidates: Sequence[str]) -> list[float]:
        """log P(candidate | conversation) of each candidate as the next reply, summed over its tokens and turn end."""
        ...

    def count(self, candidate: str) -> int:
        """How many tokens `score` sums over for a candidate, those that end the turn among them."""
        ...

    def visual_tokens(self, shown: Image | Size) -> int:
        """How many tokens a picture takes, by its header, or one of that width and height; what the card says where
        only the model itself could tell.

        Raises SensoriumError when it is no picture.
        """
        ...
