"""Errors as OpenAI's clients expect them: one JSON object with message, type, param and code."""

from __future__ import annotations

from typing import Any

from sensorium.errors import SensoriumError

_MOST = 1000  # characters of a message: an error does not send back what was sent


class ApiError(Exception):
    """status: of HTTP; param: the field of the request at fault; code: for programs; headers: of the response."""

    def __init__(
        self, status: int, message: str, code: str, param: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.headers = status, message, code, param, headers or {}

    @classmethod
    def of(cls, error: SensoriumError) -> ApiError:
        """What a caller can mend."""
        return cls(400, str(error), "invalid_request", str(error.where))

    @property
    def body(self) -> dict[str, Any]:
        kinds = {401: "authentication_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        param = None if self.param is None else _sendable(self.param)
        return {"error": {"message": _sendable(self.message), "type": kind, "param": param, "code": self.code}}


def _sendable(text: str) -> str:
    """Short, and without halves of surrogate pairs: JSON can bring them, and UTF-8 cannot carry them."""
    text = text if len(text) <= _MOST else f"{text[:_MOST]}…"
    return text.encode("utf-8", "backslashreplace").decode()


def unsupported(param: str, what: str) -> ApiError:
    """A field that asks for something that is not there: better said than silently left out."""
    return ApiError(400, f"{param}: {what}", "unsupported_parameter", param)
