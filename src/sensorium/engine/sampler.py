"""From logits to a token, and from tokens to text that can be shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sensorium.engine.base import Sampling


class TokenSampler:
    """Chooses the next token of one reply. Its randomness is its own, so replies do not depend on their neighbours."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self.generator = torch.Generator().manual_seed(sampling.seed)

    def choose(self, logits: Tensor, reply: list[int]) -> int:
        """logits [vocabulary] of the next token; reply: the ids said so far."""
        s = self.sampling
        logits = logits.float().cpu()
        if s.repetition_penalty != 1 and reply:
            said = torch.tensor(sorted(set(reply)))
            scores = logits[said]
            logits = logits.clone()
            logits[said] = torch.where(scores > 0, scores / s.repetition_penalty, scores * s.repetition_penalty)
        if s.temperature == 0:
            return int(logits.argmax())
        # The largest is moved to 0 first: a temperature near 0 then gives the greedy choice instead of overflow.
        probabilities = torch.softmax((logits - logits.max()).double() / s.temperature, dim=-1)
        if s.top_k:
            floor = probabilities.topk(min(s.top_k, len(probabilities))).values[-1]
            probabilities = probabilities.where(probabilities >= floor, 0.0)
        if s.top_p < 1:
            values, order = probabilities.sort(descending=True)
            beyond = values.cumsum(0) - values >= s.top_p * values.sum()
            probabilities[order[beyond]] = 0.0
        return int(torch.multinomial(probabilities, 1, generator=self.generator))


def choose_tokens(samplers: Sequence[TokenSampler], logits: Tensor, replies: Sequence[list[int]]) -> list[int]:
    """The next token of each reply, as `choose` chooses it; logits [replies, vocabulary].

    Where the likeliest token is all that is asked for, one argmax on the model's device does for all replies.
    """
    if all(s.sampling.temperature == 0 and s.sampling.repetition_penalty == 1 for s in samplers):
        return logits.argmax(-1).tolist()
    return [sampler.choose(row, said) for sampler, row, said in zip(samplers, logits, replies, strict=True)]


class TextStream:
    """Ids in, showable text out: characters split over tokens and beginnings of stop strings are held back."""

    def __init__(self, decode: Callable[[list[int]], str], stop: tuple[str, ...]) -> None:
        self._decode, self._stop = decode, stop
        self._ids: list[int] = []
        self._shown = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that can be shown after one more token; sets `stopped` when a stop string is complete."""
        self._ids.append(token)
        text = self._decode(self._ids)
        cuts = [text.index(stop) for stop in self._stop if stop in text]
        if cuts:
            self.stopped = True
            return self._show(text[: min(cuts)])
        return self._show(text[: self._safe(text)])

    def finish(self) -> str:
        """What was held back, at the end; half a character is not shown."""
        return "" if self.stopped else self._show(self._decode(self._ids).rstrip("\ufffd"))

    def _safe(self, text: str) -> int:
        """How much of the text can no longer change or become a stop string."""
        end = len(text.rstrip("\ufffd"))
        for stop in self._stop:
            for n in range(min(len(stop), end), 0, -1):
                if text[:end].endswith(stop[:n]):
                    end -= n
                    break
        return end

    def _show(self, text: str) -> str:
        new = text[len(self._shown) :]
        self._shown = max(self._shown, text, key=len)
        return new
