"""Replies that were given before, to anybody: one SQLite file for all runs of a user.

A reply is found by everything that makes it: the rendered messages, the bytes of the media (not their paths), who
answers (weights and precision, or address), and how tokens are chosen. So a benchmark that shares questions with
another, or a larger --limit in another folder, costs nothing twice.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sensorium.conversation import Conversation, Medium, Part, Text
from sensorium.engine.base import Reply, Sampling
from sensorium.errors import SensoriumError
from sensorium.parts.cache import cache_root

_VERSION = 2  # of what the key is made of, and of how a seed draws
_AT_ONCE = 500  # SQLite takes so many variables in one question


def default_path() -> Path:
    return cache_root() / "replies.sqlite"


def request_key(conversation: Conversation, identity: str, sampling: Sampling) -> str:
    """A digest of everything that a reply depends on. Reads the media."""
    said = [[message.role, [_rendered(part) for part in message.parts]] for message in conversation]
    content = [_VERSION, identity, asdict(sampling), said]
    return hashlib.sha256(json.dumps(content, default=repr).encode()).hexdigest()


def _rendered(part: Part) -> list[str]:
    if isinstance(part, Text):
        return ["text", part.text]
    assert isinstance(part, Medium)
    return [type(part).__name__.lower(), part.digest]


class ResponseCache:
    """path: made if it is not there. Several processes may use it at once.

    Raises SensoriumError, everywhere, when the disk refuses or the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60)
            with self._database:
                self._database.execute("PRAGMA journal_mode=WAL")
                self._database.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL)")
        except (OSError, sqlite3.Error) as error:
            raise self._fault(error) from error

    def find(self, keys: Sequence[str]) -> dict[str, Reply]:
        """The replies of those keys that are known."""
        found: dict[str, Reply] = {}
        try:
            for start in range(0, len(keys), _AT_ONCE):
                part = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(part))
                rows = self._database.execute(f"SELECT key, reply FROM replies WHERE key IN ({marks})", part)
                found |= {key: Reply(**json.loads(reply)) for key, reply in rows}
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise self._fault(error) from error
        return found

    def keep(self, replies: Mapping[str, Reply] | Iterable[tuple[str, Reply]]) -> None:
        pairs = replies.items() if isinstance(replies, Mapping) else replies
        rows = [(key, json.dumps(_plain(reply))) for key, reply in pairs]
        try:
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO replies VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            raise self._fault(error) from error

    def close(self) -> None:
        self._database.close()

    def _fault(self, error: Exception) -> SensoriumError:
        remedy = "Free some space, remove the file (it can be made again), or go on without it: --no-cache."
        return SensoriumError(self.path, f"the cache of replies cannot be used ({error}).", remedy)


def _plain(reply: Reply) -> dict[str, Any]:
    return {"text": reply.text, "finish": reply.finish, "n_prompt": reply.n_prompt, "n_tokens": reply.n_tokens}
