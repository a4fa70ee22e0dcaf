"""What a request to `/v1/chat/completions` says, as a conversation and a way to sample; nothing local is ever read.

Known fields are checked; fields that ask for something that is not there are refused by name, since a client that asked
for tools and got prose would not know. Fields that nobody knows are left alone, as OpenAI's own server does.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, WithJsonSchema, field_validator

from sensorium.conversation import Conversation, Image, Message, Part, Text, decode_data_url
from sensorium.engine import Sampling
from sensorium.errors import SensoriumError
from sensorium.serving.described import MESSAGES
from sensorium.serving.errors import ApiError, unsupported

MAX_STOPS = 16


Messages = Annotated[list[dict[str, Any]], FailFast(), WithJsonSchema(MESSAGES), Field(min_length=1)]


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="allow")

    include_usage: bool = False


class ResponseFormat(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: Literal["text", "json_object", "json_schema"] = "text"


class ChatRequest(BaseModel):
    """OpenAI's request, and two fields of llama.cpp's and vLLM's: top_k, repetition_penalty.

    temperature: 0 if left out, other than OpenAI's 1: small models are best at their likeliest word.
    """

    model_config = ConfigDict(extra="allow")

    model: str = Field(min_length=1)
    # A million errors are no answer, hence the first alone.
    messages: Messages
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_completion_tokens: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=10, allow_inf_nan=False)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=0, le=2**31)
    repetition_penalty: float | None = Field(default=None, ge=1, le=10, allow_inf_nan=False)
    seed: int | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    logprobs: bool | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    response_format: ResponseFormat | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _few(cls, stop: Any) -> Any:
        if isinstance(stop, list) and len(stop) > MAX_STOPS:
            raise ValueError(f"at most {MAX_STOPS} strings")  # before a million are looked at
        return stop

    def sampling(self, max_new_tokens: int) -> Sampling:
        """max_new_tokens: where the request names none. Raises ApiError for what is not supported."""
        self._refuse()
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(stop) > MAX_STOPS or not all(0 < len(text) <= 256 for text in stop):
            raise ApiError(400, f"stop: at most {MAX_STOPS} strings of 1 to 256 characters.", "invalid_request", "stop")
        limits = (self.max_completion_tokens, self.max_tokens, max_new_tokens)
        given = {"temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k,
                 "repetition_penalty": self.repetition_penalty}
        return Sampling(
            max_new_tokens=next(limit for limit in limits if limit is not None),
            seed=(self.seed or 0) % 2**63,
            stop=tuple(stop),
            **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
        )

    def _refuse(self) -> None:
        asked = self.model_extra or {}
        for name in ("tools", "functions", "audio", "logit_bias"):
            if asked.get(name):
                raise unsupported(name, "is not supported by this server.")
        if self.n not in (None, 1):
            raise unsupported("n", "only one reply a request; ask again with another seed.")
        if self.logprobs:
            raise unsupported("logprobs", "is not supported yet.")
        for name in ("frequency_penalty", "presence_penalty"):
            if getattr(self, name):
                raise unsupported(name, "is not supported; use repetition_penalty.")
        if self.response_format is not None and self.response_format.type != "text":
            raise unsupported("response_format", f"`{self.response_format.type}` is not supported yet; only `text`.")

    def conversation(self, allow_remote: bool = False) -> Conversation:
        """What is said. allow_remote: leave web addresses of pictures as they are, for `serving.pictures` to fetch.

        Raises ApiError naming the message and part at fault.
        """
        try:
            conversation = Conversation.from_json([_plain(message) for message in self.messages], "request")
            messages = tuple(
                replace(message, parts=tuple(_own(part, f"messages[{i}]", allow_remote) for part in message.parts))
                for i, message in enumerate(conversation)
            )
        except SensoriumError as error:
            raise ApiError.of(error) from error
        except RecursionError:  # not too deep to be read; on some Pythons too deep to be written
            what = "messages: too many brackets within brackets."
            raise ApiError(400, what, "invalid_request", "messages") from None
        return Conversation(_joined(messages))


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """The message without what clients add and nobody here needs; a developer's instructions are the system's."""
    kept = {key: value for key, value in message.items() if key not in ("name", "refusal", "annotations", "audio")}
    kept = {key: value for key, value in kept.items() if value is not None or key == "content"}
    if kept.get("role") == "developer":
        kept["role"] = "system"
    return kept


def _own(part: Part, where: str, allow_remote: bool) -> Part:
    """The part with its bytes in it, or a web address where these are allowed; a caller far away names no files."""
    if isinstance(part, Text):
        return part
    if not isinstance(part, Image):
        what = type(part).__name__.lower()
        raise SensoriumError(where, f"has {what}; this model sees pictures only.")
    assert isinstance(part.source, str)
    is_web = part.source[:8].lower().startswith(("http://", "https://"))
    if is_web and allow_remote:
        return part
    if not part.source.startswith("data:"):
        remedy = "Send it as a data URL: data:image/png;base64,…"
        if is_web:
            remedy += " (this server fetches none; `sensorium serve --remote-pictures` does)."
        raise SensoriumError(where, "has a picture that is not in the request.", remedy)
    return Image(decode_data_url(part.source))


def _joined(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Neighbouring turns of one role as one: clients write pictures and words apart, chat templates refuse that."""
    joined = []
    for role, turns in groupby(messages, key=lambda message: message.role):
        first, *others = turns
        parts = list(first.parts)
        for message in others:
            parts += [Text("\n"), *message.parts] if parts and message.parts else message.parts
        joined.append(Message(role, tuple(parts)) if others else first)
    return tuple(joined)
