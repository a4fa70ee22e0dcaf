"""Plots of long films: slow sets one after the other, somebody wandering in each, and needles that stay for moments.

A needle is a card with a word, or a thing that is there for three or four seconds and at no other time. Needles are
spread over the whole film, one in each of as many equal stretches as there are, at any place within. A narrator speaks
now and then; some of what is said no picture shows. What is asked about the film as a whole (how many cards, how often
somebody came, who never did) takes watching all of it.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise

import numpy as np

from sensorium.data.films.casting import Caster
from sensorium.data.films.narrator import narrate
from sensorium.data.films.records import Actor, Film, Happening, Set, Span

CARDS = (3, 6)  # the fewest and the most
VISITS = (2, 5)  # of whoever comes several times
_VISITORS = 3  # come once
_NEEDLE_S = (3.0, 4.0)
_LANES, _MIDDLE = 3, 1
_SIDE = (0.26, 0.32)
_STRIDE = 0.25  # of the picture, at most, that a resident goes at once
_STRIDE_S = 3.0
_REST_S = (8, 20)  # between two strides
_APART_S = 20.0  # at least, from one needle's earliest start to the next one's
LEAST_MINUTES = 5  # below, there is no room for the needles
_FROM_EDGE_S = 5.0  # of a set, in which it passes into the next: nothing happens there


def plot_long(
    caster: Caster, number: int, minutes: int, size: tuple[int, int], fps: int, rng: np.random.Generator
) -> Film:
    """The truth of one film of so many minutes; with a small catalogue, fewer come."""
    duration = 60.0 * minutes
    spans = _divided(duration, max(2, round(6 * (minutes / 10) ** 0.5)), rng)
    backgrounds = caster.casting.backgrounds
    order = [int(i) for _ in range(-(-len(spans) // len(backgrounds))) for i in rng.permutation(len(backgrounds))]
    sets = tuple(caster.set(backgrounds[i], span, rng, "long") for i, span in zip(order, spans, strict=False))
    shown = [backgrounds[i] for i in dict.fromkeys(order[: len(spans)])]
    names = caster.names(len(spans) + _VISITORS + 1, shown, rng)
    visitors = [names.pop() for _ in range(min(len(names), _VISITORS + 1))]
    lanes = [rng.permutation(_LANES).tolist() for _ in sets]  # of each set; needles come in the first of them
    for one in lanes:
        if one[1] == _MIDDLE:  # where a card would cover the resident
            one[1:] = one[:0:-1]
    actors = _residents(caster, sets, names, lanes, rng)
    happenings = []
    for span, (is_card, name) in _needles(caster, visitors, duration, sets, rng):
        happenings.append(Happening("card" if is_card else "shows", span, name))
        if not is_card:
            lane = lanes[_set_at(sets, span[0])][0]
            spot = (span[0], round(float(rng.uniform(0.2, 0.8)), 4), (lane + 0.5) / _LANES)
            actors.append(caster.actor(name, float(rng.uniform(*_SIDE)), [spot], [span], rng))
    video = f"videos/{minutes}m/{number:04d}.mp4"
    lines = narrate(duration, rng)
    return Film(f"{minutes}m-{number:04d}", video, *size, fps, duration, minutes, sets, tuple(actors),
                tuple(happenings), lines, video.replace(".mp4", ".srt"))  # fmt: skip


def _divided(duration: float, count: int, rng: np.random.Generator) -> list[Span]:
    """Stretches of unlike length, in whole seconds, that fill the film."""
    shares = np.cumsum(rng.uniform(0.7, 1.3, count))
    bounds = [0.0, *np.round(duration * shares / shares[-1]).tolist()]
    return list(pairwise(bounds))


def _residents(
    caster: Caster, sets: tuple[Set, ...], names: list[str], lanes: list[list[int]], rng: np.random.Generator
) -> list[Actor]:
    """One in each set, nobody in two sets unless names run out; they go a little, rest, and go on."""
    actors = []
    for number, one in enumerate(sets if names else ()):
        time_s, x = one.span[0], float(rng.uniform(0.15, 0.85))
        path = [(time_s, x)]
        while (time_s := time_s + float(rng.uniform(*_REST_S))) < one.span[1]:
            path.append((time_s, x))
            x, time_s = float(np.clip(x + rng.uniform(-_STRIDE, _STRIDE), 0.15, 0.85)), time_s + _STRIDE_S
            path.append((time_s, x))
        lane = (lanes[number][1] + 0.5) / _LANES
        points = [(round(t, 2), round(x, 4), lane) for t, x in path]
        actors.append(caster.actor(names[number % len(names)], float(rng.uniform(*_SIDE)), points, [one.span], rng))
    return actors


def _needles(
    caster: Caster, visitors: list[str], duration: float, sets: tuple[Set, ...], rng: np.random.Generator
) -> list[tuple[Span, tuple[bool, str]]]:
    """(when, (whether it is a card, word or name)) in the order of time. The first visitor comes several times."""
    n_cards = int(rng.integers(CARDS[0], CARDS[1] + 1))
    words = [caster.words[i] for i in rng.choice(len(caster.words), n_cards, replace=False)]
    needles = [(True, word) for word in words] + [(False, name) for name in visitors]
    if visitors:
        needles += [(False, visitors[0])] * (int(rng.integers(VISITS[0], VISITS[1] + 1)) - 1)
    stretch = duration / len(needles)
    found = []
    for number, i in enumerate(rng.permutation(len(needles))):
        length = round(float(rng.uniform(*_NEEDLE_S)), 1)
        start = number * stretch + float(rng.uniform(0, stretch - _APART_S))
        found.append((_inside(start, length, sets), needles[i]))
    return found


def _inside(start: float, length: float, sets: tuple[Set, ...]) -> Span:
    """The stretch that begins there, moved off the edges of its set."""
    low, high = sets[_set_at(sets, start)].span
    start = round(min(max(start, low + _FROM_EDGE_S), high - _FROM_EDGE_S - length), 1)
    return (start, round(start + length, 1))


def _set_at(sets: tuple[Set, ...], time_s: float) -> int:
    return bisect_right([one.span[0] for one in sets], time_s) - 1
