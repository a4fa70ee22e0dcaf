"""What a clip's truth says is what its frames show, and films of a split keep to its rules."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from sensorium.data.films.casting import Caster
from sensorium.data.films.clips import KINDS, plot_clip
from sensorium.data.films.records import film_from_json
from sensorium.data.films.stage import Stage
from sensorium.data.scenes.compose import Casting
from sensorium.data.scenes.words import Words
from sensorium.errors import SensoriumError

SIZE, FPS = (96, 72), 8


@pytest.fixture(scope="module")
def casters(catalogue):
    return {split: Caster(catalogue, Casting.of(catalogue, split)) for split in ("train", "test_objects", "test_style")}


@pytest.fixture(scope="module")
def films(casters):
    return [plot_clip(casters["train"], n, SIZE, FPS, np.random.default_rng(n)) for n in range(80)]


def of_kind(films, kind):
    return [(film, one) for film in films for one in film.of(kind)]


def pixels(stage, time_s):
    return np.asarray(stage.frame(time_s)).astype(int)


class Track:
    """Where one actor of a film is, looked for in the frames: alone on its set, against the set without it."""

    def __init__(self, catalogue, film, name):
        alone = [actor for actor in film.actors if actor.name == name]
        self.shown, self.empty = (Stage(catalogue, replace(film, actors=tuple(actors), happenings=()))
                                  for actors in (alone, []))  # fmt: skip

    def __call__(self, time_s):
        """Its centre, (x, y) in pixels; None where nothing of it is to be seen."""
        changed = np.abs(pixels(self.shown, time_s) - pixels(self.empty, time_s)).sum(axis=2) > 40
        if not changed.any():
            return None
        y, x = np.nonzero(changed)
        return np.array([x.mean(), y.mean()])


def test_clips_last_four_to_twelve_seconds_and_one_thing_happens_after_the_other(films):
    for film in films:
        assert 4 <= film.duration_s <= 12 and 1 <= len(film.happenings) <= 3
        assert film.duration_s * FPS == round(film.duration_s * FPS)
        assert film.happenings[0].span[0] > 0.5 and film.happenings[-1].span[1] < film.duration_s
        assert all(b.span[0] - a.span[1] > 0.5 for a, b in pairwise(film.happenings))
    assert {one.kind for film in films for one in film.happenings} == set(KINDS)


def test_a_film_is_its_seed_and_is_read_as_it_was_written(casters, films):
    again = plot_clip(casters["train"], 5, SIZE, FPS, np.random.default_rng(5))
    assert again == films[5] != films[6]
    assert film_from_json(json.loads(json.dumps(films[5].to_json())), "row") == films[5]
    row = films[5].to_json() | {"fps": "many"}
    with pytest.raises(SensoriumError, match="row 3: fps"):
        film_from_json(row, "row 3")


def test_what_moves_goes_that_way(catalogue, films):
    for film, one in of_kind(films, "moves")[:6]:
        at = Track(catalogue, film, one.name)
        x, y = at(one.span[1] + 0.1) - at(one.span[0])
        said = {"left": x < -30, "right": x > 30, "up": y < -20, "down": y > 20}
        assert [way for way, is_so in said.items() if is_so] == list(one.detail)


def test_what_comes_in_was_not_there_and_comes_from_that_side(catalogue, films):
    for film, one in of_kind(films, "enters")[:6]:
        at = Track(catalogue, film, one.name)
        assert at(one.span[0]) is None and at(one.span[1]) is not None
        x, y = next(place for t in np.arange(*one.span, 0.1) if (place := at(t)) is not None) / SIZE
        edge = {"left": x, "right": 1 - x, "up": y, "down": 1 - y}
        assert min(edge, key=edge.__getitem__) == one.detail[0]


def test_what_leaves_was_there_and_goes_out_at_that_side(catalogue, films):
    for film, one in of_kind(films, "leaves")[:6]:
        at = Track(catalogue, film, one.name)
        assert at(one.span[0]) is not None and at(film.duration_s - 0.1) is None
        x, y = [place for t in np.arange(*one.span, 0.1) if (place := at(t)) is not None][-1] / SIZE
        edge = {"left": x, "right": 1 - x, "up": y, "down": 1 - y}
        assert min(edge, key=edge.__getitem__) == one.detail[0]


def test_jumps_are_as_many_as_said(catalogue, films):
    for film, one in of_kind(films, "jumps")[:6]:
        at = Track(catalogue, film, one.name)
        heights = [at(t)[1] for t in np.arange(0, film.duration_s, 0.1)]
        is_up = [height < max(heights) - 4 for height in heights]
        assert sum(later and not earlier for earlier, later in pairwise(is_up)) == int(one.detail[0])


def test_a_card_is_there_for_two_seconds_and_covers_the_middle(catalogue, films):
    for film, one in of_kind(films, "card")[:3]:
        stage, bare = Stage(catalogue, film), Stage(catalogue, replace(film, happenings=()))
        covered = [
            (np.abs(pixels(stage, t) - pixels(bare, t)).sum(axis=2) > 20).mean() > 0.1
            for t in np.arange(0, film.duration_s, 0.1)
        ]
        assert sum(covered) == pytest.approx(20, abs=1)
        assert one.span[1] - one.span[0] == pytest.approx(2)


def test_what_turns_has_the_new_colour_from_the_middle_on(catalogue, films):
    found = of_kind(films, "turns")
    assert found
    for film, one in found[:8]:
        middle = sum(one.span) / 2
        [actor] = [actor for actor in film.actors if actor.name == one.name]
        x, y = (round(share * side) for share, side in zip(actor.path[0][1:], SIZE, strict=True))
        before, after = (Stage(catalogue, film).frame(t).getpixel((x, y)) for t in (middle - 0.1, middle + 0.1))
        painted = {colour: nearest(colour) for colour in one.detail}
        assert np.abs(np.subtract(before, painted[one.detail[0]])).sum() < np.abs(
            np.subtract(before, painted[one.detail[1]])).sum()  # fmt: skip
        assert np.abs(np.subtract(after, painted[one.detail[1]])).sum() < np.abs(
            np.subtract(after, painted[one.detail[0]])).sum()  # fmt: skip


def nearest(colour):
    """What people paint when they are told a colour."""
    return {
        "red": (210, 20, 25), "orange": (245, 130, 20), "yellow": (245, 225, 40), "green": (40, 165, 45),
        "blue": (45, 90, 215), "purple": (120, 50, 165), "pink": (250, 140, 185), "brown": (115, 70, 35),
        "black": (30, 30, 30), "white": (242, 242, 242), "gray": (132, 132, 132),
    }[colour]  # fmt: skip


def test_nobody_is_covered_by_anybody(catalogue, films):
    """Every actor changes as many pixels as when it is alone, but for somebody's jump into the next lane."""
    for film in films[:10]:
        alone = [replace(film, actors=(actor,), happenings=()) for actor in film.actors]
        empty = pixels(Stage(catalogue, replace(film, actors=(), happenings=())), 0.0)
        shown = [np.abs(pixels(Stage(catalogue, one), 0.0) - empty).sum(axis=2) > 40 for one in alone]
        assert not np.any(np.sum(shown, axis=0) > 1)


def test_held_out_things_styles_backgrounds_and_words_stay_out_of_training(casters, films, catalogue):
    for film in films:
        assert not set(film.names) & {"yo-yo", "boat"}
        assert "held" not in {actor.style for actor in film.actors}
        assert {one.background for one in film.sets} <= {"b0", "b1"}
        assert {card.name.lower() for card in film.of("card")} <= set(Words.load().trained)
    for split, caster in casters.items():
        if split != "train":
            made = [plot_clip(caster, n, SIZE, FPS, np.random.default_rng(n)) for n in range(30)]
            assert {one.background for film in made for one in film.sets} == {"b2", "b3"}
            assert {card.name.lower() for film in made for card in film.of("card")} <= set(Words.load().held_out)
            if split == "test_objects":
                assert all(set(film.names) & {"yo-yo", "boat"} for film in made)
            else:
                assert {actor.style for film in made for actor in film.actors} == {"held"}


def test_films_and_printed_pictures_hold_out_the_same_words(casters):
    """Or a model that trains on both reads in the one what it is tested on in the other."""
    words = Words.load()
    assert {word.lower() for word in casters["train"].words}.isdisjoint(words.held_out)
    assert {word.lower() for word in casters["test_style"].words}.isdisjoint(words.trained)
