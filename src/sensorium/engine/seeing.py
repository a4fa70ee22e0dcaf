"""What engines that run a model themselves share of its pictures: how many visual tokens each takes in the prompt,
which of them are compressed together, and the memory of what was encoded once.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from threading import Lock
from typing import Any, Generic, TypeVar

from sensorium.conversation import Image
from sensorium.media.sight import USUAL_PICTURE, Sight
from sensorium.model.compressors import Compression
from sensorium.rendering.renderer import Renderer, Slot

# Whichever is more: so a small model has a video of a thousand frames at hand for the next question, in less memory
# than 256 pictures of a large one take.
REMEMBERED_PICTURES = 256
REMEMBERED_BYTES = 256 * 2**20
Kept = TypeVar("Kept")


class Remembered(Generic[Kept]):
    """What was made before, by its key, and once however many ask at a time; of too many, those that were longest not
    asked for are forgotten.

    limit: of pictures; a list is of as many as it holds. n_bytes: so much is remembered however many pictures it is
    of. The last made is kept in any case.
    """

    def __init__(self, limit: int = REMEMBERED_PICTURES, n_bytes: int = REMEMBERED_BYTES) -> None:
        self._limit, self._n_bytes = limit, n_bytes
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._making = Lock()

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str, make: Callable[[], Kept]) -> Kept:
        with self._making:
            if key not in self._kept:
                self._kept[key] = make()
                while len(self._kept) > 1 and self._is_too_much():
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]

    def _is_too_much(self) -> bool:
        kept = self._kept.values()
        return sum(map(_n_pictures, kept)) > self._limit and sum(map(_n_bytes, kept)) > self._n_bytes


def _n_pictures(made: object) -> int:
    return len(made) if isinstance(made, list) else 1


def _n_bytes(made: object) -> int:
    """Of the arrays or tensors in it."""
    parts = made if isinstance(made, list | tuple) else (made,)
    return sum(getattr(part, "nbytes", 0) for part in parts)


@dataclass(frozen=True)
class Run:
    """Pictures of a prompt that are compressed together, in their order: all of a turn where the method compares them,
    else each alone. question: what that turn says, where the method wants to know.
    """

    images: tuple[Image, ...]
    question: str = ""

    @cached_property
    def key(self) -> str:
        """The same for the same visual tokens, whatever else the prompt says."""
        beside = [*(image.digest for image in self.images[1:]), self.question]
        first = self.images[0].digest
        return f"{first} {hashlib.sha256(repr(beside).encode(errors='replace')).hexdigest()}" if any(beside) else first


def make_renderer(tokenizer: Any, sight: Sight, compression: Compression | None) -> Renderer:
    """The renderer of a model whose pictures take as many visual tokens as they are given, or fewer."""
    if compression is None:
        return Renderer.seeing(tokenizer, sight)
    shown = compression.shown
    by_size = (lambda size: shown(sight.views(size))) if sight.config.depends_on_size else None
    return Renderer(tokenizer, compression.count(sight.views(USUAL_PICTURE)), views=by_size, named=sight.config.named)


def about(provenance: Mapping[str, Any], compression: Compression | None) -> dict[str, Any]:
    """The same with what is compressed, and how."""
    plain = {key: value for key, value in provenance.items() if key != "compression"}
    return plain if compression is None else plain | {"compression": compression.spec}


def runs_of(slots: Sequence[Slot], compression: Compression | None) -> list[Run]:
    """All pictures of a prompt, in their order."""
    runs = []
    for _, together in groupby(slots, key=lambda slot: slot.message):
        turn = list(together)
        question = turn[0].question if compression is not None and compression.reads_question else ""
        if compression is not None and compression.compares:
            runs.append(Run(tuple(slot.image for slot in turn), question))
        else:
            runs += [Run((slot.image,), question) for slot in turn]
    return runs
