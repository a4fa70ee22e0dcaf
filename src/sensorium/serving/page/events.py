"""What happens at a click: each event of the page, and what it changes there.

The conversation is kept on the server (`Talk`); the browser sends a question, the uploaded pictures and the settings,
and is sent rows to show. Nothing that a browser says about earlier turns is believed.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from sensorium.conversation import Conversation, Image, Message, Text
from sensorium.engine import YES_NO, Boxes, Constraint, Sampling
from sensorium.errors import SensoriumError
from sensorium.serving.page.answering import Answer, Desk, Refusal
from sensorium.serving.page.examples import EXAMPLES
from sensorium.serving.page.figures import figures
from sensorium.serving.page.quiet_gradio import FOLDER, gradio
from sensorium.serving.page.shown import checked, coloured, plain, rows_of, settled
from sensorium.serving.page.talk import Talk, Talks, as_json, as_markdown
from sensorium.serving.page.uploads import Frames, shown_files
from sensorium.serving.page.words import language_of, say

LONGEST_QUESTION = 100_000  # characters: far beyond what any model reads, well below what fills a server
MOST_TALKS = 1000  # that the server keeps; of a tab left open longer, the page begins anew
FORMS: dict[str, Constraint | None] = {"free": None, "yes_no": YES_NO, "boxes": Boxes()}  # of an answer
_FREE: dict[str, Any] = {"submit_btn": True, "stop_btn": False}  # the text field's button while nobody answers
_BUSY: dict[str, Any] = {"submit_btn": False, "stop_btn": True}

Updates = list[Any]  # of the text field, the chat, the figures


class Events:
    """settings, in each event: engine, form, temperature, top p, longest reply, seed, whether the answer is to be
    corrected, and how many frames of a video are looked at and how they are chosen, as they stand on the page."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.talks = desk, Talks(MOST_TALKS)

    def _talk(self, request: gradio.Request) -> Talk:
        return self.talks.of(str(request.session_hash))

    @property
    def forms(self) -> list[str]:
        """What an answer may be asked to be; a model that sees nothing has nothing to draw boxes around."""
        return [name for name in FORMS if name != "boxes" or "image" in self.desk.card.modalities]

    def greet(self, request: gradio.Request) -> tuple[str, str, Any]:
        """The line about the model, the empty figures and the forms of an answer, in the language of who came."""
        language, card = _language(request), self.desk.card
        key = "sees" if "image" in card.modalities else "reads"
        line = say(language, key, visual=card.visual_tokens, context=card.context_length)
        forms = gradio.update(choices=[(say(language, name), name) for name in self.forms])
        return html.escape(line), figures(None, card, language), forms

    async def ask(self, request: gradio.Request, box: dict[str, Any], *settings: Any) -> AsyncIterator[Updates]:
        """What was written, about the pictures and videos that came with it."""
        talk = self._talk(request)
        try:
            paths = [Path(name) for name in box["files"]]
            frames = _frames(*settings[7:9])
            question = await asyncio.to_thread(self._question, box["text"], paths, frames, _language(request))
        except (Refusal, SensoriumError) as refusal:
            yield [gradio.skip(), await self._refused(talk, box["text"], refusal, request), gradio.skip()]
            return
        async for update in self._answer(request, talk, (*talk.messages, question), settings, box):
            yield update

    def _question(self, text: str, paths: list[Path], frames: Frames, language: str) -> Message:
        """The user's turn. Raises Refusal for one without words, SensoriumError for a picture that cannot be read.

        Videos are opened when their turn comes.
        """
        parts = shown_files(paths, frames)
        pictures = [part for part in parts if isinstance(part, Image)]
        self.desk.viewing.require_pictures(pictures)
        for picture in pictures:
            checked(Path(str(picture.source)))
        if not text.strip():
            raise Refusal(say(language, "no_question"))
        if len(text) > LONGEST_QUESTION:
            raise Refusal(say(language, "too_long", most=f"{LONGEST_QUESTION:,}"))
        return Message("user", (*parts, Text(text.strip())))

    async def ask_example(
        self, request: gradio.Request, chosen: gradio.SelectData, *settings: Any
    ) -> AsyncIterator[Updates]:
        """One of the examples, by its number: what it holds is ours to know."""
        talk = self._talk(request)
        example = EXAMPLES[int(chosen.index) % len(EXAMPLES)]
        question = self._question(example.question, [example.picture], Frames(), _language(request))
        async for update in self._answer(request, talk, (*talk.messages, question), settings):
            yield update

    async def ask_again(self, request: gradio.Request, *settings: Any) -> AsyncIterator[Updates]:
        """The last question once more, with the settings as they are now; if that fails, the old reply stands."""
        talk = self._talk(request)
        if talk.messages:
            *before, asked = talk.messages[:-1]
            try:
                asked = replace(asked, parts=_frames(*settings[7:9]).of(asked.parts))
            except SensoriumError as refusal:
                yield [gradio.skip(), await self._refused(talk, "", refusal, request), gradio.skip()]
                return
            async for update in self._answer(request, talk, (*before, asked), settings):
                yield update

    async def _answer(
        self, request: gradio.Request, talk: Talk, messages: tuple[Message, ...], settings: tuple[Any, ...],
        box: dict[str, Any] | None = None,
    ) -> AsyncIterator[Updates]:  # fmt: skip
        """The page as the reply to the messages grows. box: what goes back into the text field if there is none."""
        if talk.answering is not None:  # one reply at a time in a tab
            yield [gradio.skip()] * 3
            return
        language, conversation = _language(request), Conversation(messages)
        rows = await self._rows(talk, messages, language, say(language, "thinking"))
        yield [gradio.update(value=None, **_BUSY), rows, gradio.skip()]
        key = request.headers.get("authorization") if self.desk.settings.keys else None
        caller = key or (request.client.host if request.client else "")
        try:
            sampling = _sampling(*settings[1:6])
            correct = settings[6] is True and not isinstance(sampling.constrain, Boxes)
            answers = self.desk.answer(talk, conversation, settings[0], sampling, caller, language, correct)
            async with aclosing(answers):
                async for answer in answers:
                    if self._talk(request) is not talk:  # a new conversation was begun meanwhile
                        return
                    is_checked = correct and answer.last is not None and answer.last.finish is not None
                    rows = await self._rows(talk, messages, language, answer.status, answer.text, is_checked)
                    told = figures(answer, self.desk.card, language)
                    yield [gradio.skip(), rows, told]
        except (Refusal, SensoriumError) as refusal:
            back = gradio.update(value=box, **_FREE) if box else gradio.update(**_FREE)
            yield [back, await self._refused(talk, messages[-1].text, refusal, request), gradio.skip()]
            return
        yield [gradio.update(**_FREE), await self._finished(talk, answer, sampling, language), gradio.skip()]

    async def _rows(
        self, talk: Talk, messages: tuple[Message, ...], language: str, status: str, text: str = "",
        is_checked: bool = False,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """The chat's rows: what was said, and what has come of the reply, or what it waits for.

        is_checked: whether the reply has come and waits to be corrected.
        """
        rows = await asyncio.to_thread(rows_of, messages, FOLDER, talk.reports, talk.strips, language)
        said = coloured(settled(text)) if text else f"*{plain(status)}*"
        if text and is_checked:
            said += f"\n\n*{plain(status)}*"
        return [*rows, {"role": "assistant", "content": said}]

    async def _finished(self, talk: Talk, answer: Answer, sampling: Sampling, language: str) -> list[dict[str, Any]]:
        """The rows at the end, with a word about a reply that ended before its time."""
        rows = await asyncio.to_thread(rows_of, talk.messages, FOLDER, talk.reports, talk.strips, language)
        if answer.report is not None or answer.unmended:
            rows.append({"role": "assistant", "content": f"*{plain(_told(answer, language))}*"})
        if answer.is_stopped:
            note = say(language, "stopped")
        elif answer.last is not None and answer.last.finish == "length":
            note = say(language, "length", tokens=sampling.max_new_tokens)
        else:
            return rows
        return [*rows, {"role": "assistant", "content": f"*{plain(note)}*"}]

    async def _refused(
        self, talk: Talk, asked: str, refusal: Exception, request: gradio.Request
    ) -> list[dict[str, Any]]:
        """The conversation as it was; below it what was asked, and why there is no answer to that."""
        language = _language(request)
        rows = await asyncio.to_thread(rows_of, talk.messages, FOLDER, talk.reports, talk.strips, language)
        if asked.strip():
            rows.append({"role": "user", "content": plain(asked)})
        said = f"⚠️ **{say(language, 'cannot_answer')}** {plain(str(refusal))}"
        return [*rows, {"role": "assistant", "content": said}]

    async def stop(self, request: gradio.Request) -> None:
        """End the reply under way."""
        self._talk(request).stop()

    async def begin(self, request: gradio.Request) -> Updates:
        """A new conversation in the same tab."""
        self.talks.end(str(request.session_hash))
        empty = figures(None, self.desk.card, _language(request))
        return [gradio.update(value=None, **_FREE), [], empty]

    def json(self, request: gradio.Request) -> str:
        """The conversation as a JSON file's text."""
        messages = self._talk(request).messages
        return _file(request, messages, lambda: as_json(messages))

    def markdown(self, request: gradio.Request) -> str:
        """The conversation as a Markdown file's text."""
        you, picture, video = (say(_language(request), key) for key in ("you", "picture", "video"))
        messages = self._talk(request).messages
        return _file(request, messages, lambda: as_markdown(messages, you, self.desk.card.name, picture, video))


def _file(request: gradio.Request, messages: tuple[Message, ...], write: Callable[[], str]) -> str:
    """A file's text. A mistake shows as Gradio's note in the corner, for there is no place in the chat for it."""
    if not messages:
        raise gradio.Error(say(_language(request), "nothing_said"), print_exception=False)
    try:
        return write()
    except SensoriumError as error:
        raise gradio.Error(str(error), print_exception=False) from error


def _told(answer: Answer, language: str) -> str:
    """What correcting the reply came to, in a line."""
    if answer.unmended or answer.report is None:
        return say(language, "unmended", why=answer.unmended)
    values = [verdict.value for verdict in answer.report.verdicts]
    counts = {value: values.count(value) for value in ("supported", "refuted")}  # type: ignore[arg-type]
    outcome = "corrected" if answer.report.edits else "left" if counts["refuted"] else "unchanged"
    return say(language, outcome, claims=len(values), **counts)


def _frames(n: float | None, sampling: str) -> Frames:
    """Raises SensoriumError for what no field of the page gives."""
    try:
        return Frames(int(n or Frames.n), str(sampling))
    except (TypeError, ValueError, OverflowError) as error:
        raise SensoriumError("settings", "are not numbers.", "Fill the empty ones in.") from error


def _sampling(form: str, temperature: float, top_p: float, max_new_tokens: float, seed: float | None) -> Sampling:
    """Raises SensoriumError for values that no slider gives."""
    try:
        return Sampling(int(max_new_tokens), float(temperature), float(top_p), seed=int(seed or 0) % 2**63,
                        constrain=FORMS[form])  # fmt: skip
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SensoriumError("settings", "are not numbers.", "Fill the empty ones in.") from error


def _language(request: gradio.Request) -> str:
    return language_of(request.headers.get("accept-language", ""))
