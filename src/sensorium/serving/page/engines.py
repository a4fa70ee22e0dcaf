"""Which engines a server can answer with: the one it began with, and others that are loaded when first asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from sensorium.engine import Engine
from sensorium.progress import ProgressCallback

Loader = Callable[[ProgressCallback], Engine]


class EngineChoice:
    """first: the engine that is there, by its name; loaders: the others, by theirs. Used in one event loop."""

    def __init__(self, name: str, first: Engine, loaders: Mapping[str, Loader] | None = None) -> None:
        self.first_name, self.first = name, first
        self._loaders = {other: load for other, load in (loaders or {}).items() if other != name}
        self._loaded: dict[str, asyncio.Future[Engine]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return (self.first_name, *self._loaders)

    async def get(self, name: str, progress: ProgressCallback) -> Engine:
        """The engine, loaded in a thread at the first call; who asks meanwhile waits for the same one.

        progress: told (what, done, in all) from that thread. Raises what loading raises; the next call tries again.
        """
        if name == self.first_name or name not in self._loaders:
            return self.first
        if name not in self._loaded:
            loading = asyncio.to_thread(self._loaders[name], progress)
            self._loaded[name] = asyncio.ensure_future(loading)
        try:
            return await asyncio.shield(self._loaded[name])  # one who no longer waits does not stop the others
        except Exception:
            self._loaded.pop(name, None)
            raise
