"""A server that speaks OpenAI's API: reached with OpenAI's own client, and its refusals said in our words.

The client tries again, waiting longer each time or as long as Retry-After says, when a server is busy, fails or is not
reached. What it finds in the end is a SensoriumError that never holds the key, whatever the server repeats.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from sensorium.errors import SensoriumError, did_you_mean

NO_KEY = "none"  # the client wants one; servers without keys do not look
# What servers call a prompt that does not fit: OpenAI, llama.cpp.
TOO_LONG = ("context_length_exceeded", "exceed_context_size_error")


class Endpoint:
    """base_url: what stands before `/chat/completions`. timeout_s: of silence; retries: after the first try.

    refusals: the client's errors for requests that a server does not understand.

    Raises SensoriumError when OpenAI's client is not installed, or base_url is no address.
    """

    def __init__(self, base_url: str, api_key: str | None, timeout_s: float, retries: int) -> None:
        try:
            import openai
        except ModuleNotFoundError as error:
            raise SensoriumError("remote engine", "needs the package openai.",
                                 "Install it: pip install 'sensorium[remote]'.") from error
        self._openai, self._key, self._timeout_s = openai, api_key, timeout_s
        self.where = _without_password(base_url)
        self.refusals = (openai.BadRequestError, openai.UnprocessableEntityError)
        self.client = openai.OpenAI(
            base_url=base_url, api_key=api_key or NO_KEY, timeout=timeout_s, max_retries=retries
        )

    def models(self, can_do_without: bool = False) -> list[dict[str, Any]]:
        """What the server says it has; nothing where it does not tell, or fails at telling and none is needed."""
        with self.asking(), self._unless_missing(can_do_without):
            answer = self.client.get("/models", cast_to=object)
            rows = answer.get("data") if isinstance(answer, dict) else None
            if not isinstance(rows, list):
                raise self.odd()
            return [row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]
        return []

    def odd(self) -> SensoriumError:
        """For answers that are not of OpenAI's API at all."""
        return SensoriumError(self.where, "answers, but not as OpenAI's API does.",
                              "Check the address; it usually ends in /v1.")

    @contextmanager
    def asking(self, model: str = "") -> Iterator[None]:
        """Inside the block what goes wrong with the server becomes a SensoriumError. model: who is asked."""
        openai = self._openai
        try:
            yield
        # `from None`: what the server said may repeat the key, and a traceback would show it.
        except openai.APITimeoutError:
            raise SensoriumError(self.where, f"was silent for {self._timeout_s:g} s.",
                                 "Look at the server, or allow more time.") from None
        except openai.APIConnectionError as error:
            reason = self._clean(str(error.__cause__ or error))
            raise SensoriumError(self.where, f"cannot be reached ({reason}).",
                                 "Is the server running, and is the address right?") from None
        except openai.APIStatusError as error:
            raise self._refusal(error, model) from None
        except openai.APIError as error:  # sent in the middle of a stream
            raise SensoriumError(self.where, f"gave up: {self._clean(error.message)}") from None
        except json.JSONDecodeError:
            raise self.odd() from None

    def _refusal(self, error: Any, model: str) -> SensoriumError:
        said, status = self.message_of(error), error.status_code
        if status in (401, 403):
            what = "wants a key" if self._key is None else "does not accept the key"
            return SensoriumError(self.where, f"{what} ({status}: {said}).",
                                  "Give one with --api-key, or in OPENAI_API_KEY.")
        if status == 404 and model:
            return self.unknown(model, said)
        if status == 429:
            return SensoriumError(self.where, f"is busy, or asked too often ({said}).", "Try again later.")
        if status >= 500:
            return SensoriumError(self.where, f"failed ({status}: {said}).", "Look at the server.")
        body = error.body if isinstance(error.body, dict) else {}
        remedy = "Show fewer pictures, start anew, or lower max_new_tokens."
        is_too_long = body.get("code") in TOO_LONG or body.get("type") in TOO_LONG
        return SensoriumError(self.where, f"refuses the request ({status}): {said}", remedy if is_too_long else "")

    def unknown(self, model: str, said: str = "") -> SensoriumError:
        """For a model that is not there: with those that are."""
        known = [row["id"] for row in self.models(can_do_without=True)]
        what = f"has no model `{model}`" if known or not said else f"does not find `{model}` ({said})"
        return SensoriumError(self.where, f"{what}.", choice(known, model))

    def message_of(self, error: Any) -> str:
        """What the server said of an error, on one line and without the key."""
        body = error.body
        if isinstance(body, dict):
            body = body.get("message") or body.get("detail") or body.get("error") or body
        text = body if isinstance(body, str) else json.dumps(body) if body else error.message
        return self._clean(text)

    @contextmanager
    def _unless_missing(self, can_do_without: bool) -> Iterator[None]:
        """Some servers have no list of models; that of transformers' fails where no hub's cache is."""
        try:
            yield
        except self._openai.APIStatusError as error:
            if error.status_code not in (404, 405, 501) and not (can_do_without and error.status_code >= 500):
                raise

    def _clean(self, text: str) -> str:
        text = " ".join(text.split())[:600]
        return text.replace(self._key, "[key]") if self._key else text


def choice(known: Sequence[str], wrong: str = "") -> str:
    """How to name one of an endpoint's models."""
    if not known:
        return "Name the model after the address: http://HOST/v1#MODEL."
    listed = did_you_mean(wrong, known) if wrong else f"Known: {', '.join(sorted(known)[:20])}."
    return f"{listed} Write it after the address: http://HOST/v1#MODEL."


def _without_password(url: str) -> str:
    """The address as it may be shown. Raises SensoriumError when it is none."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise SensoriumError("address", f"cannot be read ({error}).", "Write http://HOST:PORT/v1.") from error
    if parts.scheme not in ("http", "https") or not host:
        raise SensoriumError(url, "is no address of a server.", "Write http://HOST:PORT/v1.")
    shown = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, shown + port, parts.path, "", ""))
