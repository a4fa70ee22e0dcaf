"""A model behind an address: any server that speaks OpenAI's API, such as vLLM, Ollama, llama.cpp, a cloud, or ours.

Nothing is computed here. Several questions are asked at once, pictures travel in them, and what servers do differently
is levelled; what OpenAI's API cannot say, such as `score`, only our own server is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

from sensorium.conversation import Conversation, Image, Message, Text, user
from sensorium.engine.asking import require_pictures_only, require_question, with_frames
from sensorium.engine.base import GREEDY, SEES, Card, Delta, Reply, Sampling
from sensorium.engine.constraint import Constraint, OneOf
from sensorium.engine.remote.constrained import constrain_field, response_format, unpacked
from sensorium.engine.remote.endpoint import Endpoint, choice
from sensorium.engine.remote.replies import read_stream, read_whole
from sensorium.errors import SensoriumError
from sensorium.media.sending import to_data_url
from sensorium.media.views import Size
from sensorium.media.watching import Watcher

OURS = "sensorium"  # who our own server says its models are owned by
SCORED_AT_ONCE = 64


class RemoteEngine:
    """base_url: for example http://localhost:8000/v1; model: may be left out where the server has one.

    concurrency: questions that `answer` has under way at once. timeout_s: how long a server may be silent; retries:
    after a first try that failed for a reason that may pass. max_side: larger pictures are shrunk to it before they
    are sent, in pixels.
    The card says 0 for what the server does not tell: context length, visual tokens. Seeds are the server's business.
    Raises SensoriumError when the server cannot be reached, or has several models and none is named.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        api_key: str | None = None,
        concurrency: int = 8,
        timeout_s: float = 300,
        retries: int = 4,
        max_side: int | None = None,
    ) -> None:
        self._endpoint = endpoint = Endpoint(base_url, api_key, timeout_s, retries)
        self._concurrency, self._max_side = concurrency, max_side
        rows = {row["id"]: row for row in endpoint.models(can_do_without=model is not None)}
        if model is None and len(rows) != 1:
            raise SensoriumError(endpoint.where, f"has {len(rows) or 'no list of'} models.", choice(list(rows)))
        self._model = model or next(iter(rows))
        row = rows.get(self._model, {})
        self._is_ours = row.get("owned_by") == OURS
        meta: Any = row.get("meta")
        of_slot = meta.get("n_ctx") if isinstance(meta, dict) else None  # llama.cpp's
        length = row.get("context_length") or row.get("max_model_len") or of_slot or 0
        told = tuple(row.get("modalities") or SEES)
        self.watcher = Watcher()
        self.card = Card(self._model, SEES if "image" in told else told, length,
                         row.get("visual_tokens") or 0, row.get("licence") or "", {"address": endpoint.where})
        self._limit = "max_tokens"  # known to all servers but the newest models of OpenAI's, which refuse it
        self._has_usage = True  # whether streams may be asked for counts
        self._counts: dict[str, int] = {}

    def stream(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Iterator[Delta]:
        """The reply, piece by piece. Closing the iterator closes the connection, at which servers stop.

        A choice (`OneOf`) comes in one piece from other servers than ours, which wrap it in JSON.
        """
        where, packed = self._endpoint.where, self._packed(sampling)
        is_wrapped = isinstance(packed, OneOf)
        request = self._request(conversation, sampling)
        with self._endpoint.asking(self._model), closing(self._create(request, stream=True)) as chunks:
            whole, has_logprobs = "", False
            for delta in read_stream(self._checked(chunks), where, sampling.max_new_tokens):
                whole, has_logprobs = whole + delta.text, has_logprobs or bool(delta.logprobs)
                if delta.finish:
                    _require_logprobs(sampling, has_logprobs or not whole, where)
                    shown = unpacked(whole, packed, where) if packed and delta.finish == "stop" else whole
                    yield replace(delta, text=shown if is_wrapped else "")
                else:
                    yield replace(delta, text="") if is_wrapped else delta

    def answer(self, conversations: Sequence[Conversation], sampling: Sampling = GREEDY) -> list[Reply]:
        """Replies in the order of the conversations, several asked for at once."""
        with ThreadPoolExecutor(self._concurrency) as pool:
            return list(pool.map(lambda conversation: self._answer(conversation, sampling), conversations))

    def _answer(self, conversation: Conversation, sampling: Sampling) -> Reply:
        where, packed = self._endpoint.where, self._packed(sampling)
        request = self._request(conversation, sampling)
        with self._endpoint.asking(self._model):
            reply = read_whole(self._create(request, stream=False), where, sampling.max_new_tokens)
        _require_logprobs(sampling, bool(reply.logprobs) or not reply.text, where)
        return replace(reply, text=unpacked(reply.text, packed, where)) if packed and reply.finish == "stop" else reply

    def score(self, conversation: Conversation, candidates: Sequence[str]) -> list[float]:
        """log P of each candidate, of our own server. Raises SensoriumError where the server is another."""
        require_question(conversation)
        found: list[float] = []
        for start in range(0, len(candidates), SCORED_AT_ONCE):
            found += self._score(conversation, candidates[start : start + SCORED_AT_ONCE])
        return found

    def count(self, candidate: str) -> int:
        """How many tokens `score` sums over, as the server counts them."""
        if candidate not in self._counts:
            self._score(Conversation((user("a"),)), [candidate])
        return self._counts[candidate]

    def visual_tokens(self, shown: Image | Size) -> int:
        """What the server tells of pictures; 0 where it tells nothing."""
        return self.card.visual_tokens

    def close(self) -> None:
        """Close the connections."""
        self._endpoint.client.close()

    def _score(self, conversation: Conversation, candidates: Sequence[str]) -> list[float]:
        if not self._is_ours:
            raise SensoriumError(self._endpoint.where, "cannot score given replies: OpenAI's API has no such question.",
                                 "Ask a server of `sensorium serve`, or use a local engine.")
        body = {"model": self._model, "messages": self._messages(conversation), "candidates": list(candidates)}
        with self._endpoint.asking():
            answer: Any = self._endpoint.client.post("/score", body=body, cast_to=object)
        rows = sorted(answer["data"], key=lambda row: row["index"])
        self._counts |= {text: row["tokens"] for text, row in zip(candidates, rows, strict=True)}
        return [row["logprob"] for row in rows]

    def _request(self, conversation: Conversation, sampling: Sampling) -> dict[str, Any]:
        """The request in OpenAI's words; what only some servers know is sent only when it is asked for."""
        require_question(conversation)
        request: dict[str, Any] = {"model": self._model, "messages": self._messages(conversation),
                                   "temperature": sampling.temperature, "max_tokens": sampling.max_new_tokens}
        extra: dict[str, Any] = {}
        if sampling.temperature > 0:
            request["seed"] = sampling.seed
        if sampling.top_p != 1:
            request["top_p"] = sampling.top_p
        if sampling.stop:
            request["stop"] = list(sampling.stop)
        if sampling.top_k:
            extra["top_k"] = sampling.top_k
        if sampling.repetition_penalty != 1:  # vLLM's name and ours; llama.cpp's
            extra |= dict.fromkeys(("repetition_penalty", "repeat_penalty"), sampling.repetition_penalty)
        if sampling.logprobs is not None:
            request |= {"logprobs": True, "top_logprobs": sampling.logprobs}
        if packed := self._packed(sampling):
            request["response_format"] = response_format(packed)
        elif sampling.constrain:
            extra["constrain"] = constrain_field(sampling.constrain)
        return request | ({"extra_body": extra} if extra else {})

    def _packed(self, sampling: Sampling) -> Constraint | None:
        """The constraint that the server is told as a JSON schema; ours is told it as it is."""
        return None if self._is_ours else sampling.constrain

    def _create(self, request: dict[str, Any], stream: bool) -> Any:
        """Ask. A server that refuses a field's spelling, and says so, is asked again in the other, now and later."""
        while True:
            spelled = {self._limit if name == "max_tokens" else name: value for name, value in request.items()}
            if stream:
                spelled |= {"stream": True} | ({"stream_options": {"include_usage": True}} if self._has_usage else {})
            asked = self._limit, self._has_usage
            try:
                return self._endpoint.client.chat.completions.create(**spelled)
            except self._endpoint.refusals as error:
                said = self._endpoint.message_of(error)
                if "max_completion_tokens" in said:
                    self._limit = "max_completion_tokens"
                if "stream_options" in said:
                    self._has_usage = False
                if (self._limit, self._has_usage) == asked:
                    raise

    def _checked(self, chunks: Any) -> Iterator[Any]:
        """The chunks of a stream that has any."""
        is_empty = True
        for chunk in chunks:
            is_empty = False
            yield chunk
        if is_empty:
            raise self._endpoint.odd()

    def _messages(self, conversation: Conversation) -> list[dict[str, Any]]:
        conversation = with_frames(conversation, self.watcher, self.card)
        require_pictures_only(conversation)
        return [{"role": message.role, "content": self._content(message)} for message in conversation]

    def _content(self, message: Message) -> str | list[dict[str, Any]]:
        """Bare words where there are only words: servers of models that see nothing take no parts."""
        if not message.images:
            return message.text
        content: list[dict[str, Any]] = []
        for part in message.parts:
            if isinstance(part, Text):
                content.append({"type": "text", "text": part.text})
            elif isinstance(part, Image):
                url = to_data_url(part, self._max_side)
                content.append({"type": "image_url", "image_url": {"url": url}})
        return content


def _require_logprobs(sampling: Sampling, are_there: bool, where: str) -> None:
    if sampling.logprobs is not None and not are_there:
        raise SensoriumError(where, "tells no token probabilities.", "Leave `logprobs` out, or use another server.")
