"""`POST /v1/score`: how likely the model finds given replies. Not of OpenAI's API, which has no such question.

    {"model": NAME, "messages": […], "candidates": ["Yes", "No"]}
    -> {"object": "list", "model": NAME,
        "data": [{"object": "score", "index": 0, "logprob": -0.4, "tokens": 2}, …], "media": […]}

logprob: natural, of the whole reply and the end of its turn, summed over `tokens` tokens. media: what each picture
and video cost, as in the usage of a chat. `engine.remote` asks here.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Request
from pydantic import BaseModel, Field

from sensorium.conversation import Conversation
from sensorium.engine import Engine
from sensorium.errors import SensoriumError
from sensorium.serving.errors import ApiError
from sensorium.serving.pictures import Pictures
from sensorium.serving.protocol import ChatRequest, Messages
from sensorium.serving.queue import FairQueue, caller_of
from sensorium.serving.settings import ServerSettings
from sensorium.serving.size import check_size
from sensorium.serving.viewing import Viewing, viewed

MAX_CANDIDATES = 256


class ScoreRequest(BaseModel):
    """messages: as of a chat, ending with the user's; candidates: replies to it."""

    model: str = Field(min_length=1)
    messages: Messages
    candidates: list[str] = Field(min_length=1, max_length=MAX_CANDIDATES)


class Scoring:
    """Scores by an engine; a request waits for its turn like any other."""

    def __init__(
        self, engine: Engine, queue: FairQueue, pictures: Pictures, viewing: Viewing, settings: ServerSettings
    ) -> None:
        self._engine, self._queue, self._pictures, self._settings = engine, queue, pictures, settings
        self._viewing = viewing

    async def score(self, asked: ScoreRequest, request: Request) -> dict[str, Any]:
        """The log probability of each candidate. Raises ApiError for what the caller can mend."""
        name = self._engine.card.name
        if asked.model != name:
            raise ApiError(404, f"There is no model `{asked.model}`; this server has `{name}`.", "model_not_found",
                           "model")  # fmt: skip
        check_size(asked.messages, self._engine.card)
        caller = caller_of(request, self._settings)
        chat = ChatRequest(model=asked.model, messages=asked.messages)
        conversation = await asyncio.to_thread(chat.conversation, self._settings.allow_remote_pictures)
        conversation = await self._pictures.fetched(conversation, caller)
        view = await viewed(self._viewing, conversation, caller)
        async with self._queue.turn(caller):
            # Shielded: a caller that leaves gives its turn up only when the engine is done, or its work would pile up.
            working = asyncio.ensure_future(asyncio.to_thread(self._score, view.conversation, asked.candidates))
            try:
                rows = await asyncio.shield(working)
            except asyncio.CancelledError:
                await asyncio.wait([working])
                raise
            except SensoriumError as error:
                raise ApiError.of(error) from error
        data = [{"object": "score", "index": i, "logprob": p, "tokens": n} for i, (p, n) in enumerate(rows)]
        return {"object": "list", "model": name, "data": data, "media": [one.to_json() for one in view.shown]}

    def _score(self, conversation: Conversation, candidates: list[str]) -> list[tuple[float, int]]:
        counts = [self._engine.count(candidate) for candidate in candidates]
        if sum(counts) > self._engine.card.context_length > 0:
            what = f"have {sum(counts)} tokens together; {self._engine.card.context_length} are allowed."
            raise SensoriumError("candidates", what, "Ask for fewer at once.")
        return list(zip(self._engine.score(conversation, candidates), counts, strict=True))
