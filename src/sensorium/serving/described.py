"""What the OpenAPI document says of requests and replies, as tests hold the server to it.

Replies are built as plain dictionaries in `serving.replies`; these models only describe them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from sensorium.correction.records import Report


class _Described(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ErrorBody(_Described):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(_Described):
    """Every error has this shape, whatever its status."""

    error: ErrorBody


class PromptDetails(_Described):
    cached_tokens: int
    image_tokens: int
    video_tokens: int


class SampledFrame(_Described):
    time_s: float
    visual_tokens: int


class ShownMedium(_Described):
    """A picture or a video that was shown, and what it cost; of a video, which frames were looked at."""

    type: Literal["image", "video"]
    message: int  # its number
    visual_tokens: int
    duration_s: float | None = None
    sampling: str | None = None
    frames: list[SampledFrame] | None = None
    remark: str | None = None  # what was wrong with the file


class Usage(_Described):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    media: list[ShownMedium] | None = None  # our own; where anything was shown


class SaidMessage(_Described):
    role: Literal["assistant"]
    content: str
    refusal: None


class Choice(_Described):
    index: int
    message: SaidMessage
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length"]


class ChatReply(_Described):
    """A whole reply. A streamed one is server-sent events: `data: {chunk}`, the last one `data: [DONE]`."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    correction: Report | None = None  # only where it was asked for


class ModelCard(_Described):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    modalities: list[str]
    context_length: int
    visual_tokens: int
    licence: str


class ModelList(_Described):
    object: Literal["list"]
    data: list[ModelCard]


class Score(_Described):
    object: Literal["score"]
    index: int
    logprob: float
    tokens: int


class ScoreReply(_Described):
    object: Literal["list"]
    model: str
    data: list[Score]
    media: list[ShownMedium] = []


class Health(_Described):
    status: Literal["ok"]
    running: int
    waiting: int


_REASONS = {
    400: "Something in the request that the caller can mend.",
    401: "No key, or a wrong one.",
    403: "The server is not asked by this name.",
    404: "There is no such model.",
    408: "The request did not come in time.",
    413: "The request is too large.",
    429: "Too many requests wait; Retry-After says when to come back.",
    500: "The server failed at this request.",
    501: "This server cannot correct.",
    503: "Too many connections are open.",
    504: "The reply took too long.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route: these errors, and those that any request can meet."""
    always = (401, 403, 408, 413, 429, 500, 503)
    return {status: {"model": ErrorReply, "description": _REASONS[status]} for status in sorted({*statuses, *always})}


EVENTS = {"description": "The reply; with `stream`, as events.",
          "content": {"text/event-stream": {"schema": {"type": "string"}}}, "model": ChatReply}  # fmt: skip
METRICS = {"description": "Counts, as Prometheus reads them.",
           "content": {"text/plain": {"schema": {"type": "string"}}}}  # fmt: skip
_TEXT = {"type": "object", "required": ["type", "text"], "additionalProperties": False,
         "properties": {"type": {"const": "text"}, "text": {"type": "string"}}}  # fmt: skip
_ADDRESS = {"type": "object", "required": ["url"],
            "properties": {"url": {"type": "string", "description": "data:image/png;base64,…, or a web address where "
                                   "the server fetches them."}, "detail": {"type": "string"}}}  # fmt: skip
_RATE = {"type": "number", "exclusiveMinimum": 0, "maximum": 999}
_CHOICES = {
    "frames": {"type": "integer", "minimum": 1, "description": "At most; 8 if left out."},
    "fps": _RATE | {"description": "Frames a second, instead of `sampling`."},
    "sampling": {"type": "string", "description": "uniform, fps:0.5, scenes, subtitles or difference."},
    "subtitles": {"type": "string", "description": "SRT, WebVTT or ASS: the text itself, or a data URL."},
    "timestamps": {"type": "boolean", "description": "Whether each frame's time is said before it."},
}
_CLIP = _ADDRESS | {"properties": {"url": {"type": "string", "description": "data:video/mp4;base64,…, or a web address "
                                           "where the server fetches them."}}}  # fmt: skip
_VIDEO = {"type": "object", "required": ["type", "video_url"],
          "properties": {"type": {"const": "video_url"}, "video_url": _CLIP, **_CHOICES}}  # fmt: skip
_PICTURE = {"type": "object", "required": ["type", "image_url"],
            "properties": {"type": {"const": "image_url"}, "image_url": _ADDRESS}}  # fmt: skip
# Hugging Face's and other spellings of media parts are read as well, see `sensorium.conversation`.
_OTHERS = ["image", "image_url", "video", "video_url"]
_OTHER = {"type": "object", "required": ["type"], "properties": {"type": {"enum": _OTHERS}}}
_PARTS = {"anyOf": [_TEXT, _PICTURE, _VIDEO, _OTHER]}
MESSAGES = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["role", "content"],
        "additionalProperties": False,
        "properties": {
            "role": {"enum": ["system", "developer", "user", "assistant"]},
            "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": _PARTS}]},
            "name": {}, "refusal": {}, "annotations": {}, "audio": {},
        },
    },
}  # fmt: skip
