"""Who is answered next: a few requests at once, the others in turns of their callers, and an honest no beyond that.

One caller with a hundred requests waits behind himself, not before everybody else; and where no more may wait, it is
the last of his that goes, and not the first of somebody else's.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request

from sensorium.serving.errors import ApiError
from sensorium.serving.settings import ServerSettings


class FairQueue:
    """max_running: requests at once; max_waiting: further ones that may wait. All in one event loop."""

    def __init__(self, max_running: int, max_waiting: int) -> None:
        self.max_running, self.max_waiting = max_running, max_waiting
        self.running = 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Wait for a place and keep it for the block. Raises ApiError 429 when too many wait already."""
        await self.enter(caller)
        try:
            yield
        finally:
            self.leave()

    async def enter(self, caller: str) -> None:
        """Wait for a place; whoever has come in calls `leave` once. Raises ApiError 429 when too many wait already."""
        if self.running < self.max_running:
            self.running += 1
            return
        if self.waiting >= self.max_waiting and not self._make_room(caller):
            raise self._busy()
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.leave()  # the place had come just as the caller went
            else:
                self._remove(caller, place)
            raise

    def leave(self) -> None:
        """Hand the place to the caller whose turn it is, or give it up."""
        while self._waiting:
            caller, line = self._waiting.popitem(last=False)
            place = line.popleft()
            if line:
                self._waiting[caller] = line  # to the end: the others come first
            if not place.done():
                place.set_result(None)
                return
        self.running -= 1

    def _busy(self) -> ApiError:
        seconds = max(1, round(self.waiting / self.max_running))
        return ApiError(429, f"{self.running} requests are being answered and {self.waiting} wait; try again.",
                        "server_busy", headers={"Retry-After": str(seconds)})

    def _make_room(self, caller: str) -> bool:
        """Send away the newest request of the longest line, if the caller's own would be shorter than that line."""
        if not self._waiting:
            return False
        busiest, line = max(self._waiting.items(), key=lambda item: len(item[1]))
        if len(line) <= len(self._waiting.get(caller, ())) + 1:
            return False
        place = line[-1]
        self._remove(busiest, place)
        if not place.done():
            place.set_exception(self._busy())
        return True

    def _remove(self, caller: str, place: asyncio.Future[None]) -> None:
        line = self._waiting.get(caller, deque())
        if place in line:
            line.remove(place)
        if not line:
            self._waiting.pop(caller, None)


def caller_of(request: Request, settings: ServerSettings) -> str:
    """Who asks, for the queue: the key, where one is needed (else anybody could be many), or the machine."""
    key = request.headers.get("authorization") if settings.keys else None
    return key or (request.client.host if request.client else "")
