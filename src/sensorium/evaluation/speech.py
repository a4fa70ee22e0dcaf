"""Does it still speak? Text-only prompts, answered by the language model as it was before it learnt to look.

Two numbers: how probable the old replies still are to the trained model (mean log P a token, beside the old model's
own), and how many greedy replies are letter for letter the same. Neither says that a reply is good, only how much it
changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sensorium.conversation import Conversation, user
from sensorium.engine.base import Engine, Sampling
from sensorium.errors import SensoriumError

# Everyday things that can be answered shortly. None of them is in the speech that training uses (data/speech.yaml).
PROMPTS = (
    "What is the capital of Portugal?",
    "Write one sentence about a lighthouse.",
    "What color do you get when you mix blue and yellow?",
    "Name three kinds of fruit.",
    "Who painted the Mona Lisa?",
    'Translate "good night" into Spanish.',
    "What is 7 plus 5?",
    "Is the sun a star? Answer in one sentence.",
    "Give me a short tip for sleeping better.",
    "What do you call a baby horse?",
    "Finish the sentence: When it rains, I like to",
    "Say thank you in a friendly way.",
)
SAMPLING = Sampling(max_new_tokens=96)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Reference:
    """A prompt and what the plain language model replies. n_tokens: what log_p is summed over (Engine.count).

    log_p: log P of the reply under the plain model itself, or None for a reply that did not end by itself: its end
    would be scored although nobody said it.
    """

    prompt: str
    reply: str
    n_tokens: int
    log_p: float | None


@dataclass(frozen=True)
class SpeechScores:
    """equal: share 0–1 of greedy replies that are the same. log_p, plain_log_p: mean log P a token of the plain model's
    replies under the trained and under the plain model; None when no reply ended by itself. replies: (prompt, plain
    reply, trained reply)."""

    equal: float
    log_p: float | None
    plain_log_p: float | None
    scored: int
    replies: tuple[tuple[str, str, str], ...]

    def to_json(self) -> dict[str, Any]:
        rows = [{"prompt": p, "plain": plain, "trained": trained} for p, plain, trained in self.replies]
        return {**self.__dict__, "replies": rows}


def speech_references(plain: Engine, prompts: Sequence[str] = PROMPTS) -> list[Reference]:
    """The greedy replies of the plain language model, each with its own log P."""
    replies = plain.answer([_asked(prompt) for prompt in prompts], SAMPLING)
    return [
        Reference(
            prompt,
            reply.text,
            plain.count(reply.text),
            plain.score(_asked(prompt), [reply.text])[0] if reply.finish == "stop" else None,
        )
        for prompt, reply in zip(prompts, replies, strict=True)
    ]


def evaluate_speech(
    engine: Engine, prompts_with_reference: Sequence[Reference], progress: Progress | None = None
) -> SpeechScores:
    """Compare an engine's speech with the references. Raises SensoriumError without any."""
    if not prompts_with_reference:
        raise SensoriumError("speech", "there are no references to compare with.")
    tell = progress or (lambda done, total: None)
    replies = [reply.text for reply in engine.answer([_asked(r.prompt) for r in prompts_with_reference], SAMPLING)]
    log_p = plain_log_p = 0.0
    n_tokens = scored = 0
    for done, reference in enumerate(prompts_with_reference, start=1):
        if reference.log_p is not None:
            log_p += engine.score(_asked(reference.prompt), [reference.reply])[0]
            plain_log_p += reference.log_p
            n_tokens, scored = n_tokens + reference.n_tokens, scored + 1
        tell(done, len(prompts_with_reference))
    pairs = list(zip(prompts_with_reference, replies, strict=True))
    return SpeechScores(
        equal=sum(reference.reply == reply for reference, reply in pairs) / len(pairs),
        log_p=log_p / n_tokens if scored else None,
        plain_log_p=plain_log_p / n_tokens if scored else None,
        scored=scored,
        replies=tuple((reference.prompt, reference.reply, reply) for reference, reply in pairs),
    )


def _asked(prompt: str) -> Conversation:
    return Conversation((user(prompt),))
