"""What every engine asks of a conversation before it answers, without loading anything for it."""

from __future__ import annotations

from sensorium.conversation import Conversation, Image, Text, Video
from sensorium.engine.base import Card
from sensorium.errors import SensoriumError
from sensorium.media import require_pixels
from sensorium.media.watching import TokensOf, Watcher


def require_question(conversation: Conversation) -> None:
    """Raises SensoriumError when it is not the user who spoke last: there is nothing to answer."""
    if conversation.messages[-1].role != "user":
        raise SensoriumError("conversation", "ends with another turn than the user's; there is nothing to answer.")


def with_frames(
    conversation: Conversation, watcher: Watcher, card: Card, tokens_of: TokensOf | None = None
) -> Conversation:
    """The conversation with its videos as frames and words, which is how every model sees them.

    tokens_of: a size in visual tokens, where the engine can tell; else a frame takes what the card says.
    Raises SensoriumError when a video cannot be opened, the model sees nothing or has no room for so many frames, or
    the pictures have too many pixels together.
    """
    require_pixels(conversation.images)
    if "image" not in card.modalities and any(isinstance(part, Video) for m in conversation for part in m.parts):
        raise SensoriumError("conversation", "has a video; this model takes text only.", "Use a model that sees.")
    return watcher.shown(conversation, card.visual_tokens, card.context_length, tokens_of)


def require_pictures_only(conversation: Conversation, seen: bool = True) -> None:
    """Raises SensoriumError at a part that is neither text nor a user's picture. seen: whether the model takes any."""
    for i, message in enumerate(conversation):
        where = f"messages[{i}]"
        for part in message.parts:
            if not isinstance(part, Text | Image):
                raise SensoriumError(where, f"has {type(part).__name__.lower()}; this engine takes pictures only.")
            if isinstance(part, Image) and not seen:
                raise SensoriumError(where, "has a picture; this model takes text only.", "Use a model that sees.")
            if isinstance(part, Image) and message.role != "user":
                raise SensoriumError(where, f"has a picture in a turn of the {message.role}; only users show pictures.")


def require_room(n_tokens: int, n_pictures: int, max_new_tokens: int, card: Card) -> None:
    """Raises SensoriumError when a prompt of so many tokens leaves no room for a reply of max_new_tokens."""
    if n_tokens + max_new_tokens > card.context_length:
        raise SensoriumError(
            "conversation",
            f"has {n_tokens} tokens ({n_pictures} pictures of {card.visual_tokens}); with "
            f"{max_new_tokens} for the reply that is more than the {card.context_length} there is room for.",
            "Show fewer pictures or frames (--frames), fewer visual tokens of each (--visual-tokens), start anew, or "
            "lower max_new_tokens.",
        )
