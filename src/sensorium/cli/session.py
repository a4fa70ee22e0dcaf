"""A conversation in progress: what was shown and said, and the next reply as it comes.

A question that fails leaves the conversation as it was, so that a chat can go on after any mistake.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.cli.terminal import emit, emit_words, note
from sensorium.cli.video import Watching
from sensorium.conversation import Conversation, Image, Message, Video, assistant, user
from sensorium.errors import SensoriumError
from sensorium.files import write_whole

if TYPE_CHECKING:
    from sensorium.correction import Corrector, Report
    from sensorium.engine import Engine, Sampling
    from sensorium.grounding import Grounded


class Session:
    """engine: who answers; sampling: how; messages: what was said before; watching: how videos' frames are chosen;
    shown: pictures and videos for the next turn."""

    def __init__(
        self,
        engine: Engine,
        sampling: Sampling,
        messages: tuple[Message, ...] = (),
        watching: Watching | None = None,
        corrector: Corrector | None = None,
    ) -> None:
        self.engine, self.sampling, self.corrector = engine, sampling, corrector
        self.messages = messages
        self.watching = watching or Watching()
        self.shown: list[Image | Video] = []
        self._watched: list[dict[str, Any]] = []
        self.reply = ""

    def show(self, path: Path | str) -> tuple[int, int]:
        """Show a picture before the next question; returns (width, height). Raises SensoriumError if it is none."""
        from sensorium.media import open_image

        image = Image(str(path))
        size = open_image(image).size  # decoded now, so that a damaged picture is refused here and not in the answer
        self.shown.append(image)
        return size

    def watch(self, video: Video) -> dict[str, Any]:
        """Show a video before the next question; what was seen of it. Raises SensoriumError if it cannot be."""
        from sensorium.media.watching import frame_size, require_room

        card, watcher = self.engine.card, self.engine.watcher
        if card.visual_tokens and card.context_length:
            info, n_frames = watcher.expect(video)
            require_room(video, n_frames, self.engine.visual_tokens(frame_size(info)), card.context_length)
        watched = watcher.watch(video)  # decoded now, and remembered there for the answer
        self.shown.append(video)
        seen = {"source": video.source, "duration_s": round(watched.info.duration_s, 3), "frames": watched.n_frames,
                "remark": watched.remark}  # fmt: skip
        self._watched.append(seen)
        return seen

    def ask(self, question: str) -> None:
        """Put the question, with the pictures shown since the last one, and let the reply stream out."""
        self.stream(Conversation((*self.messages, user(*self.shown, question))))

    def stream(self, conversation: Conversation) -> None:
        """Answer a conversation that ends with the user's turn; from then on it is this session's."""
        picture = conversation.last_picture
        if self.corrector is not None and picture is not None:
            self._stream_corrected(self.corrector, picture, conversation)
            return
        if self.corrector is not None and conversation.images:
            note("not corrected: a video was shown last, and correction is about a picture")
        reply, finish = "", None
        deltas = self.engine.stream(conversation, self.sampling)
        try:
            for delta in deltas:
                emit_words(delta.text)
                reply += delta.text
                finish = delta.finish
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
            note(" (stopped)")
        else:
            emit()
        if finish == "length":
            note(f"(cut off after {self.sampling.max_new_tokens} tokens; --max-new-tokens allows more)")
        self._keep(conversation, reply)

    def _stream_corrected(self, corrector: Corrector, picture: Image, conversation: Conversation) -> None:
        """The reply with what is wrong about the picture shown last put right, sentence by sentence."""
        from sensorium.correction.difference import marked

        finishes: list[str | None] = []

        def words() -> Iterator[str]:
            for delta in self.engine.stream(conversation, self.sampling):
                finishes.append(delta.finish)
                yield delta.text

        question = conversation.messages[-1].text
        report = emit_corrected(corrector.stream(picture, words(), question))
        if finishes and finishes[-1] == "length":
            note(f"(cut off after {self.sampling.max_new_tokens} tokens; --max-new-tokens allows more)")
        if report.edits:
            note(f"corrected: {marked(report)}")
        for why in report.notes:
            note(f"not corrected: {why}")
        self._keep(conversation, report.output)

    def answer(self, conversation: Conversation) -> dict[str, Any]:
        """Answer at once; what a program wants to know about it, boxes in thousandths and in pixels."""
        reply = self.engine.answer([conversation], self.sampling)[0]
        report, picture = None, conversation.last_picture
        if self.corrector is not None and picture is not None:
            report = self.corrector.correct_reply(picture, reply.text, conversation.messages[-1].text)
        text = report.output if report else reply.text
        self._keep(conversation, text)
        return {
            "model": self.engine.card.name,
            "reply": text,
            "finish": reply.finish,
            "tokens": {"prompt": reply.n_prompt, "reply": reply.n_tokens},
            "boxes": self._boxes(),
            **({"videos": self._watched} if self._watched else {}),
            **({"correction": report.to_json()} if report else {}),
        }

    def draw(self, out: Path) -> int:
        """Draw the last reply's boxes into a copy of the picture shown last; returns how many, 0 draws nothing.

        Raises SensoriumError where there is no picture that they are about.
        """
        from sensorium.grounding import draw_grounded
        from sensorium.media import open_image, save_image

        grounded = self._grounded()
        if not grounded:
            return 0
        save_image(draw_grounded(open_image(self._last_picture()), grounded), out)
        return sum(len(item.boxes) for item in grounded)

    def save(self, out: Path) -> None:
        """Write the conversation as JSON content parts, pictures by their full path: whole or not at all."""
        if not self.messages:
            raise SensoriumError("/save", "nothing has been said yet.")
        rows = Conversation(tuple(_with_full_paths(message) for message in self.messages)).to_json()
        write_whole(out, json.dumps(rows, ensure_ascii=False, indent=2) + "\n", "Choose another place.")

    def reset(self) -> None:
        """Forget everything said and shown."""
        self.messages, self.shown, self.reply = (), [], ""
        self._watched = []

    def _keep(self, conversation: Conversation, reply: str) -> None:
        self.messages = (conversation + assistant(reply)).messages
        self.shown, self.reply = [], reply

    def _grounded(self) -> list[Grounded]:
        from sensorium.grounding import parse_grounded

        return parse_grounded(self.reply)

    def _last_picture(self) -> Image:
        conversation = Conversation(self.messages)  # not empty: boxes stand in a reply
        if conversation.last_picture is None:
            what = "no picture has been shown, so there is none to draw into."
            if any(isinstance(part, Video) for message in conversation for part in message.parts):
                what = "a video was shown last, and which of its frames the boxes mean is not known."
            raise SensoriumError("--draw", what)
        return conversation.last_picture

    def _boxes(self) -> list[dict[str, Any]]:
        from sensorium.media import image_size

        picture = Conversation(self.messages).last_picture
        size = image_size(picture) if picture else None
        return [
            {
                "name": item.name,
                "thousandths": list(box.corners),
                "pixels": [round(v, 1) for v in box.to_pixels(*size)] if size else None,
            }
            for item in self._grounded()
            for box in item.boxes
        ]


def emit_corrected(said: Generator[str, None, Report], silently: bool = False) -> Report:
    """Let a corrected reply out as it comes, and return the report on it."""
    while True:
        try:
            piece = next(said)
        except StopIteration as end:
            if not silently:
                emit()
            return end.value  # type: ignore[no-any-return]
        if not silently:
            emit_words(piece)


def _with_full_paths(message: Message) -> Message:
    """The same message with media named so that they are found from any folder."""
    parts = tuple(_with_full_path(part) if isinstance(part, Image | Video) else part for part in message.parts)
    return Message(message.role, parts, message.plain, message.content_first)


def _with_full_path(part: Image | Video) -> Image | Video:
    if isinstance(part, Video):
        part = replace(part, subtitles=_full_path(part.subtitles))
    return replace(part, source=_full_path(part.source))


def _full_path(source: Any) -> Any:
    is_path = isinstance(source, str) and ":" not in source[:8]
    return str(Path(source).absolute()) if is_path else source
