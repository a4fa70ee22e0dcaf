"""Plots of clips of four to twelve seconds: one to three things happen, one after the other.

Whoever acts has a lane of its own, so that nothing ever covers anything else; the lanes run the way in which things
move. What happens is drawn first, then put on the clock with a pause between any two, so that their order is plain.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from sensorium.data.draw import pick
from sensorium.data.films.casting import Caster
from sensorium.data.films.records import Actor, Film, Happening, Kind, Span
from sensorium.data.films.stage import JUMP, JUMP_S

KINDS: tuple[Kind, ...] = ("moves", "enters", "leaves", "jumps", "turns", "card")
SIDES = {True: ("left", "right"), False: ("up", "down")}  # of lanes that run across, and of those that run down
MOST_JUMPS = 4
_COUNT_SHARES = (0.3, 0.45, 0.25)  # of one, two, three happenings in a clip
_BYSTANDER_SHARE = 0.6  # of free lanes hold one
_LANES, _TOP = 3, 0
_SIDE = (0.24, 0.3)  # of a thing, as a share of the picture's height
_PAUSE_S, _EDGE_S, _SHORTEST_S = (0.6, 0.9), 0.6, 4.0
_JUMP_EVERY_S = 1.0
_CARD_S = 2.0
_OUTSIDE = 0.25  # beyond the picture's edge, from which nothing is seen
_LENGTHS = {"moves": (1.8, 2.4), "enters": (1.4, 2.0), "leaves": (1.4, 2.0), "turns": (1.6, 2.0)}


def plot_clip(caster: Caster, number: int, size: tuple[int, int], fps: int, rng: np.random.Generator) -> Film:
    """The truth of one clip."""
    background = pick(caster.casting.backgrounds, rng)
    count = int(rng.choice(len(_COUNT_SHARES), p=_COUNT_SHARES)) + 1
    kinds = [KINDS[i] for i in rng.choice(len(KINDS), count, replace=False)]
    names = caster.names(_LANES, [background], rng, one_paintable="turns" in kinds)
    lanes = rng.permutation(_LANES).tolist()
    if "jumps" in kinds:
        lanes.sort(key=_TOP.__eq__)  # is taken by somebody else, while that can be
    clip = _Clip(caster, bool(rng.random() < 0.5), rng, lanes)
    for kind in kinds:
        if kind == "card":
            clip.show_card(pick(caster.words, rng))
        elif names:
            clip.act(kind, names)
    while clip.lanes and names and (not clip.shows_lead or rng.random() < _BYSTANDER_SHARE):
        clip.stand(names.pop(0))
    length = max(_SHORTEST_S, clip.now_s + _EDGE_S)
    length = np.ceil(length * fps) / fps  # whole frames
    whole = (0.0, float(length))
    actors = tuple(replace(clip.actors[i], seen=(whole,)) for i in rng.permutation(len(clip.actors)))
    sets = (caster.set(background, whole, rng),)
    video = f"videos/{number // 1000:02d}/{number:06d}.mp4"
    return Film(f"{number:06d}", video, *size, fps, whole[1], 0, sets, actors, tuple(clip.happenings))


@dataclass
class _Clip:
    """A clip in the making. lanes: those without anybody; now_s: when the last happening was over."""

    caster: Caster
    is_across: bool
    rng: np.random.Generator
    lanes: list[int]
    now_s: float = 0.0
    actors: list[Actor] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)

    @property
    def shows_lead(self) -> bool:
        """Whether somebody is there, and of those of whom each film of the split shows one, where it has such."""
        lead = self.caster.casting.lead
        return any(not lead or actor.name in lead for actor in self.actors)

    def show_card(self, word: str) -> None:
        self.happenings.append(Happening("card", self._next(_CARD_S), word))

    def act(self, kind: Kind, names: list[str]) -> None:
        """Somebody of those does something, in the next free lane, and is taken off the list."""
        lane, side = self._lane(kind), float(self.rng.uniform(*_SIDE))
        if kind == "turns":
            for name in names:
                if found := self.caster.painted(name, self.rng):
                    names.remove(name)
                    self._turn(name, side, lane, *found)
                    return
            kind = "moves"  # nobody here takes paint
        name = names.pop(0)
        if kind == "jumps":
            self._jump(name, side, lane)
        else:
            self._walk(kind, name, side, lane)

    def _lane(self, kind: Kind) -> int:
        """The next lane; the top one is no place to jump in."""
        if kind == "jumps" and self.lanes[-1] == _TOP and len(self.lanes) > 1:
            return self.lanes.pop(-2)
        return self.lanes.pop()

    def stand(self, name: str) -> None:
        """Somebody does nothing at all."""
        self._add(name, float(self.rng.uniform(*_SIDE)), self._still(self.lanes.pop()))

    def _jump(self, name: str, side: float, lane: int) -> None:
        times = int(self.rng.integers(1, MOST_JUMPS + 1))
        span = self._next(times * _JUMP_EVERY_S)
        starts = tuple(round(span[0] + i * _JUMP_EVERY_S + (_JUMP_EVERY_S - JUMP_S) / 2, 3) for i in range(times))
        room = side * (0.5 + JUMP)
        path = [(time_s, x, max(y, room)) for time_s, x, y in self._still(lane)]
        self._add(name, side, path, starts)
        self.happenings.append(Happening("jumps", span, name, (str(times),)))

    def _walk(self, kind: Kind, name: str, side: float, lane: int) -> None:
        """Across the picture, into it, or out of it, straight along the lane."""
        span = self._next(float(self.rng.uniform(*_LENGTHS[kind])))
        way = int(self.rng.integers(2))  # 0 to the left or up, 1 to the right or down
        if kind == "moves":
            a, b = self.rng.uniform(0.12, 0.2), self.rng.uniform(0.76, 0.88)
            first, last = (a, b) if way else (b, a)
        else:
            inside = self.rng.uniform(0.3, 0.7)
            outside = 1 + _OUTSIDE if way else -_OUTSIDE
            first, last = (outside, inside) if kind == "enters" else (inside, outside)
        path = [self._at(span[0], lane, first), self._at(span[1], lane, last)]
        self._add(name, side, path)
        self.happenings.append(Happening(kind, span, name, (SIDES[self.is_across][way],)))

    def _turn(
        self, name: str, side: float, lane: int, drawing: str, style: str, colours: tuple[str, str]
    ) -> None:
        """Changes its colour in the middle of its span."""
        span = self._next(float(self.rng.uniform(*_LENGTHS["turns"])))
        seen = ((0.0, colours[0]), (round(sum(span) / 2, 3), colours[1]))
        self.actors.append(Actor(name, drawing, style, side, False, tuple(self._still(lane)), (), seen))
        self.happenings.append(Happening("turns", span, name, colours))

    def _add(
        self, name: str, side: float, path: list[tuple[float, float, float]], jumps: tuple[float, ...] = ()
    ) -> None:
        self.actors.append(self.caster.actor(name, side, path, (), self.rng, jumps))

    def _still(self, lane: int) -> list[tuple[float, float, float]]:
        return [self._at(0.0, lane, float(self.rng.uniform(0.2, 0.8)))]

    def _at(self, time_s: float, lane: int, along: float) -> tuple[float, float, float]:
        across = (lane + 0.5) / _LANES
        x, y = (along, across) if self.is_across else (across, along)
        return (round(time_s, 3), round(float(x), 4), round(float(y), 4))

    def _next(self, length_s: float) -> Span:
        """The next stretch of so many seconds, after a pause."""
        start = self.now_s + (float(self.rng.uniform(*_PAUSE_S)) if self.happenings else _EDGE_S)
        self.now_s = start + length_s
        return (round(start, 3), round(self.now_s, 3))
