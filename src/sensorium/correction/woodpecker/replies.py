"""What the language model wrote, read strictly. ValueError: it did not keep to the form, and is asked again."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sensorium.correction.woodpecker.records import Asked

_MOST_ENTITIES, _MOST_WORDS = 20, 5
_ENTITY = re.compile(r"[^\W_][\w '’/-]*")
_BOX = r"\[\s*\d*\.?\d+(?:\s*,\s*\d*\.?\d+){3}\s*\]"
_BOXES = re.compile(rf"\s*\(\s*{_BOX}(?:\s*;\s*{_BOX})*\s*\)")


def read_passage(reply: str, passage: str) -> str:
    """A passage about as long as the one it was made from."""
    text = reply.strip().strip('"').strip()
    if not text or len(without_boxes(text)) > 3 * len(passage) + 200:
        raise ValueError("no passage of such a length")
    return text


def read_entities(reply: str) -> tuple[str, ...]:
    """ "dog.red bus" -> its names; "None" -> none."""
    line = reply.strip().removeprefix("Things:").strip()
    if line.rstrip(".").lower() in ("none", '"none"'):
        return ()
    names = [name.strip().lower() for name in line.strip(". ").split(".")]
    if "\n" in line or len(names) > _MOST_ENTITIES:
        raise ValueError("no list of things")
    for name in names:
        if not _ENTITY.fullmatch(name) or len(name.split()) > _MOST_WORDS:
            raise ValueError(f"{name!r} is no thing")
    return tuple(dict.fromkeys(names))


def read_questions(reply: str, entities: Sequence[str]) -> tuple[Asked, ...]:
    """Lines of "question & thing.thing". Lines about other things are left out; without any that can be read it is no
    answer."""
    lines = [line.strip(" -*\t") for line in reply.strip().splitlines() if line.strip()]
    if len(lines) == 1 and lines[0].rstrip(".").lower() == "none":
        return ()
    found, readable = [], 0
    for line in lines:
        question, mark, names = line.rpartition("&")
        about = tuple(name.strip().lower() for name in names.strip(". ").split("."))
        if not mark or not question.strip().endswith("?"):
            continue
        readable += 1
        if set(about) <= set(entities):
            found.append(Asked(text=question.strip(), entities=about))
    if not readable:
        raise ValueError("no questions")
    return tuple(dict.fromkeys(found))


def without_boxes(text: str) -> str:
    """The corrected passage without the boxes that stand behind its things."""
    return _BOXES.sub("", text)
