"""A language model's own chat template, taken apart into what the template says and what people say.

Other trainers mask labels by splitting the rendered string at markers that they guess for each family of templates, and
lose samples whenever a guess is wrong. Here the template is rendered once with *sentinels*, private characters that
stand for each text and each picture; whatever the template prints around them is template, the sentinels are content.
Nothing a person types ever passes through the template or is searched for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from sensorium.conversation import Conversation, Image, Message, Part, Text
from sensorium.errors import SensoriumError

# Characters of a Unicode private use plane: no template prints them, and user text is not in the string that is split.
_OPEN, _CLOSE = "\U000f0000", "\U000f0001"
_SENTINEL = re.compile(f"{_OPEN}(\\d+){_CLOSE}")


@dataclass(frozen=True)
class Piece:
    """A stretch of a rendered conversation: words of the template (`part` None), or a part of a message."""

    template: str = ""
    part: Part | None = None
    message: int = -1  # index of the message the part belongs to
    role: str = ""


def pieces(tokenizer: Any, conversation: Conversation, generate: bool) -> list[Piece]:
    """The conversation in reading order as template text and parts.

    generate: end where the next assistant's words would begin. That is the rendering of one more, empty answer, cut
    where it stands, and not the template's own generation prompt: several templates write `ASSISTANT:` there but
    `ASSISTANT: ` before the answers that were trained on.
    Raises SensoriumError when the template refuses the conversation (some refuse system messages, or two user turns in
    a row), or drops or repeats one of its parts.
    """
    parts: list[tuple[int, Message, Part]] = []
    messages = []
    said = (*conversation, Message("assistant", ())) if generate else tuple(conversation)
    for index, message in enumerate(said):
        content = ""
        # An empty turn still needs a place in the template, so it is rendered as one empty text.
        for part in message.parts or (Text(""),):
            content += f"{_OPEN}{len(parts)}{_CLOSE}"
            parts.append((index, message, part))
        messages.append({"role": message.role, "content": content})
    text = _render(tokenizer, messages)
    found: list[Piece] = []
    seen = []
    position = 0
    for match in _SENTINEL.finditer(text):
        if match.start() > position:
            found.append(Piece(template=text[position : match.start()]))
        index, message, part = parts[int(match[1])]
        found.append(Piece(part=part, message=index, role=message.role))
        seen.append(int(match[1]))
        position = match.end()
    if position < len(text) and not generate:
        found.append(Piece(template=text[position:]))
    if seen != list(range(len(parts))):
        raise SensoriumError("chat template", f"rendered {len(seen)} of {len(parts)} parts, or in another order.",
                             "This model's template changes messages and cannot be trained on.")
    return found[:-1] if generate else found


def _render(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False)
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise SensoriumError("chat template", f"refuses a conversation of turns {roles}: {error}") from error
    except ValueError as error:  # transformers: the tokenizer has no template
        remedy = "Use an instruction-tuned model."
        raise SensoriumError("tokenizer", f"cannot render a chat ({error}).", remedy) from error


def require_images_only(conversation: Conversation) -> None:
    """Raises SensoriumError at a part that is neither text nor a picture, or a picture outside a user's turn."""
    for i, message in enumerate(conversation):
        where = f"messages[{i}]"
        for part in message.parts:
            if not isinstance(part, Text | Image):
                raise SensoriumError(where, f"has {type(part).__name__.lower()}; this model sees pictures only.")
            if isinstance(part, Image) and message.role != "user":
                raise SensoriumError(where, f"has a picture in a turn of the {message.role}; only users show pictures.")
