"""Correction on a server: `correct: true` of a chat, `POST /v1/corrections`, and the switch on the page.

One thread corrects, a text at a time, since parser and detectors are not made for more; what waits for it was let in
by the same queue as everything else. The corrector is loaded when it is first needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal, TypeVar

from fastapi import Request
from pydantic import BaseModel, Field

from sensorium.conversation import Conversation, Image, Message
from sensorium.correction import Budget, Corrector, Report
from sensorium.engine import Delta
from sensorium.errors import SensoriumError
from sensorium.media import ImageLimits, image_size
from sensorium.serving.errors import ApiError
from sensorium.serving.pictures import Pictures
from sensorium.serving.protocol import own_medium
from sensorium.serving.queue import FairQueue, caller_of
from sensorium.serving.settings import ServerSettings

MOST_CHARACTERS = 20_000  # of a text: one that takes longer than a reply keeps the others waiting
Result = TypeVar("Result")


class Correcting:
    """load: makes the corrector, at the first use. After a failure the next use tries again."""

    def __init__(self, load: Callable[[], Corrector]) -> None:
        self._load = load
        self._loaded: Corrector | None = None
        self._thread = ThreadPoolExecutor(1, "correcting")

    async def run(self, work: Callable[[Corrector], Result]) -> Result:
        """Do it in the one thread. Raises ApiError 501 when there is no corrector to be had, else what `work` does."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(self._ready()))

    def _ready(self) -> Corrector:
        if self._loaded is None:
            try:
                self._loaded = self._load()
            except SensoriumError as error:
                raise ApiError(501, f"This server cannot correct: {error}", "cannot_correct") from error
        return self._loaded


class CorrectedReply:
    """A reply that is corrected while it comes; `report` is there when its last piece is."""

    def __init__(self, correcting: Correcting, picture: Image, question: str, max_s: float) -> None:
        self._correcting, self._max_s = correcting, max_s
        self._picture, self._question = picture, question
        self.report: Report | None = None

    async def of(self, deltas: AsyncIterator[Delta]) -> AsyncIterator[Delta]:
        """The engine's pieces with corrected words in them. Raises ApiError for what the caller can mend."""
        run = self._correcting.run
        try:
            speaking = await run(lambda c: bounded(c, self._max_s).listen(self._picture, self._question))
            async for delta in deltas:
                piece = delta.text
                said = await run(lambda _, piece=piece: speaking.hear(piece)) if piece else ""  # type: ignore[misc]
                if delta.finish:
                    said += await run(lambda _: speaking.end())
                    self.report = speaking.report
                yield replace(delta, text=said)
        except SensoriumError as error:
            raise ApiError.of(error) from error


class CorrectionRequest(BaseModel):
    """What is said about a picture, and how sure one must be to change it: see `sensorium.correction.Policy`."""

    image: str = Field(min_length=1, description="data:image/png;base64,…, or a web address where the server fetches "
                       "them.")  # fmt: skip
    text: str = Field(min_length=1, max_length=MOST_CHARACTERS)
    question: str | None = None
    risk: float = Field(default=0.05, gt=0, lt=0.5)
    doubtful: Literal["leave", "flag", "hedge"] = "leave"
    add_missing: bool = False

    def policy(self, corrector: Corrector) -> Corrector:
        asked = {"risk": self.risk, "doubtful": self.doubtful, "add_missing": self.add_missing}
        return replace(corrector, policy=corrector.policy.model_copy(update=asked))


class Corrections:
    """`POST /v1/corrections`; a request waits for its turn like any other."""

    def __init__(
        self, correcting: Correcting, queue: FairQueue, pictures: Pictures, settings: ServerSettings
    ) -> None:
        self._correcting, self._queue, self._pictures, self._settings = correcting, queue, pictures, settings

    async def correct(self, asked: CorrectionRequest, request: Request) -> Report:
        """The report: claims, evidence, verdicts, edits, and the corrected text in `output`."""
        caller = caller_of(request, self._settings)
        max_s = self._settings.reply_timeout_s
        picture = await self._picture(asked.image, caller)
        async with self._queue.turn(caller):
            # Shielded: a caller that leaves gives its turn up only when the work is done, or it would pile up.
            working = asyncio.ensure_future(self._correcting.run(
                lambda c: asked.policy(bounded(c, max_s)).correct(picture, asked.text, asked.question)
            ))  # fmt: skip
            try:
                return await asyncio.shield(working)
            except asyncio.CancelledError:
                await asyncio.wait([working])
                raise
            except SensoriumError as error:
                raise ApiError.of(error) from error

    async def _picture(self, source: str, caller: str) -> Image:
        try:
            part = own_medium(Image(source), "image", self._settings.allow_remote_pictures)
        except SensoriumError as error:
            raise ApiError.of(error) from error
        fetched = await self._pictures.fetched(Conversation((Message("user", (part,)),)), caller, "image")
        try:
            limits = ImageLimits(max_pixels=int(self._settings.max_megapixels * 1e6))
            await asyncio.to_thread(image_size, fetched.images[0], limits)
        except SensoriumError as error:
            raise ApiError(400, f"image: {error.what} {error.remedy}".strip(), "invalid_request", "image") from error
        return fetched.images[0]


def bounded(corrector: Corrector, max_s: float) -> Corrector:
    """The corrector with no more time than a reply has."""
    own = corrector.budget.milliseconds
    most = 1000 * max_s if own is None else min(own, 1000 * max_s)
    return replace(corrector, budget=Budget(most, corrector.budget.calls))
