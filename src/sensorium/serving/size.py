"""Requests that cannot fit whatever is in them, found by counting, before anything is opened, fetched or encoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sensorium.engine import Card
from sensorium.serving.errors import ApiError

CHARACTERS_A_TOKEN = 128  # more than any text has; a megabyte takes a tokenizer a while to find too long


def check_size(messages: Sequence[dict[str, Any]], card: Card) -> None:
    """Each message and each part takes a token at least, a picture or frame what the card says. Raises ApiError."""
    n_parts = n_pictures = n_characters = 0
    for message in messages:
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        n_parts += max(1, len(parts))
        for part in parts:
            if not isinstance(part, dict):
                continue
            if isinstance(text := part.get("text"), str):
                n_characters += len(text)
            elif str(part.get("type"))[:20] in ("image", "image_url", "video", "video_url"):
                n_pictures += 1  # a video has a frame at least
    room = card.context_length
    if room < 1:  # not known of an engine that is elsewhere
        return
    counts = ((n_parts, "messages and parts", 1), (n_pictures, "pictures and videos", 1 / max(1, card.visual_tokens)),
              (n_characters, "characters", CHARACTERS_A_TOKEN))
    for count, name, per_token in counts:
        if count > room * per_token:
            what = f"messages: {count:,} {name} are more than fit into the {room:,} tokens that there is room for."
            raise ApiError(400, what, "context_length_exceeded", "messages")
