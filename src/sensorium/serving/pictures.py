"""Pictures and videos that a request names by their address: fetched before its turn, or refused with the message."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeGuard

from sensorium.conversation import Conversation, Image, Message, Part, Video
from sensorium.errors import SensoriumError
from sensorium.media import ImageLimits
from sensorium.media.remote import RemoteLimits, fetch_image, fetch_video
from sensorium.serving.errors import ApiError
from sensorium.serving.queue import FairQueue
from sensorium.serving.settings import ServerSettings


class Pictures:
    """Fetches for a few requests at once, in turns of their callers; an address that a request repeats, once."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._queue = FairQueue(settings.max_fetching, settings.max_waiting)

    async def fetched(self, conversation: Conversation, caller: str, where: str | None = None) -> Conversation:
        """The conversation with every picture and video in it. All fetched ones together may be as large as a request's
        body.

        where: what errors name instead of the message.

        Raises ApiError naming the message at fault, and 429 when too many wait.
        """
        if not any(_is_remote(part) for message in conversation for part in message.parts):
            return conversation
        async with self._queue.turn(caller):
            known: dict[tuple[type, str | bytes], bytes] = {}
            left = int(self._settings.max_body_mb * 1e6)
            messages: list[Message] = []
            for number, message in enumerate(conversation):
                parts: list[Part] = []
                for part in message.parts:
                    if _is_remote(part):
                        key = type(part), part.source
                        if key not in known:
                            known[key] = await self._fetch(part, left, where or f"messages[{number}]")
                            left -= len(known[key])
                        part = replace(part, source=known[key], extra=())
                    parts.append(part)
                messages.append(replace(message, parts=tuple(parts)))
        return Conversation(tuple(messages))

    async def _fetch(self, part: Image | Video, max_bytes: int, where: str) -> bytes:
        settings, url = self._settings, str(part.source)
        usual, max_bytes = RemoteLimits().image.max_bytes, max(1, max_bytes)
        is_video = isinstance(part, Video)
        limits = RemoteLimits(
            hosts=settings.picture_hosts,
            timeout_s=settings.video_fetch_timeout_s if is_video else settings.fetch_timeout_s,
            image=ImageLimits(max_bytes=min(usual, max_bytes)),
            video=settings.video.model_copy(update={"max_bytes": min(settings.video.max_bytes, max_bytes)}),
        )
        try:
            return await (fetch_video if is_video else fetch_image)(url, limits)
        except SensoriumError as error:
            raise ApiError(400, f"{where}: {error}", "picture_not_fetched", where) from error


def _is_remote(part: Part) -> TypeGuard[Image | Video]:
    return isinstance(part, Image | Video) and isinstance(part.source, str)
