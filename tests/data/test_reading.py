"""What is asked about printed words is true, cannot be read off the conversation, and is evenly yes and no."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from sensorium.conversation import Conversation
from sensorium.data.records import Printed, PrintedWord, Scene
from sensorium.data.scenes.phrases import Phrases, placeholders
from sensorium.data.scenes.printed import cell_place
from sensorium.data.scenes.reading import ORDINALS, PHRASES, Reader
from sensorium.data.scenes.words import Words
from sensorium.grounding import Box, parse_grounded

POOL = Words.load().trained


def block(carrier: str, colour: str | None, lines: list[list[str]], x: int, y: int) -> Printed:
    words = tuple(
        tuple(
            PrintedWord(word, Box(left, top, left + 50, top + 20))
            for left, word in zip(range(x, 999, 60), line, strict=False)
        )
        for top, line in zip(range(y, 999, 30), lines, strict=False)
    )  # fmt: skip
    return Printed(carrier, colour, Box(x, y, x + 280, y + 250), "lato", 20, words)


def random_scene(number: int) -> Scene:
    """One or two cards of one to three words, a page of lines, or a page of words apart."""
    rng = np.random.default_rng(number)
    words = [POOL[int(i)] for i in rng.permutation(len(POOL))[:9]]
    if number % 3 == 0:
        two = rng.random() < 0.5
        cards = [block("card", "red", [[word] for word in words[: rng.integers(1, 4)]], 20, 20)]
        cards += [block("card" if rng.random() < 0.5 else "sign", "blue", [words[3:5]], 500, 500)] * two
        return Scene(f"{number:06d}", f"{number}.jpg", 320, 320, "b1", (), "cards", tuple(cards))
    if number % 3 == 1:
        printed = (block("page", None, [words[:3], words[3:5], words[5:6]], 100, 300),)
    else:
        corners = ((20, 20), (700, 20), (20, 700))
        printed = tuple(block("page", None, [[word]], *at) for word, at in zip(words[:3], corners, strict=True))
    return Scene(f"{number:06d}", f"{number}.jpg", 896, 896, "page", (), "page", printed)


SCENES = {scene.id: scene for scene in map(random_scene, range(240))}


@pytest.fixture(scope="module")
def turns():
    """(scene, turns so far in this conversation, question, answer)."""
    reader, found = Reader(POOL, seed=1), []
    for scene in SCENES.values():
        for row in reader.write(scene):
            assert row.task == "reading" and row.scene == scene.id
            talk = Conversation.from_json(row.messages)
            assert [image.source for image in talk.images] == [scene.image] and talk.messages[0].images
            texts = [message.text for message in talk]
            pairs = list(zip(texts[::2], texts[1::2], strict=True))
            found += [(scene, pairs[:i], q, a) for i, (q, a) in enumerate(pairs)]
    return found


def meant(scene: Scene, question: str) -> tuple[Printed, ...]:
    """The blocks that a question names."""
    named = re.search(r"the (?:(red|blue) )?(card|sign|page)", question, re.I)
    assert named, question
    return tuple(b for b in scene.printed if b.carrier == named[2].lower() and named[1] in (None, b.colour))


def test_every_answer_is_what_is_printed(turns):
    asked = Counter()
    for scene, _, question, answer in turns:
        low = question.lower()
        bare = quoted[1] if (quoted := re.search('"(.+?)"', answer)) else answer
        if answer.startswith("<ref>"):
            kind, [grounded] = "ground", parse_grounded(answer)
            [word] = [word for word in scene.words if f'"{word.text}"' in question]
            assert grounded.boxes == (word.box,) and f'"{word.text}"' in grounded.name
        elif re.match("(Yes|No)\\b", answer):
            kind, word = "find", re.search('"(.+?)"', question)[1]
            here = {word.text.lower() for b in meant(scene, question) for word in b.words}
            assert answer.startswith("Yes") == (word in here)
        elif boxes := re.findall(r"<box>.*</box>", question):
            kind, [grounded] = "region", parse_grounded(boxes[0])
            assert [w.text for w in scene.words if w.box in grounded.boxes] == [bare]
        elif "line" in low:
            kind, [of] = "line", meant(scene, question)
            [number] = [i for i, ordinal in enumerate(ORDINALS) if ordinal in low]
            assert " ".join(word.text for word in of.lines[number]) == bare
        elif re.search(f"({'|'.join(ORDINALS)}|last)", low):
            kind, [of] = "nth", meant(scene, question)
            number = -1 if "last" in low else next(i for i, ordinal in enumerate(ORDINALS) if ordinal in low)
            assert of.words[number].text == bare
        elif any(cell_place(b) in low for b in scene.printed) and len(scene.printed) > 1 and scene.kind == "page":
            kind, [of] = "at", [b for b in scene.printed if f"{cell_place(b)} of" in low]
            assert of.words[0].text == bare
        else:
            kind, [of] = "say", meant(scene, question)
            assert " ".join(word.text for word in of.words) == bare
        asked[kind] += 1
    assert min(asked[kind] for kind in ("say", "nth", "line", "at", "region", "find", "ground")) > 25


def spoken(text: str) -> set[str]:
    """The printed words that an answer speaks: those in quotation marks, or all of it."""
    return set(" ".join(re.findall('"(.+?)"', text) or [text]).lower().split())


def test_no_answer_was_given_away_before(turns):
    for _, before, _, answer in turns:
        if re.match("(Yes|No)\\b", answer) or answer.startswith("<ref>"):
            continue
        told = set().union(*(spoken(q if a.startswith("Yes") else a) for q, a in before if not a.startswith("No")))
        assert not spoken(answer) & told


def test_whether_a_word_is_there_is_evenly_yes_and_no(turns):
    said = [answer.startswith("Yes") for *_, answer in turns if re.match("(Yes|No)\\b", answer)]
    assert len(said) > 150 and 0.44 < np.mean(said) < 0.56


def test_two_cards_of_a_kind_are_told_apart_by_colour(turns):
    for scene, _, question, _ in turns:
        carriers = [b.carrier for b in scene.printed]
        if scene.kind == "cards" and re.search(r"\bthe (\w+ )?card\b", question, re.I):
            assert (carriers.count("card") == 2) == bool(re.search(r"the (red|blue) card", question, re.I))


def test_probes_ask_for_words_alone_and_are_true(turns):
    reader, seen = Reader(POOL, seed=1), Counter()
    for scene in SCENES.values():
        for probe in reader.probes(scene):
            seen[probe.subset] += 1
            texts = {word.text for word in scene.words}
            if probe.subset in ("reading_card", "reading_page"):
                assert (probe.subset == "reading_card") == (scene.kind == "cards")
                assert 1 <= len(probe.questions) <= 4
                for question, answer in probe.questions:
                    assert set(answer.split()) <= texts and " alone." in question
            elif probe.subset == "reading_find":
                words = [re.search('"(.+?)"', question)[1] for question, _ in probe.questions]
                assert [word in texts for word in words] == [True, False]
                assert [answer for _, answer in probe.questions] == ["Yes", "No"]
            else:
                assert probe.box in {w.box for w in scene.words if f'word "{w.text}"' == probe.name}
    assert seen["reading_card"] == 80 and seen["reading_page"] == 160
    assert seen["reading_find"] > 150 and seen["reading_box"] == 80


def test_a_word_is_asked_for_as_often_as_it_is_denied():
    """The same few words again and again: one that is mostly printed must not be mostly a yes."""
    pool = POOL[:12]
    reader, answers = Reader(pool, seed=3), Counter()
    for number in range(200):
        printed = (block("card", "red", [[pool[number % 4]]], 20, 20),)
        scene = Scene(f"{number:06d}", "x.jpg", 320, 320, "b1", (), "cards", printed)
        for row in reader.write(scene):
            texts = [message.text for message in Conversation.from_json(row.messages)]
            for question, answer in zip(texts[::2], texts[1::2], strict=True):
                if said := re.match("(Yes|No)\\b", answer):
                    answers[re.search('"(.+?)"', question)[1], said[1]] += 1
    frequent = pool[:4]
    yes, no = (sum(answers[word, said] for word in frequent) for said in ("Yes", "No"))
    assert yes > 20 and no > 0.4 * yes


def test_every_wording_can_be_filled_in():
    phrases = Phrases.load(PHRASES)
    words = {"the", "text", "word", "ordinal", "place", "box"}
    for key in phrases.lists:
        for wording in phrases.wordings(key):
            assert {name.lower() for name in placeholders(wording)} <= words
