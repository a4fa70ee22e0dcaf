"""Long films: needles apart and at any place, a narrator, and questions with certificates."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from sensorium.data.films.casting import Caster
from sensorium.data.films.choices import Chooser
from sensorium.data.films.long import plot_long
from sensorium.data.films.narrator import as_srt, narration
from sensorium.data.scenes.compose import Casting
from sensorium.media.subtitles import read_subtitles


@pytest.fixture(scope="module")
def caster(catalogue):
    return Caster(catalogue, Casting.of(catalogue, "test_seen"))


@pytest.fixture(scope="module")
def films(caster):
    return [plot_long(caster, n, minutes, (64, 48), 1, np.random.default_rng((n, minutes)))
            for n in range(10) for minutes in (5, 10, 60)]  # fmt: skip


def test_needles_stay_for_moments_apart_from_each_other_and_within_a_set(films):
    for film in films:
        assert film.duration_s == 60 * film.minutes
        assert all(2.9 < one.span[1] - one.span[0] < 4.1 for one in film.happenings)
        assert all(later.span[0] > earlier.span[1] for earlier, later in pairwise(film.happenings))
        for one in film.happenings:
            assert any(start <= one.span[0] and one.span[1] <= end for start, end in (s.span for s in film.sets))
    places = [one.span[0] / film.duration_s for film in films for one in film.happenings]
    assert np.histogram(places, bins=5, range=(0, 1))[0].min() > len(places) / 10, "all over the film"


def test_sets_fill_the_film(films):
    for film in films:
        assert (film.sets[0].span[0], film.sets[-1].span[1]) == film.whole
        assert all(earlier.span[1] == later.span[0] for earlier, later in pairwise(film.sets))


def test_a_thing_that_is_a_needle_is_there_then_and_never_else(films):
    for film in films:
        spans = {name: [one.span for one in film.of("shows") if one.name == name] for name in film.names}
        for name, expected in spans.items():
            if expected:
                seen = [span for actor in film.actors if actor.name == name for span in actor.seen]
                assert sorted(seen) == expected


def test_subtitles_are_what_the_narrator_says_and_when(films):
    for film in films[:3]:
        lines = read_subtitles(as_srt(film.lines).encode())
        assert [(line.start_s, line.end_s, line.text) for line in lines] == [
            (*line.span, line.text) for line in film.lines
        ]
        assert all(later.span[0] > earlier.span[1] for earlier, later in pairwise(film.lines))
        told = [line for line in film.lines if line.fact]
        assert len(told) == 3 and all(line.fact[1] in line.text for line in told)


def test_the_narrators_file_leaves_three_wrong_answers_to_each_question():
    for fact in narration().facts.values():
        assert "{value}" in fact.line and len(set(fact.values)) >= 4


def test_every_answer_about_a_long_film_is_right(caster, films):
    chooser = Chooser(caster, 1)
    kinds = set()
    for film in films:
        cards, visits = film.of("card"), [one.name for one in film.of("shows")]
        for question in chooser.write(film):
            kinds.add(question.kind)
            right = question.options["ABCD".index(question.answer)]
            name = next((n for n in film.names if caster.catalogue.vocabulary[n].one in right.lower()), None)
            assert len(set(question.options)) == 4
            assert all(0 <= start < end <= film.duration_s for start, end in question.spans)
            if question.kind == "long_card":
                assert [option in {card.name for card in cards} for option in question.options].count(True) == 1
                assert (question.spans[0], right) in {(card.span, card.name) for card in cards}
            elif question.kind == "long_cards":
                assert int(right) == len(cards)
            elif question.kind in ("long_first", "long_last"):
                shown = [card.name for card in cards]
                assert right == shown[0 if question.kind == "long_first" else -1]
            elif question.kind == "long_visits":
                assert visits.count(max(visits, key=visits.count)) == int(right) == len(question.spans)
            elif question.kind == "long_shows":
                assert name in visits
            elif question.kind == "long_never":
                assert name is None and question.spans == (film.whole,)
            elif question.kind == "long_when":
                [card] = [card for card in cards if card.name in question.question.replace("?", "").split()]
                quarter = int(4 * card.span[0] / film.duration_s)
                assert ("first", "second", "third", "last")[quarter] in right and card.span == question.spans[0]
            elif question.kind == "said":
                [line] = [line for line in film.lines if line.span == question.spans[0]]
                assert line.fact[1].lower() in right.lower() and question.source == "said"
    assert {"long_card", "long_cards", "long_first", "long_last", "long_visits", "long_when", "said"} <= kinds


def test_whoever_is_asked_about_beside_a_card_is_not_behind_it(films):
    for film in films:
        needles = {one.name for one in film.of("shows")}
        residents = [actor for actor in film.actors if actor.name not in needles]
        assert len(residents) == len(film.sets)
        assert all(y != 0.5 for actor in residents for _, _, y in actor.path)


def test_a_catalogue_with_nobody_to_come_or_to_be_absent_leaves_questions_out(caster, films):
    film = films[0]
    cards_only = replace(film, happenings=film.of("card"))
    kinds = {one.kind for one in Chooser(caster, 1).write(cards_only)}
    assert "long_cards" in kinds and not kinds & {"long_shows", "long_never", "long_visits"}
    nobody_else = replace(caster, casting=replace(caster.casting, others=film.names))
    asked = Chooser(nobody_else, 1).write(film)
    assert asked and not {one.kind for one in asked} & {"long_shows", "long_never"}
    assert all(option for one in asked for option in one.options)
