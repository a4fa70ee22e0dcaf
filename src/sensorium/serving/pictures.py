"""Pictures that a request names by their address: fetched before its turn comes, or refused naming the message."""

from __future__ import annotations

from dataclasses import replace

from sensorium.conversation import Conversation, Image, Message, Part
from sensorium.errors import SensoriumError
from sensorium.media import ImageLimits
from sensorium.media.remote import RemoteLimits, fetch_image
from sensorium.serving.errors import ApiError
from sensorium.serving.queue import FairQueue
from sensorium.serving.settings import ServerSettings


class Pictures:
    """Fetches for a few requests at once, in turns of their callers; an address that a request repeats, once."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._queue = FairQueue(settings.max_fetching, settings.max_waiting)

    async def fetched(self, conversation: Conversation, caller: str, where: str | None = None) -> Conversation:
        """The conversation with every picture in it. All fetched ones together may be as large as a request's body.

        where: what errors name instead of the message.

        Raises ApiError naming the message at fault, and 429 when too many wait.
        """
        if not any(_is_remote(image) for image in conversation.images):
            return conversation
        async with self._queue.turn(caller):
            known: dict[str | bytes, Image] = {}
            left = int(self._settings.max_body_mb * 1e6)
            messages: list[Message] = []
            for number, message in enumerate(conversation):
                parts: list[Part] = []
                for part in message.parts:
                    if _is_remote(part):
                        assert isinstance(part, Image)
                        if part.source not in known:
                            data = await self._fetch(str(part.source), left, where or f"messages[{number}]")
                            left -= len(data)
                            known[part.source] = Image(data)
                        part = known[part.source]
                    parts.append(part)
                messages.append(replace(message, parts=tuple(parts)))
        return Conversation(tuple(messages))

    async def _fetch(self, url: str, max_bytes: int, where: str) -> bytes:
        settings = self._settings
        usual = RemoteLimits().image.max_bytes
        limits = RemoteLimits(
            hosts=settings.picture_hosts, timeout_s=settings.fetch_timeout_s,
            image=ImageLimits(max_bytes=max(1, min(usual, max_bytes))),
        )
        try:
            return await fetch_image(url, limits)
        except SensoriumError as error:
            raise ApiError(400, f"{where}: {error}", "picture_not_fetched", where) from error


def _is_remote(part: Part) -> bool:
    return isinstance(part, Image) and isinstance(part.source, str)
