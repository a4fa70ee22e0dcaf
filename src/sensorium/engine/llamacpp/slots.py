"""Where in llama.cpp's memory a reply is written, and what is remembered of those before it.

Each *slot* keeps the trail of what stands in it, and a new prompt goes on from the free slot that has its longest
beginning. What has to make room for another prompt goes on the *shelf*: main memory, of a size that is set, from which
the trails that were longest left alone fall. So how many pictures and chats need not be read again does not depend on
how many replies are written at once. Bringing a picture and its question back takes less than a millisecond where
reading them takes hundreds, and what comes back is what was there, bit by bit.

Used by `decoder`, in its thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.engine.llamacpp.library import Pointer, library
from sensorium.engine.llamacpp.prompt import Array, Key, Prompt

WORTH_COPYING = 16  # tokens; fewer are sooner read again than the rest of a trail is written down and brought back


@dataclass(eq=False)
class Slot:
    """A sequence of llama.cpp's memory. trail: what stands in it; used: when it was last, by `Slots`' own count."""

    number: int
    trail: list[Key] = field(default_factory=list)
    used: int = 0
    is_busy: bool = False


@dataclass(frozen=True, eq=False)
class Kept:
    """A trail on the shelf. state: the bytes that llama.cpp makes of a sequence and reads back."""

    trail: tuple[Key, ...]
    state: Array


class Slots:
    """context: llama.cpp's, with n sequences; shelf_mb: of what is remembered beside them, 0 for nothing."""

    def __init__(self, context: Pointer, n: int, shelf_mb: float) -> None:
        self._library, self._context = library(), context
        self._memory = self._library.llama_get_memory(context)
        self._slots = [Slot(number) for number in range(n)]
        self._shelf: list[Kept] = []  # the one used last at the end
        self._limit = shelf_mb * 1e6
        self._count = 0

    @property
    def all_busy(self) -> bool:
        return all(slot.is_busy for slot in self._slots)

    @property
    def _places(self) -> list[Slot | Kept]:
        return [*self._slots, *self._shelf]

    @property
    def shelf_bytes(self) -> int:
        return sum(kept.state.nbytes for kept in self._shelf)

    def known(self, prompt: Prompt) -> int:
        """How many positions of the prompt would not have to be read."""
        return prompt.shared(self._nearest(prompt).trail)

    def take(self, prompt: Prompt) -> Slot:
        """A free slot for the prompt, its trail cut back to what need not be read. Not to be asked when all are busy.

        Raises RuntimeError when llama.cpp does not take back what it gave.
        """
        slot = max((slot for slot in self._slots if not slot.is_busy),
                   key=lambda slot: (_worth(prompt.shared(slot.trail)), -slot.used))
        nearest = self._nearest(prompt)
        shared, cached = prompt.shared(nearest.trail), prompt.shared(slot.trail)
        if nearest is slot or shared - cached < WORTH_COPYING:
            self._remember(slot, cached)
        else:
            state = nearest.state if isinstance(nearest, Kept) else self._state(nearest)
            if isinstance(nearest, Kept):
                self._shelf.remove(nearest)
                if len(nearest.trail) - shared >= WORTH_COPYING:  # the slot will not have all of it
                    self._shelf.append(nearest)
            self._remember(slot, _alike(slot.trail, nearest.trail[:shared]))
            self._bring(state, nearest.trail, slot)
        self.forget(slot, prompt.shared(slot.trail))
        slot.is_busy = True
        return slot

    def leave(self, slot: Slot) -> None:
        """The slot is free; its trail stays."""
        self._count += 1
        slot.is_busy, slot.used = False, self._count

    def forget(self, slot: Slot, kept: int) -> None:
        """All of the slot's trail but its first `kept` positions."""
        self._library.llama_memory_seq_rm(self._memory, slot.number, kept, -1)
        del slot.trail[kept:]

    def clear(self) -> None:
        """All slots are free and empty, as after a failure, when nobody knows what stands in them."""
        for slot in self._slots:
            self.forget(slot, 0)
            slot.is_busy = False

    def _nearest(self, prompt: Prompt) -> Slot | Kept:
        """The slot or kept trail that has the prompt's longest beginning; a slot where several have."""
        return max(self._places, key=lambda one: prompt.shared(one.trail))

    def _remember(self, slot: Slot, kept: int) -> None:
        """Put the slot's trail on the shelf if more of it would be lost than is quickly read again.

        kept: its first positions, which stay in the slot.
        """
        elsewhere = max((_alike(slot.trail, one.trail) for one in self._places if one is not slot), default=0)
        if len(slot.trail) - max(kept, elsewhere) < WORTH_COPYING:
            return
        new = Kept(tuple(slot.trail), self._state(slot))
        self._shelf = [one for one in self._shelf if _alike(one.trail, new.trail) < len(one.trail)]
        self._shelf.append(new)
        while self.shelf_bytes > self._limit:
            del self._shelf[0]

    def _state(self, slot: Slot) -> Array:
        size = self._library.llama_state_seq_get_size(self._context, slot.number)
        state = np.empty(size, np.uint8)
        if self._library.llama_state_seq_get_data(self._context, state.ctypes.data, size, slot.number) != size:
            raise RuntimeError(f"llama.cpp could not tell its memory: {self._library.last_errors()}")
        return state

    def _bring(self, state: Array, trail: Sequence[Key], slot: Slot) -> None:
        """Put what was in another place, or in this one before, into a slot."""
        self.forget(slot, 0)
        lib = self._library
        if lib.llama_state_seq_set_data(self._context, state.ctypes.data, state.nbytes, slot.number) != state.nbytes:
            raise RuntimeError(f"llama.cpp could not take its memory back: {lib.last_errors()}")
        slot.trail = list(trail)


def _worth(shared: int) -> int:
    """A few words that all prompts begin with are no reason to prefer a slot."""
    return shared if shared >= WORTH_COPYING else 0


def _alike(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many positions two trails begin alike."""
    n = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        n += 1
    return n
