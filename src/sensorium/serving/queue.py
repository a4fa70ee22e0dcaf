"""Who is answered next: a few requests at once, the others in turns of their callers, and an honest no beyond that.

One caller with a hundred requests waits behind himself, not before everybody else.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sensorium.serving.errors import ApiError


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
        """Wait for a place and keep it. Raises ApiError 429 when too many wait already."""
        if self.running < self.max_running:
            self.running += 1
        else:
            await self._wait(caller)
        try:
            yield
        finally:
            self._leave()

    async def _wait(self, caller: str) -> None:
        if self.waiting >= self.max_waiting:
            seconds = max(1, round(self.waiting / self.max_running))
            raise ApiError(429, f"{self.running} requests are being answered and {self.waiting} wait; try again.",
                           "server_busy", headers={"Retry-After": str(seconds)})
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._leave()  # the place had come just as the caller went
            else:
                self._remove(caller, place)
            raise

    def _remove(self, caller: str, place: asyncio.Future[None]) -> None:
        line = self._waiting.get(caller, deque())
        if place in line:
            line.remove(place)
        if not line:
            self._waiting.pop(caller, None)

    def _leave(self) -> None:
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
