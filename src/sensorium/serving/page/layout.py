"""The page itself: what stands where, and which event each click is."""

from __future__ import annotations

import html
from typing import Any

from sensorium.conversation import Image
from sensorium.serving.page.answering import Desk
from sensorium.serving.page.events import LONGEST_QUESTION, Events
from sensorium.serving.page.examples import EXAMPLES
from sensorium.serving.page.gate import EXAMPLES_FOLDER
from sensorium.serving.page.look import DOWNLOAD, ICON
from sensorium.serving.page.quiet_gradio import FOLDER, gradio
from sensorium.serving.page.shown import copy_for_page
from sensorium.serving.page.uploads import TYPES, Frames
from sensorium.serving.page.words import TRANSLATIONS, say

I18N = gradio.I18n(**TRANSLATIONS)
SAMPLINGS = ("uniform", "scenes", "difference", "subtitles")
_Text: Any = I18N  # Gradio's own types allow translated text in fewer places than Gradio does


def build_page(desk: Desk) -> Any:
    """The page as Gradio's Blocks."""
    with gradio.Blocks(title="Sensorium", analytics_enabled=False, fill_width=True, fill_height=True) as page:
        events = Events(desk)
        widgets = _Widgets(desk, events.forms)
        widgets.connect(events)
        greeted = [widgets.line, widgets.figures, widgets.form]
        page.load(events.greet, None, greeted, show_progress="hidden")
    return page


class _Widgets:
    """What stands where."""

    def __init__(self, desk: Desk, forms: list[str]) -> None:
        self.desk = desk
        card = desk.card
        sees = "image" in card.modalities
        ask = "ask" if sees else "ask_words"
        with gradio.Row(elem_id="head"):
            gradio.HTML(f'{ICON}<h1>Sensorium</h1><span class="model">{html.escape(card.name)}</span>', padding=False)
            self.line = gradio.HTML(elem_id="line", padding=False)
        with gradio.Row(elem_id="body", equal_height=False):
            with gradio.Column(scale=4, min_width=320, elem_id="main"):
                self.chat = gradio.Chatbot(
                    show_label=False, label=_Text("conversation"), elem_id="chat", buttons=["copy"], layout="bubble",
                    placeholder=_Text("empty" if sees else "empty_words"), examples=_cards() if sees else None,
                    latex_delimiters=[], allow_file_downloads=False, feedback_options=None, allow_tags=False,
                )  # fmt: skip
                self.box = gradio.MultimodalTextbox(
                    elem_id="ask", show_label=False, label=_Text(ask), placeholder=_Text(ask), autofocus=True,
                    file_count="multiple", file_types=TYPES, sources=["upload"] if sees else [], max_lines=6,
                    max_plain_text_length=LONGEST_QUESTION,
                )  # fmt: skip
            with gradio.Column(scale=1, min_width=260, elem_id="side"):
                self.figures = gradio.HTML(elem_id="figures", padding=False)
                self.form = gradio.Radio(
                    [(say("en", name), name) for name in forms], value=forms[0], label=_Text("form"), elem_id="form",
                    render=False,
                )  # fmt: skip
                self.settings = self._settings()
                self.new = gradio.Button(_Text("new"), elem_id="new", size="sm")
                with gradio.Row(elem_id="exports"):
                    self.save_json = gradio.Button(_Text("export_json"), elem_id="save-json", size="sm", min_width=110)
                    self.save_markdown = gradio.Button(
                        _Text("export_markdown"), elem_id="save-markdown", size="sm", min_width=110
                    )
        self.file = gradio.Textbox(visible="hidden", elem_id="file")

    def _settings(self) -> list[Any]:
        """Engine, form of the answer, temperature, top p, longest reply, seed, correction, a video's frames."""
        names = self.desk.engines.names
        longest = self.desk.card.context_length
        with gradio.Accordion(_Text("settings"), open=True, elem_id="settings"):
            engine = gradio.Radio(list(names), value=names[0], label=_Text("engine"), elem_id="engine",
                                  visible=len(names) > 1)  # fmt: skip
            self.form.render()
            temperature = gradio.Slider(0, 2, value=0, step=0.05, label=_Text("temperature"), elem_id="temperature")
            top_p = gradio.Slider(0.05, 1, value=1, step=0.05, label=_Text("top_p"), elem_id="top-p")
            with gradio.Row():
                n_tokens = gradio.Number(
                    min(longest, self.desk.settings.max_new_tokens), precision=0, minimum=1, maximum=longest,
                    label=_Text("max_tokens"), elem_id="max-tokens", min_width=100,
                )  # fmt: skip
                seed = gradio.Number(0, precision=0, minimum=0, label=_Text("seed"), elem_id="seed", min_width=100)
            with gradio.Row(visible="image" in self.desk.card.modalities):
                most = self.desk.settings.max_frames
                frames = gradio.Number(min(Frames.n, most), precision=0, minimum=1, maximum=most, label=_Text("frames"),
                                       elem_id="frames", min_width=100)  # fmt: skip
                sampling = gradio.Dropdown(
                    [(_Text(name), name) for name in SAMPLINGS], value=SAMPLINGS[0], label=_Text("sampling"),
                    elem_id="sampling", min_width=100,
                )  # fmt: skip
            correct = gradio.Checkbox(
                False, label=_Text("correct"), info=_Text("correct_info"), elem_id="correct",
                visible=self.desk.correcting is not None and "image" in self.desk.card.modalities,
            )  # fmt: skip
        return [engine, self.form, temperature, top_p, n_tokens, seed, correct, frames, sampling]

    def connect(self, events: Events) -> None:
        """Which click is which event. Our own queue decides who waits, so Gradio's lets everything through."""
        outputs = [self.box, self.chat, self.figures]
        free: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
        ask = {"outputs": outputs, **free}
        self.box.submit(events.ask, [self.box, *self.settings], **ask)
        self.chat.example_select(events.ask_example, self.settings, **ask)
        self.chat.retry(events.ask_again, self.settings, **ask)
        self.box.stop(events.stop, None, None, **free)
        for event in (self.new.click, self.chat.clear):
            event(events.begin, None, outputs, **free)
        json = (self.save_json, events.json, "conversation.json")
        markdown = (self.save_markdown, events.markdown, "conversation.md")
        for button, make, name in (json, markdown):
            made = button.click(make, None, [self.file], **free)
            made.success(None, [self.file], None, js=DOWNLOAD % name)


def _cards() -> list[Any]:
    """The examples as Gradio shows them, their pictures where the page's files are."""
    return [
        {"text": example.question, "icon": str(copy_for_page(Image(str(example.picture)), FOLDER / EXAMPLES_FOLDER))}
        for example in EXAMPLES
    ]
