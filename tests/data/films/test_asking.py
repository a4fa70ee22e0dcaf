"""What is asked about clips is true, evenly yes and no, A to D, and tells which seconds one must see."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from sensorium.conversation import Conversation, Video
from sensorium.data.films.asking import CLAIMS, PHRASES, SIDES, TIMES, WAYS, ClipWriter
from sensorium.data.films.casting import Caster
from sensorium.data.films.choices import PER_CLIP, Chooser
from sensorium.data.films.clips import plot_clip
from sensorium.data.scenes.compose import Casting
from sensorium.data.scenes.facts import neighbours
from sensorium.data.scenes.phrases import Phrases


@pytest.fixture(scope="module")
def caster(catalogue):
    return Caster(catalogue, Casting.of(catalogue, "train"))


@pytest.fixture(scope="module")
def films(caster):
    return [plot_clip(caster, n, (96, 72), 8, np.random.default_rng(n)) for n in range(250)]


@pytest.fixture(scope="module")
def asked(caster, films):
    """(film, claim) of many claims, in the order of a build."""
    writer, rng = ClipWriter(caster, 1), np.random.default_rng(0)
    return [(film, claim) for film in films for _ in range(4) if (claim := writer.claim(film, rng))]


def clause_of(film, words):
    """The happening that "the ball jumps" tells of."""
    verbs = {"moves": "moves", "comes in": "enters", "leaves": "leaves", "jumps": "jumps", "changes": "turns"}
    if "a card appears" in words:
        return film.of("card")[0]
    [kind] = [kind for verb, kind in verbs.items() if verb in words]
    [one] = [one for one in film.of(kind) if re.search(rf"\b{one.name}\b", words)]
    return one


def truth(film, claim):
    """Read again from the question's words alone."""
    kind, question = claim.kind.rstrip("?"), claim.question
    if kind == "order":
        first, second = re.search(r"[Ff]irst (.*?),? (?:and )?(?:then|after that) (.*?)[?.]", question).groups()
        return clause_of(film, first).span < clause_of(film, second).span
    named = [one for one in film.of(kind) if kind == "card" or re.search(rf"\b{one.name}\b", question)]
    if kind in ("enters", "leaves"):
        return bool(named)
    [one] = named
    if kind == "card":
        return one.name in question
    if kind == "moves":
        return re.search(rf"\b{WAYS[one.detail[0]]}\b", question) is not None
    if kind == "turns":
        return re.search(rf"\b{one.detail[1]}\b", question) is not None
    return TIMES[int(one.detail[0])] in question or re.search(rf"jumps {one.detail[0]}\b", question) is not None


def test_yes_is_said_of_what_is_true_and_no_of_what_is_not(asked):
    for film, claim in asked:
        assert claim.answer.startswith("Yes" if truth(film, claim) else "No"), claim


def test_each_kind_of_question_is_answered_yes_half_of_the_time(asked):
    said = Counter((claim.kind, claim.answer[0]) for _, claim in asked)
    for kind in CLAIMS:
        yes, no = said[f"{kind}?", "Y"], said[f"{kind}?", "N"]
        # Of a deck of 32 the last may be open. Nobody else may be there who could stay, so leaving may wait for its no.
        assert yes + no > 30 and abs(yes - no) <= 16, (kind, yes, no)


def test_no_direction_number_or_color_is_a_likelier_yes(asked):
    words = [*WAYS.values(), "once", "twice", "three times", "four times"]
    for word in words:
        said = Counter(claim.answer[0] for _, claim in asked
                       if re.search(rf"\b{word}\b", claim.question) and claim.kind in ("moves?", "jumps?"))  # fmt: skip
        assert abs(said["Y"] - said["N"]) < 4 * (said.total() ** 0.5), (word, said)


def told_by(writer, kind, one):
    """What an answer of that kind must say of a happening."""
    if kind in ("card", "enters", "leaves", "turns_who"):
        return one.name
    if kind == "order":
        return writer.clause(one)
    if kind in ("turns", "turns_old"):
        return one.detail[kind == "turns"]
    said = {"moves": WAYS, "enters_side": SIDES, "leaves_side": SIDES}.get(kind)
    return said[one.detail[0]] if said else TIMES[int(one.detail[0])]


def test_open_answers_tell_what_happens(caster, films):
    writer, rng = ClipWriter(caster, 1), np.random.default_rng(0)
    seen = Counter()
    for film in films:
        turn = writer.open(film, rng)
        seen[turn.kind] += 1
        happenings = [one for one in film.happenings if one.key in turn.about]
        assert told_by(writer, turn.kind, min(happenings, key=lambda one: one.span)) in turn.answer
        assert turn.spans == tuple(one.span for one in happenings)
    assert len(seen) == 11


def test_conversations_show_the_clip_once_and_certify_each_question(caster, films):
    writer = ClipWriter(caster, 1)
    for film in films[:60]:
        for row, spans in writer.write(film, 2):
            conversation = Conversation.from_json(row.messages)
            videos = [part for message in conversation for part in message.parts if isinstance(part, Video)]
            assert [video.source for video in videos] == [film.video]
            assert len(spans) == len(conversation.messages) // 2
            assert all(0 <= start < end <= film.duration_s for of in spans for start, end in of)
            texts = [message.text for message in conversation]
            assert not any("{" in text or "  " in text for text in texts)
            assert all(text[0].isupper() for text in texts)


def test_four_options_have_one_right_answer_and_every_letter_its_share(caster, films):
    chooser = Chooser(caster, 1)
    letters, kinds = Counter(), set()
    for film in films:
        questions = chooser.write(film)
        assert len(questions) <= PER_CLIP
        for question in questions:
            right = question.options["ABCD".index(question.answer)]
            letters[question.answer] += 1
            kinds.add(question.kind)
            assert len(set(question.options)) == 4
            if question.kind in ("after", "before"):
                spans = [clause_of(film, right[0].lower() + right[1:]).span]
                given, expected = question.spans
                assert spans == [expected] and (expected > given) == (question.kind == "after")
                between = [one for one in film.happenings if min(given, expected) < one.span < max(given, expected)]
                assert not between
            elif question.kind in ("enters", "leaves", "turns_who"):
                kind = question.kind.removesuffix("_who")
                done = [caster.catalogue.vocabulary[one.name].one for one in film.of(kind)]
                assert [option[:-1].lower() in done for option in question.options].count(True) == 1
                assert right[:-1].lower() in done
            else:
                [one] = [one for one in film.happenings if one.span == question.spans[0]]
                assert told_by(chooser.writer, question.kind, one).lower() in right.lower()
    assert len(kinds) >= 10
    total = letters.total()
    assert all(abs(letters[letter] / total - 0.25) < 0.06 for letter in "ABCD"), letters


def test_colours_to_choose_from_are_all_plainly_told_apart(caster, films):
    """If only the right one were, it could be told without looking."""
    chooser = Chooser(caster, 1)
    asked = [one for film in films for one in chooser.write(film) if one.kind in ("turns", "turns_old")]
    assert len(asked) > 10
    for question in asked:
        colours = [option[:-1].lower() for option in question.options]
        assert not any(neighbours(one, other) for one, other in combinations(colours, 2))


def test_options_are_all_held_out_or_none_is(catalogue):
    """Whoever knows which names training never said must not learn from that which option is wrong."""
    held_out = Caster(catalogue, Casting.of(catalogue, "test_objects"))
    lead = {catalogue.vocabulary[name].one for name in held_out.casting.lead}
    films = [plot_clip(held_out, n, (96, 72), 8, np.random.default_rng(n)) for n in range(60)]
    chooser = Chooser(held_out, 1)
    asked = [one for film in films for one in chooser.write(film) if one.kind in ("enters", "leaves", "turns_who")]
    assert asked
    for question in asked:
        assert len({option[:-1].lower() in lead for option in question.options}) == 1


def test_a_card_that_appears_is_right_as_often_as_any_option(caster, films):
    chooser = Chooser(caster, 1)
    asked = [one for film in films for one in chooser.write(film) if one.kind in ("after", "before")]
    offered = [one for one in asked if "A card appears." in one.options]
    right = [one for one in offered if one.options["ABCD".index(one.answer)] == "A card appears."]
    assert len(offered) > 50 and abs(len(right) / len(offered) - 0.25) < 0.1


def test_every_question_has_several_wordings_all_different():
    phrases = Phrases.load(PHRASES)
    for key in phrases.lists:
        wordings = phrases.wordings(key)
        assert len(set(wordings)) == len(wordings)
        assert len(wordings) >= 2 or not key.endswith((".question", ".claim"))
