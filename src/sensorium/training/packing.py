"""Which samples share a pack, and in which order: full packs, everything shuffled, resumable.

A pack is what the model is fed at once: as many whole samples as the budgets hold, their tokens in one row without
padding (`model.attention.Packing`). Samples are shuffled, and in windows of some hundreds each is put where it leaves
least room, the longest first (best-fit decreasing); the emptiest pack of a window is opened again in the next, and the
packs are shuffled at the end. Visual tokens have a budget of their own beside the whole, because each costs the vision
encoder as well.

The plan is a function of the seed, the sizes and the configuration, of nothing else: not of workers, processes, or
global random state. So a place in it is one number, a resumed run goes on with the very next pack, and processes that
share a run agree on who takes which without a word. There is no buffer to save.

Used by `training.loop`; knows nothing of what the samples are.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from sensorium.errors import SensoriumError

Indices = NDArray[np.int64]


class PackConfig(BaseModel):
    """What a pack holds at most.

    max_tokens: tokens, text and visual together. max_visual: visual tokens among them. max_samples: samples.
    window: samples that are packed together; more waste less room, shuffle less. too_long: what to do with a sample
    that fits into no pack: stop with an error that names it, drop it and count it, give it a pack alone, or cut its
    pictures into fewer tiles until it fits. One that is longer than the language model reads can have none: there
    `alone` drops and counts it as well, and so does `fewer_tiles` with one that does not fit without any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: int = Field(default=4096, ge=1)
    max_visual: int | None = Field(default=None, ge=1)
    max_samples: int | None = Field(default=None, ge=1)
    window: int = Field(default=1024, ge=1)
    too_long: Literal["error", "drop", "alone", "fewer_tiles"] = "error"

    def room(self, longest: int | None) -> Room | None:
        """What a sample may take before its pictures are cut into fewer tiles; None where they are not.

        longest: tokens that the language model reads.
        """
        if self.too_long != "fewer_tiles":
            return None
        return Room(min(self.max_tokens, longest or self.max_tokens), self.max_visual)


@dataclass(frozen=True)
class Room:
    """tokens of a sample, and visual ones among them, at most."""

    tokens: int
    visual: int | None

    def holds(self, tokens: int, visual: int) -> bool:
        return tokens <= self.tokens and (self.visual is None or visual <= self.visual)


@dataclass(frozen=True)
class Sizes:
    """text, visual [samples]: tokens of each sample, of either kind. A sample of none is no sample and is left out."""

    text: Indices
    visual: Indices

    @classmethod
    def of(cls, text: ArrayLike, visual: ArrayLike | None = None) -> Sizes:
        text = np.asarray(text, dtype=np.int64)
        return cls(text, np.zeros_like(text) if visual is None else np.asarray(visual, dtype=np.int64))

    @property
    def whole(self) -> Indices:
        """[samples]: all tokens of each."""
        return self.text + self.visual

    def __len__(self) -> int:
        return len(self.text)


@dataclass(frozen=True)
class PackPlan:
    """Packs of sample numbers in their order. fill: tokens in them, of what they could hold; too_long: dropped for it.

    fingerprint: of all that the order depends on. unreadable: those too long that are longer than the model reads.
    """

    packs: list[Indices]
    fill: float
    too_long: tuple[int, ...]
    fingerprint: str
    unreadable: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.packs)

    def state_dict(self) -> dict[str, Any]:
        """What the order depends on; the place in it is the loop's affair."""
        return {"order": self.fingerprint}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises SensoriumError if the order is no longer the one that a checkpoint's place was in."""
        if state["order"] != self.fingerprint:
            what = "the data, the seed or the batch settings are not those of the checkpoint; its place means nothing."
            raise SensoriumError("resume", what, "Put them back, or start a new run in another folder.")


def plan_packs(
    sizes: Sizes, config: PackConfig, seed: int, longest: int | None = None,
    name: Callable[[int], str] = "sample {}".format,
) -> PackPlan:
    """The packs of one pass over the samples.

    longest: tokens of a sample that the language model can read; name: where a sample comes from, for messages. Raises
    SensoriumError when there are no samples, or one is too long.
    """
    whole, visual = sizes.whole, sizes.visual
    is_unreadable = whole > (longest or np.inf)
    longest = min(config.max_tokens, longest or config.max_tokens)
    is_long = whole > longest
    if config.max_visual is not None:
        is_long |= visual > config.max_visual
    long: list[int] = np.flatnonzero(is_long).tolist()
    if long and config.too_long == "error":
        raise _too_long(name(long[0]), long, sizes, config, longest)
    fitting = np.flatnonzero((whole > 0) & ~is_long)
    alone: list[int] = np.flatnonzero(is_long & ~is_unreadable).tolist() if config.too_long == "alone" else []
    if not len(fitting) and not alone:
        raise SensoriumError("samples", "there are none to train on.", "Look at what the report says was dropped.")
    random = np.random.default_rng(seed)
    order: list[int] = random.permutation(fitting).tolist()
    packs = list(_packed(order, whole.tolist(), visual.tolist(), config))
    packs += [[sample] for sample in alone]
    used = sum(int(whole[pack].sum()) for pack in packs)
    shuffled = [np.array(packs[i], dtype=np.int64) for i in random.permutation(len(packs))]
    dropped = tuple(sorted(set(long) - set(alone)))
    unreadable = tuple(np.flatnonzero(is_unreadable).tolist())
    fill = used / (len(packs) * config.max_tokens)
    return PackPlan(shuffled, fill, dropped, _fingerprint(sizes, config, seed), unreadable)


def padded_fill(plan: PackPlan, sizes: Sizes) -> float:
    """Where packs cannot share a row: tokens, of what is computed when each pack is padded to its longest sample."""
    whole = sizes.whole
    computed = sum(len(pack) * int(whole[pack].max()) for pack in plan.packs)
    return sum(int(whole[pack].sum()) for pack in plan.packs) / computed


def padding_note(why: str, fill: float) -> str:
    """A line for people whose packs are padded. why: of `model.attention.why_not_plain`; fill: of `padded_fill`."""
    return f"not packed but padded, since {why}; {fill:.1%} of what is computed are tokens"


@dataclass
class _Pack:
    """An open pack and what it still holds."""

    room: int
    visual_room: float
    places: float
    samples: list[int] = field(default_factory=list)


def _packed(
    order: Sequence[int], whole: Sequence[int], visual: Sequence[int], config: PackConfig
) -> Iterator[list[int]]:
    """Packs of a shuffled order, window by window."""
    carried: list[int] = []
    for start in range(0, len(order), config.window):
        window = carried + list(order[start : start + config.window])
        packs = _best_fit(sorted(window, key=lambda sample: -whole[sample]), whole, visual, config)
        carried = []
        if start + config.window < len(order):
            emptiest = max(packs, key=lambda pack: pack.room)
            packs.remove(emptiest)
            carried = emptiest.samples
        yield from (pack.samples for pack in packs)


def _best_fit(
    longest_first: Sequence[int], whole: Sequence[int], visual: Sequence[int], config: PackConfig
) -> list[_Pack]:
    """Each sample into the pack that it leaves the least room in, or into a new one."""
    packs: list[_Pack] = []
    by_room: list[tuple[int, int]] = []  # (room, number of the pack), smallest room first
    for sample in longest_first:
        size, pictures = whole[sample], visual[sample]
        at = bisect_left(by_room, (size, -1))
        while at < len(by_room):
            pack = packs[by_room[at][1]]
            if pack.visual_room >= pictures and pack.places >= 1:
                break
            at += 1
        if at < len(by_room):
            number = by_room.pop(at)[1]
        else:
            number = len(packs)
            packs.append(_Pack(config.max_tokens, config.max_visual or np.inf, config.max_samples or np.inf))
        pack = packs[number]
        pack.samples.append(sample)
        pack.room -= size
        pack.visual_room -= pictures
        pack.places -= 1
        if pack.room > 0 and pack.places >= 1:
            insort(by_room, (pack.room, number))
    return packs


def _too_long(where: str, long: Sequence[int], sizes: Sizes, config: PackConfig, longest: int) -> SensoriumError:
    """About the first of those that are too long, which comes from `where`."""
    text, visual = int(sizes.text[long[0]]), int(sizes.visual[long[0]])
    what = f"its {text} tokens of text and {visual} visual tokens exceed the batch budget, "
    what += f"max_tokens = {config.max_tokens}" + (f", max_visual = {config.max_visual}" if config.max_visual else "")
    what += f", or the {longest} that the language model reads" if longest < config.max_tokens else ""
    others = f" {len(long) - 1} more are too long as well." if len(long) > 1 else ""
    remedy = "Raise the budget, or set `too_long` to drop, alone or fewer_tiles."
    return SensoriumError(where, f"{what}.{others}", remedy)


def _fingerprint(sizes: Sizes, config: PackConfig, seed: int) -> str:
    digest = hashlib.sha256(f"{seed} {config.model_dump_json()} ".encode())
    for tokens in (sizes.text, sizes.visual):
        digest.update(tokens.astype("<i8").tobytes())
    return digest.hexdigest()
