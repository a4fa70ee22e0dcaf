"""Turns as the LLaVA family writes them -> a `Conversation`: who speaks, where pictures stand, what is wrong.

The formats differ in the names of keys and of speakers and agree in the rest: text with `<image>` wherever a picture is
shown, and pictures listed apart. Whatever does not fit is an error that names row and field; nothing is guessed,
because a picture in the wrong place trains silently on nonsense.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sensorium.conversation import Conversation, Image, Message, Part, Role, Text
from sensorium.errors import SensoriumError, did_you_mean
from sensorium.grounding import box_fault

TAG = "<image>"
SPEAKERS: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
}


def tagged_conversation(turns: Any, images: Sequence[Image], where: str, system: str | None = None) -> Conversation:
    """Turns `{"from": "human", "value": "<image>\\nWhat is this?"}` (or `role`, `content`), pictures in their places.

    Raises SensoriumError naming the turn: an unknown speaker, an empty reply, turns that do not alternate, more or
    fewer tags than pictures.
    """
    if not isinstance(turns, list) or not turns:
        raise SensoriumError(where, "expected a list of turns, at least one.")
    if not isinstance(system, str | None):
        raise SensoriumError(f"{where}: system", "expected words, a string.")
    waiting = list(images)
    n_tags = 0
    messages = [Message("system", (Text(system),))] if system else []
    for i, turn in enumerate(turns):
        role, text = _turn(turn, f"{where}[{i}]")
        if role == "system" and messages:
            raise SensoriumError(f"{where}[{i}]", "system words may only come first, and once.")
        parts: tuple[Part, ...] = (Text(text),)
        if role == "user":
            n_tags += text.count(TAG)
            parts = _parts(text, waiting)
        messages.append(Message(role, parts))
    if n_tags != len(images):
        raise SensoriumError(where, f"has {n_tags} {TAG} tags for {len(images)} pictures.",
                             f"Write {TAG} once for each picture, where it is shown.")
    conversation = Conversation(tuple(messages))
    check_turns(conversation, where)
    return conversation


def check_turns(conversation: Conversation, where: str) -> None:
    """Raises SensoriumError where user and assistant do not take turns, end with the user, or a reply is empty, and
    where a box in their words is none.
    """
    said = [message for message in conversation if message.role != "system"]
    for i, message in enumerate(said):
        expected = "user" if i % 2 == 0 else "assistant"
        if message.role != expected:
            raise SensoriumError(where, f"turn {i + 1} is the {message.role}'s, expected the {expected}'s.",
                                 "Users and assistants take turns, users first.")
        if message.role == "assistant" and not message.text.strip():
            raise SensoriumError(where, f"the reply in turn {i + 1} is empty.")
        if fault := box_fault(message.text):
            raise SensoriumError(where, f"turn {i + 1}: {fault}",
                                 "Boxes are <box>(x1,y1),(x2,y2)</box> in thousandths of width and height.")
    if len(said) < 2 or len(said) % 2:
        raise SensoriumError(where, "ends without a reply: there is nothing to learn from the last question.")


def _turn(turn: Any, where: str) -> tuple[Role, str]:
    if not isinstance(turn, Mapping):
        raise SensoriumError(where, f"expected a turn, an object, found {type(turn).__name__}.")
    speaker, text = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
    if not isinstance(speaker, str) or speaker.lower() not in SPEAKERS:
        raise SensoriumError(where, f"unknown speaker {speaker!r}.", did_you_mean(str(speaker), SPEAKERS))
    if not isinstance(text, str):
        raise SensoriumError(where, f"expected the words, a string, found {type(text).__name__}.")
    return SPEAKERS[speaker.lower()], text


def _parts(text: str, waiting: list[Image]) -> tuple[Part, ...]:
    """Words and pictures in order. The line break that writers put beside a tag is layout, not language."""
    pieces = text.split(TAG)
    parts: list[Part] = []
    for i, piece in enumerate(pieces):
        words = piece.removeprefix("\n") if i > 0 else piece
        words = words.removesuffix("\n") if i < len(pieces) - 1 else words
        if words.strip() or len(pieces) == 1:
            parts.append(Text(words))
        if i < len(pieces) - 1 and waiting:
            parts.append(waiting.pop(0))
    return tuple(parts)
