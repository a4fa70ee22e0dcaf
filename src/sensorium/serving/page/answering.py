"""From a question on the page to its reply: the same queue, limits and counts that the API's requests have.

A reply is made by a task of its own, which the Stop button cancels and a closed tab takes with it; the page looks
twenty times a second at what has come.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from sensorium.conversation import Conversation, Image, Video, assistant
from sensorium.correction.records import Report
from sensorium.engine import Card, Delta, Sampling
from sensorium.errors import SensoriumError
from sensorium.serving.correcting import Correcting, bounded
from sensorium.serving.errors import ApiError
from sensorium.serving.metrics import Metrics
from sensorium.serving.page.engines import EngineChoice
from sensorium.serving.page.quiet_gradio import FOLDER
from sensorium.serving.page.strips import strips_of
from sensorium.serving.page.talk import Talk
from sensorium.serving.page.words import say
from sensorium.serving.queue import FairQueue
from sensorium.serving.replies import stream_reply
from sensorium.serving.settings import ServerSettings
from sensorium.serving.viewing import View, Viewing

LOOK_S = 0.05
ALIVE_S = 1.0  # between two looks at which the page hears something, so that a closed tab is noticed


class Refusal(Exception):
    """Why there is no answer, in the words of the page."""


@dataclass
class Answer:
    """A reply under way. status: what goes on, in the words of the page; times in seconds of `time.perf_counter`.
    view: what the engine was shown. report: what was found out about the reply, where it is to be corrected; unmended:
    why nothing was.

    asked_at: when the engine was, which those who wait for their turn are not to blame it for.
    """

    asked_at: float
    status: str = ""
    view: View | None = None
    text: str = ""
    last: Delta | None = None
    first_at: float | None = None
    last_at: float = 0.0
    is_stopped: bool = False
    report: Report | None = None
    unmended: str = ""

    def take(self, delta: Delta) -> None:
        self.last_at = time.perf_counter()
        if self.first_at is None:
            self.first_at = self.last_at
        self.text, self.last = self.text + delta.text, delta

    @property
    def first_token_s(self) -> float | None:
        return None if self.first_at is None else self.first_at - self.asked_at

    @property
    def tokens_per_s(self) -> float | None:
        """Of the tokens after the first, whose time is that of reading the question."""
        if self.last is None or self.first_at is None or self.last.n_tokens < 2 or self.last_at <= self.first_at:
            return None
        return (self.last.n_tokens - 1) / (self.last_at - self.first_at)


class Desk:
    """Where the page's questions are answered."""

    def __init__(
        self, engines: EngineChoice, queue: FairQueue, viewing: Viewing, metrics: Metrics, settings: ServerSettings,
        correcting: Correcting | None = None,
    ) -> None:  # fmt: skip
        self.engines, self.queue, self.metrics, self.settings = engines, queue, metrics, settings
        self.viewing, self.correcting = viewing, correcting

    @property
    def card(self) -> Card:
        return self.engines.first.card

    async def answer(
        self, talk: Talk, conversation: Conversation, engine: str, sampling: Sampling, caller: str, language: str,
        correct: bool = False,
    ) -> AsyncGenerator[Answer]:  # fmt: skip
        """The reply as it comes; at its end, or when it is stopped, the conversation with it is the talk's.

        Raises Refusal; the talk is then as it was.
        """
        self._check(conversation, language)
        answer = Answer(time.perf_counter())
        work = self._work(answer, talk, conversation, engine, sampling, caller, language, correct)
        task = asyncio.ensure_future(work)
        talk.answering = task
        try:
            seen, quiet_s = "", 0.0
            while not task.done():
                await asyncio.wait({task}, timeout=LOOK_S)
                quiet_s += LOOK_S
                if (now := answer.status + answer.text) != seen or quiet_s >= ALIVE_S:
                    seen, quiet_s = now, 0.0
                    yield answer
            if task.cancelled():
                answer.is_stopped = True
            elif error := task.exception():
                raise self._refusal(error, language) from error
        finally:
            task.cancel()
            talk.answering = None
        if answer.text or not answer.is_stopped:
            text = answer.report.output if answer.report else answer.text
            talk.messages = (conversation + assistant(text)).messages
            talk.note(answer.report)
        yield answer

    async def _work(
        self, answer: Answer, talk: Talk, conversation: Conversation, engine_name: str, sampling: Sampling, caller: str,
        language: str, correct: bool,
    ) -> None:  # fmt: skip
        def loading(what: str, done: int, total: int) -> None:
            share = f" {done / total:.0%}" if total else " …"
            answer.status = say(language, "loading", engine=engine_name, what=what + share)

        begun = answer.asked_at
        try:
            engine = await self.engines.get(engine_name, loading)
            answer.status = say(language, "watching") if videos_of(conversation) else answer.status
            answer.view = await self.viewing.view(conversation, caller)
            talk.strips |= await asyncio.to_thread(strips_of, answer.view, FOLDER)
            answer.status = say(language, "waiting")
            await self.queue.enter(caller)
            answer.status = say(language, "thinking")
            answer.asked_at = time.perf_counter()
            shown, limit_s = answer.view.conversation, self.settings.reply_timeout_s
            reply = stream_reply(engine, shown, sampling, limit_s, self.queue.leave)
            async with aclosing(reply) as deltas:
                async for delta in self.metrics.timed(deltas, begun):
                    answer.take(delta)
        except (asyncio.CancelledError, Exception) as error:
            self.metrics.broken_off(error)
            raise
        if answer.last is not None:
            self.metrics.answered(answer.last)
        picture = conversation.last_picture
        if correct and self.correcting is not None and picture is not None:
            answer.status = say(language, "correcting")
            await self._correct(answer, picture, conversation.messages[-1].text, self.correcting)

    async def _correct(self, answer: Answer, picture: Image, question: str, correcting: Correcting) -> None:
        """What is found out about the reply; one that cannot be corrected stays as it is."""
        max_s = self.settings.reply_timeout_s
        try:
            answer.report = await correcting.run(
                lambda c: bounded(c, max_s).correct_reply(picture, answer.text, question)
            )
        except (ApiError, SensoriumError) as error:
            answer.unmended = str(error)
            return
        answer.unmended = "; ".join(answer.report.notes)

    def _check(self, conversation: Conversation, language: str) -> None:
        """What the API would refuse of such a conversation, and what only a page can have."""
        media: list[Image | Video] = [*conversation.images, *videos_of(conversation)]
        if media and "image" not in self.card.modalities:
            raise Refusal(say(language, "no_pictures"))
        try:
            n_bytes = sum(map(_bytes, media))
        except OSError:
            raise Refusal(say(language, "expired")) from None
        if n_bytes > self.settings.max_body_mb * 1e6:
            raise Refusal(say(language, "too_much", limit=f"{self.settings.max_body_mb:g}"))

    def _refusal(self, error: BaseException, language: str) -> BaseException:
        """The error as a person can read it; what is nobody's to mend here stays what it is."""
        if isinstance(error, TimeoutError):
            return Refusal(say(language, "timeout", seconds=f"{self.settings.reply_timeout_s:g}"))
        if isinstance(error, SensoriumError | ApiError):
            return Refusal(str(error))
        return Refusal(say(language, "failed")) if isinstance(error, RuntimeError) else error


def videos_of(conversation: Conversation) -> list[Video]:
    """All videos, in the order in which they are shown."""
    return [part for message in conversation for part in message.parts if isinstance(part, Video)]


def _bytes(medium: Image | Video) -> int:
    assert isinstance(medium.source, str)
    return Path(medium.source).stat().st_size
