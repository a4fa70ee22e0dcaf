"""The page itself: what stands where, and what happens at a click.

The conversation is kept on the server (`Talk`); the browser sends a question, the uploaded pictures and the settings,
and is sent rows to show. Nothing that a browser says about earlier turns is believed.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from sensorium.conversation import Image, Message, Part, Text
from sensorium.engine import Sampling
from sensorium.errors import SensoriumError
from sensorium.serving.page.answering import Answer, Desk, Refusal
from sensorium.serving.page.examples import EXAMPLES
from sensorium.serving.page.figures import figures
from sensorium.serving.page.gate import EXAMPLES_FOLDER
from sensorium.serving.page.look import DOWNLOAD, ICON
from sensorium.serving.page.quiet_gradio import FOLDER, gradio
from sensorium.serving.page.shown import checked, coloured, copy_for_page, plain, rows_of, settled
from sensorium.serving.page.talk import Talk, as_json, as_markdown
from sensorium.serving.page.words import TRANSLATIONS, language_of, say

LONGEST_QUESTION = 100_000  # characters: far beyond what any model reads, well below what fills a server
I18N = gradio.I18n(**TRANSLATIONS)


def build_page(desk: Desk) -> Any:
    """The page as Gradio's Blocks."""
    with gradio.Blocks(
        title="Sensorium", analytics_enabled=False, fill_width=True, fill_height=True
    ) as page:
        widgets = _Page(desk)
        page.load(widgets.greet, None, [widgets.line, widgets.figures], show_progress="hidden")
    return page


class _Page:
    """The widgets and what they do. Handlers answer with one update a widget, in the order of `self.outputs`."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        card = desk.card
        sees = "image" in card.modalities
        self.talk = gradio.State(Talk(), time_to_live=86400)
        with gradio.Row(elem_id="head"):
            gradio.HTML(f'{ICON}<h1>Sensorium</h1><span class="model">{html.escape(card.name)}</span>', padding=False)
            self.line = gradio.HTML(elem_id="line", padding=False)
        with gradio.Row(elem_id="body", equal_height=False):
            with gradio.Column(scale=4, min_width=320, elem_id="main"):
                self.chat = gradio.Chatbot(
                    show_label=False, label=I18N("conversation"), elem_id="chat", buttons=["copy"], layout="bubble",
                    placeholder=I18N("empty"), examples=_cards() if sees else None, latex_delimiters=[],
                    allow_file_downloads=False, feedback_options=None, allow_tags=False,
                )  # fmt: skip
                self.box = gradio.MultimodalTextbox(
                    elem_id="ask", show_label=False, label=I18N("ask"), placeholder=I18N("ask"), autofocus=True,
                    file_count="multiple", file_types=["image"], sources=["upload"] if sees else [], max_lines=6,
                    max_plain_text_length=LONGEST_QUESTION,
                )  # fmt: skip
            with gradio.Column(scale=1, min_width=260, elem_id="side"):
                self.figures = gradio.HTML(elem_id="figures", padding=False)
                self.settings = self._settings()
                self.new = gradio.Button(I18N("new"), elem_id="new", size="sm")
                with gradio.Row(elem_id="exports"):
                    self.save_json = gradio.Button(I18N("export_json"), elem_id="save-json", size="sm", min_width=110)
                    self.save_markdown = gradio.Button(
                        I18N("export_markdown"), elem_id="save-markdown", size="sm", min_width=110
                    )
        self.file = gradio.Textbox(visible="hidden", elem_id="file")
        self.outputs = [self.box, self.chat, self.figures, self.talk]
        self._connect()

    def _settings(self) -> list[Any]:
        """Engine, temperature, top p, longest reply, seed."""
        names = self.desk.engines.names
        longest = self.desk.card.context_length
        with gradio.Accordion(I18N("settings"), open=True, elem_id="settings"):
            engine = gradio.Radio(list(names), value=names[0], label=I18N("engine"), elem_id="engine",
                                  visible=len(names) > 1)  # fmt: skip
            temperature = gradio.Slider(0, 2, value=0, step=0.05, label=I18N("temperature"), elem_id="temperature")
            top_p = gradio.Slider(0.05, 1, value=1, step=0.05, label=I18N("top_p"), elem_id="top-p")
            with gradio.Row():
                n_tokens = gradio.Number(
                    min(longest, self.desk.settings.max_new_tokens), precision=0, minimum=1, maximum=longest,
                    label=I18N("max_tokens"), elem_id="max-tokens", min_width=100,
                )  # fmt: skip
                seed = gradio.Number(0, precision=0, minimum=0, label=I18N("seed"), elem_id="seed", min_width=100)
        return [engine, temperature, top_p, n_tokens, seed]

    def _connect(self) -> None:
        """Which click does what. Our own queue decides who waits, so Gradio's lets everything through."""
        free: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
        ask = {"outputs": self.outputs, **free}
        self.box.submit(self.ask, [self.box, self.talk, *self.settings], **ask)
        self.chat.example_select(self.ask_example, [self.talk, *self.settings], **ask)
        self.chat.retry(self.ask_again, [self.talk, *self.settings], **ask)
        self.box.stop(self.stop, [self.talk], None, **free)
        for event in (self.new.click, self.chat.clear):
            event(self.begin, [self.talk], self.outputs, **free)
        for button, make, name in (
            (self.save_json, self.json, "conversation.json"), (self.save_markdown, self.markdown, "conversation.md"),
        ):  # fmt: skip
            made = button.click(make, [self.talk], [self.file], **free)
            made.success(None, [self.file], None, js=DOWNLOAD % name)

    def greet(self, request: gradio.Request) -> tuple[str, str]:
        """The line about the model and the empty figures, in the language of who came."""
        language, card = _language(request), self.desk.card
        key = "sees" if "image" in card.modalities else "reads"
        line = say(language, key, visual=card.visual_tokens, context=card.context_length)
        return html.escape(line), figures(None, 0, card, language)

    async def ask(
        self, request: gradio.Request, box: dict[str, Any], talk: Talk, *settings: Any
    ) -> AsyncIterator[list[Any]]:
        """What was written, about the pictures that came with it."""
        try:
            paths = [Path(name) for name in box["files"]]
            question = await asyncio.to_thread(_question, box["text"], paths, _language(request))
        except (Refusal, SensoriumError) as refusal:
            yield [gradio.skip(), await self._refused(talk, refusal, request), gradio.skip(), talk]
            return
        async for update in self._answer(request, talk, question, settings, box):
            yield update

    async def ask_example(
        self, request: gradio.Request, chosen: gradio.SelectData, talk: Talk, *settings: Any
    ) -> AsyncIterator[list[Any]]:
        """One of the examples, by its number: what it holds is ours to know."""
        example = EXAMPLES[int(chosen.index) % len(EXAMPLES)]
        question = _question(example.question, [example.picture], _language(request))
        async for update in self._answer(request, talk, question, settings):
            yield update

    async def ask_again(self, request: gradio.Request, talk: Talk, *settings: Any) -> AsyncIterator[list[Any]]:
        """The last question once more, with the settings as they are now; if that fails, the old reply stands."""
        before = talk.messages
        if (question := talk.without_last_reply()) is None:
            return
        try:
            async for update in self._answer(request, talk, question, settings):
                yield update
        finally:
            if len(talk.messages) < len(before):
                talk.messages = before

    async def _answer(
        self, request: gradio.Request, talk: Talk, question: Message, settings: tuple[Any, ...],
        box: dict[str, Any] | None = None,
    ) -> AsyncIterator[list[Any]]:  # fmt: skip
        """The page as the reply grows. box: what goes back into the text field if there is no reply."""
        language = _language(request)
        n_pictures = len(talk.asked(question).images)
        busy = gradio.MultimodalTextbox(value=None, submit_btn=False, stop_btn=True)
        yield [busy, await self._rows((*talk.messages, question), status=say(language, "thinking")), gradio.skip(), talk]
        free = {"submit_btn": True, "stop_btn": False}
        try:
            engine, sampling = settings[0], _sampling(*settings[1:])
            caller = request.headers.get("authorization") or (request.client.host if request.client else "")
            async with aclosing(self.desk.answer(talk, question, engine, sampling, caller, language)) as answers:
                async for answer in answers:
                    rows = await self._rows((*talk.messages, question), answer=answer)
                    told = figures(answer, n_pictures, self.desk.card, language)
                    yield [gradio.skip(), rows, told, gradio.skip()]
        except (Refusal, SensoriumError) as refusal:
            back = gradio.MultimodalTextbox(value=box, **free) if box else gradio.MultimodalTextbox(**free)
            yield [back, await self._refused(talk, refusal, request), gradio.skip(), talk]
            return
        notes = _note(answer, sampling, language)
        yield [gradio.MultimodalTextbox(**free), await self._rows(talk.messages, note=notes), gradio.skip(), talk]

    async def _rows(
        self, messages: tuple[Message, ...], status: str = "", answer: Answer | None = None, note: str = ""
    ) -> list[dict[str, Any]]:
        """The chat's rows; while a reply comes, what has come of it, or what it waits for."""
        rows = await asyncio.to_thread(rows_of, messages, FOLDER)
        if answer is not None and answer.text:
            rows.append({"role": "assistant", "content": coloured(settled(answer.text))})
        elif text := answer.status if answer is not None else status:
            rows.append({"role": "assistant", "content": f"*{plain(text)}*"})
        if note:
            rows[-1]["content"].append(f"*{plain(note)}*")
        return rows

    async def _refused(self, talk: Talk, refusal: Exception, request: gradio.Request) -> list[dict[str, Any]]:
        """The conversation as it was, and below it why there is no answer."""
        rows = await asyncio.to_thread(rows_of, talk.messages, FOLDER)
        said = f"⚠️ **{say(_language(request), 'cannot_answer')}.** {plain(str(refusal))}"
        return [*rows, {"role": "assistant", "content": said}]

    def stop(self, talk: Talk) -> None:
        talk.stop()

    def begin(self, request: gradio.Request, talk: Talk) -> list[Any]:
        """A new conversation in the same tab."""
        talk.stop()
        empty = figures(None, 0, self.desk.card, _language(request))
        return [gradio.MultimodalTextbox(value=None, submit_btn=True, stop_btn=False), [], empty, Talk()]

    def json(self, request: gradio.Request, talk: Talk) -> str:
        return self._file(request, talk, lambda: as_json(talk.messages))

    def markdown(self, request: gradio.Request, talk: Talk) -> str:
        you, picture = (say(_language(request), key) for key in ("you", "picture"))
        return self._file(request, talk, lambda: as_markdown(talk.messages, you, self.desk.card.name, picture))

    def _file(self, request: gradio.Request, talk: Talk, write: Callable[[], str]) -> str:
        """A file's text. A mistake shows as Gradio's note in the corner, for there is no place in the chat for it."""
        if not talk.messages:
            raise gradio.Error(say(_language(request), "nothing_said"), print_exception=False)
        try:
            return write()
        except SensoriumError as error:
            raise gradio.Error(str(error), print_exception=False) from error


def _question(text: str, paths: list[Path], language: str) -> Message:
    """The user's turn. Raises Refusal for one without words, SensoriumError for a picture that cannot be read."""
    pictures: list[Part] = [checked(path) for path in paths]
    if not text.strip():
        raise Refusal(say(language, "no_question"))
    if len(text) > LONGEST_QUESTION:
        raise Refusal(say(language, "too_long", most=f"{LONGEST_QUESTION:,}"))
    return Message("user", (*pictures, Text(text.strip())))


def _sampling(temperature: float, top_p: float, max_new_tokens: float, seed: float | None) -> Sampling:
    """Raises SensoriumError for values that no slider gives."""
    return Sampling(int(max_new_tokens), float(temperature), float(top_p), seed=int(seed or 0) % 2**63)


def _note(answer: Answer, sampling: Sampling, language: str) -> str:
    if answer.is_stopped:
        return say(language, "stopped")
    cut_off = answer.last is not None and answer.last.finish == "length"
    return say(language, "length", tokens=sampling.max_new_tokens) if cut_off else ""


def _language(request: gradio.Request) -> str:
    return language_of(request.headers.get("accept-language", ""))


def _cards() -> list[dict[str, Any]]:
    """The examples as Gradio shows them, their pictures where the page's files are."""
    return [
        {"text": example.question, "icon": str(copy_for_page(Image(str(example.picture)), FOLDER / EXAMPLES_FOLDER))}
        for example in EXAMPLES
    ]
