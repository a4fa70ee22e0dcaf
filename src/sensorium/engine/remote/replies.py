"""What servers send -> pieces of a reply. Each speaks OpenAI's format a little differently; here that ends.

Met in the wild: `content` null or a list of parts; no chunk with the role; thinking in fields of its own, which is no
part of the reply; usage in the last chunk, in one of its own, in every one or nowhere; a choice or a delta that is
null; other names for why a reply ended, or none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sensorium.engine.base import Delta, FinishReason, Logprob, Reply
from sensorium.errors import SensoriumError

_AT_LIMIT = ("length", "max_tokens", "max_length", "model_length", "max_output_tokens")
_FAILED = ("content_filter", "error", "abort", "aborted", "cancelled", "network_error", "safety", "recitation")


def read_stream(chunks: Iterable[Any], where: str, max_new_tokens: int) -> Iterator[Delta]:
    """Deltas of a streamed reply; n_tokens counts pieces until the server tells at the end.

    Raises SensoriumError when the server withholds or breaks off the reply.
    """
    reason, usage, n_pieces = None, None, 0
    for chunk in chunks:
        usage = getattr(chunk, "usage", None) or usage
        for choice in getattr(chunk, "choices", None) or ():
            if (getattr(choice, "index", 0) or 0) != 0:
                continue
            reason = getattr(choice, "finish_reason", None) or reason
            text = text_of(getattr(getattr(choice, "delta", None), "content", None))
            said = logprobs_of(choice)
            if text or said:
                n_pieces += 1
                yield Delta(text, n_tokens=n_pieces, logprobs=said)
    n_prompt, n_tokens, n_cached = _counts(usage, n_pieces)
    yield Delta("", finish_of(reason, n_tokens, max_new_tokens, where), n_tokens, n_prompt, n_cached)


def read_whole(completion: Any, where: str, max_new_tokens: int) -> Reply:
    """A reply that came at once. Raises SensoriumError when the server withholds it, or sends none."""
    choices = getattr(completion, "choices", None)
    if not choices:
        raise SensoriumError(where, "sent no reply.", "Look at the server.")
    first = choices[0]
    n_prompt, n_tokens, n_cached = _counts(getattr(completion, "usage", None), 0)
    finish = finish_of(getattr(first, "finish_reason", None), n_tokens, max_new_tokens, where)
    text = text_of(getattr(getattr(first, "message", None), "content", None))
    return Reply(text, finish, n_prompt, n_tokens, n_cached, logprobs_of(first))


def text_of(content: Any) -> str:
    """Words of a message or delta, whatever their form; thinking left out."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    found = (part if isinstance(part, str) else _field(part, "text") for part in parts)
    return "".join(text for text in found if isinstance(text, str))


def finish_of(reason: Any, n_tokens: int, max_new_tokens: int, where: str) -> FinishReason:
    """Why a reply ended, in our words. One without a reason ended by itself, unless it is as long as it may be."""
    name = str(reason).lower() if reason else ""
    if name in _FAILED:
        raise SensoriumError(where, f"did not finish the reply ({reason}).",
                             "Ask in another way, or look at the server.")
    if name in _AT_LIMIT or (not name and n_tokens >= max_new_tokens):
        return "length"
    return "stop"


def logprobs_of(choice: Any) -> tuple[Logprob, ...]:
    """Token probabilities of a choice, where it has any."""
    rows = _field(getattr(choice, "logprobs", None), "content") or ()
    return tuple(_logprob(row, _field(row, "top_logprobs") or ()) for row in rows)


def _logprob(row: Any, top: Iterable[Any]) -> Logprob:
    text, data = str(_field(row, "token") or ""), _field(row, "bytes")
    raw = bytes(data) if data is not None else text.encode(errors="replace")
    return Logprob(text, raw, float(_field(row, "logprob")), tuple(_logprob(other, ()) for other in top))


def _field(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)


def _counts(usage: Any, n_pieces: int) -> tuple[int, int, int]:
    """Tokens of the prompt, of the reply, and of the prompt those read before; 0 where nobody tells."""
    details = _field(usage, "prompt_tokens_details")
    counted = _field(usage, "completion_tokens")
    return (_field(usage, "prompt_tokens") or 0, n_pieces if counted is None else counted,
            _field(details, "cached_tokens") or 0)
