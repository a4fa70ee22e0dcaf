"""What a request to `/v1/chat/completions` says, as a conversation and a way to sample; nothing local is ever read.

Known fields are checked; fields that ask for something that is not there are refused by name, since a client that asked
for tools and got prose would not know. Fields that nobody knows are left alone, as OpenAI's own server does.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, WithJsonSchema, field_validator

from sensorium.conversation import Conversation, Image, Message, Part, Text, Video, decode_data_url
from sensorium.engine import YES_NO, Boxes, Constraint, JsonSchema, OneOf, Sampling
from sensorium.engine.base import MAX_LOGPROBS
from sensorium.errors import SensoriumError
from sensorium.serving.described import MESSAGES
from sensorium.serving.errors import ApiError, unsupported

MAX_STOPS = 16
Medium = TypeVar("Medium", Image, Video)


Messages = Annotated[list[dict[str, Any]], FailFast(), WithJsonSchema(MESSAGES), Field(min_length=1)]


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="allow")

    include_usage: bool = False


class NamedSchema(BaseModel):
    """OpenAI's wrapping of a schema; its name says nothing here, and a schema is always kept to, strict or not."""

    model_config = ConfigDict(extra="allow")

    json_schema: dict[str, Any] = Field(alias="schema")


class ResponseFormat(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: NamedSchema | None = None

    def constraint(self) -> Constraint | None:
        """Raises ApiError when it is to be of a schema and there is none."""
        if self.type == "json_object":
            return JsonSchema.of({"type": "object"})
        if self.type == "text":
            return None
        if self.json_schema is None:
            raise ApiError(400, "response_format.json_schema: is missing.", "invalid_request", "response_format")
        return JsonSchema.of(self.json_schema.json_schema)


class Constrain(BaseModel):
    """Our own: what the reply may be. One of the fields; boxes: how many at most, or just true."""

    model_config = ConfigDict(extra="forbid")

    choices: list[str] | None = Field(default=None, min_length=1)
    yes_no: Literal[True] | None = None
    json_schema: dict[str, Any] | None = None
    boxes: bool | int | None = None

    def constraint(self) -> Constraint:
        """Raises ApiError unless exactly one is asked for, SensoriumError when that is impossible."""
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ApiError(400, "constrain: give one of choices, yes_no, json_schema, boxes.", "invalid_request",
                           "constrain")
        if self.choices is not None:
            return OneOf(tuple(self.choices))
        if self.json_schema is not None:
            return JsonSchema.of(self.json_schema)
        if self.boxes is None:
            return YES_NO
        return Boxes() if self.boxes is True else Boxes(int(self.boxes))


class ChatRequest(BaseModel):
    """OpenAI's request; two fields of llama.cpp's and vLLM's: top_k, repetition_penalty; and our own: constrain.

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
    top_logprobs: int | None = Field(default=None, ge=0, le=MAX_LOGPROBS)
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    response_format: ResponseFormat | None = None
    constrain: Constrain | None = None
    correct: bool | None = Field(default=None, description="Our own: put right what the reply says wrongly about the "
                                 "picture shown last, and tell what was found out.")  # fmt: skip

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
            constrain=self._constraint(),
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
        )

    def _constraint(self) -> Constraint | None:
        asked = None if self.response_format is None else self.response_format.constraint()
        if self.constrain is None:
            return asked
        if asked is not None:
            raise ApiError(400, "constrain: the reply is constrained by response_format already.", "invalid_request",
                           "constrain")
        try:
            return self.constrain.constraint()
        except SensoriumError as error:
            raise ApiError.of(error) from error

    def refusal(self, error: SensoriumError) -> ApiError:
        """What an engine refuses, by the name of the field of this request that asked for it."""
        if error.where == "constrain" and self.constrain is None:
            error = SensoriumError("response_format", error.what, error.remedy)
        return ApiError.of(error)

    def _refuse(self) -> None:
        asked = self.model_extra or {}
        for name in ("tools", "functions", "audio", "logit_bias"):
            if asked.get(name):
                raise unsupported(name, "is not supported by this server.")
        if self.n not in (None, 1):
            raise unsupported("n", "only one reply a request; ask again with another seed.")
        if self.top_logprobs is not None and not self.logprobs:
            raise ApiError(400, "top_logprobs: needs logprobs to be true.", "invalid_request", "top_logprobs")
        if self.correct:
            self._refuse_correction()
        for name in ("frequency_penalty", "presence_penalty"):
            if getattr(self, name):
                raise unsupported(name, "is not supported; use repetition_penalty.")

    def _refuse_correction(self) -> None:
        """What cannot be had of a reply whose words are changed."""
        form = self.response_format.type if self.response_format else "text"
        if form != "text" or (self.constrain and (self.constrain.json_schema or self.constrain.boxes is not None)):
            raise unsupported("correct", "changes sentences; a reply that is to keep a form cannot be corrected.")
        if self.logprobs:
            raise unsupported("correct", "the words of a corrected reply are not the model's: it has no logprobs.")

    def conversation(self, allow_remote: bool = False) -> Conversation:
        """What is said. allow_remote: leave web addresses of media as they are, for `serving.pictures` to fetch.

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
    if isinstance(part, Video):
        return replace(own_medium(part, where, allow_remote), subtitles=_own_subtitles(part, where))
    if not isinstance(part, Image):
        what = type(part).__name__.lower()
        raise SensoriumError(where, f"has {what}; this server takes pictures and videos only.")
    return own_medium(part, where, allow_remote)


def own_medium(part: Medium, where: str, allow_remote: bool) -> Medium:
    """The same of a picture or a video. Raises SensoriumError when it is not in the request."""
    assert isinstance(part.source, str)
    is_web = part.source[:8].lower().startswith(("http://", "https://"))
    if is_web and allow_remote:
        return part
    if not part.source.startswith("data:"):
        noun, kind = ("video", "video/mp4") if isinstance(part, Video) else ("picture", "image/png")
        remedy = f"Send it as a data URL: data:{kind};base64,…"
        if is_web:
            remedy += " (this server fetches none; `sensorium serve --remote-pictures` does)."
        raise SensoriumError(where, f"has a {noun} that is not in the request.", remedy)
    return replace(part, source=decode_data_url(part.source), extra=())


def _own_subtitles(video: Video, where: str) -> bytes | None:
    """Those in the request: as a data URL, or their text, which has several lines where a path has one."""
    if video.subtitles is None:
        return None
    assert isinstance(video.subtitles, str)
    if video.subtitles.startswith("data:"):
        return decode_data_url(video.subtitles)
    if "\n" not in video.subtitles:
        raise SensoriumError(where, "has subtitles that are not in the request.", "Send their text, or a data URL.")
    return video.subtitles.encode(errors="replace")  # half a surrogate pair, which JSON allows, is no character


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
