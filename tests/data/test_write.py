"""What is said about a scene is true, well put, and worth nothing to those who do not look."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.conversation import Conversation
from sensorium.data.check import question_kind
from sensorium.data.records import COLOURS, Scene, SceneObject
from sensorium.data.scenes.balance import Balance
from sensorium.data.scenes.claims import KINDS, Asker
from sensorium.data.scenes.facts import Facts, between, neighbours
from sensorium.data.scenes.phrases import Phrases, joined, name_words, placeholders, things
from sensorium.data.scenes.probes import Prober
from sensorium.data.scenes.questions import OPEN, Speaker, Talk
from sensorium.data.scenes.write import CHAT, DRILL, PLACES, Writer
from sensorium.errors import SensoriumError
from sensorium.grounding import Box, parse_grounded

NAMES = ("ball", "kite", "drum", "car", "truck", "airplane", "scissors", "axe", "bird")
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}


def scene(*things: tuple[str, tuple[int, int, int, int], str | None], number: int = 0) -> Scene:
    objects = tuple(SceneObject(name, Box(*box), colour, f"d-{name}", "plain") for name, box, colour in things)
    return Scene(f"{number:06d}", f"images/00/{number:06d}.jpg", 320, 240, "b1", objects)


def random_scene(number: int) -> Scene:
    rng = np.random.default_rng(number)
    rows = []
    for name in rng.permutation(NAMES)[: rng.integers(1, 5)]:
        colour = [*COLOURS, None][rng.integers(12)]
        for _ in range((1, 1, 1, 2, 3)[rng.integers(5)]):
            x, y = (int(v) for v in rng.integers(0, 750, 2))
            rows.append((str(name), (x, y, x + 200, y + 200), colour))
    return scene(*rows, number=number)


@pytest.fixture(scope="module")
def speaker(catalogue):
    return lambda targets=(): Speaker(
        catalogue.vocabulary, Phrases.load(), Asker(catalogue.vocabulary, NAMES, frozenset(targets), Balance())
    )


@pytest.fixture(scope="module")
def talks(speaker):
    writer, driller, of_places = (Writer(speaker(), seed=1) for _ in range(3))
    scenes = map(random_scene, range(500))
    rows = [(s, (*writer.write(s), driller.drill(s), of_places.places(s))) for s in scenes]
    return [(s, row) for s, of_scene in rows for row in of_scene if row]


@pytest.fixture(scope="module")
def turns(talks):
    """(scene, task, question, answer) of every turn."""
    rows = []
    for s, row in talks:
        texts = [message.text for message in Conversation.from_json(row.messages)]
        rows.extend((s, row.task, q, a) for q, a in zip(texts[::2], texts[1::2], strict=True))
    return rows


def test_a_scene_has_one_caption_two_chats_of_three_to_six_turns_and_two_drills(talks):
    turns_of = {"caption": (1, 2), "chat": (3, 4, 5, 6), "drill": range(1, DRILL.turns[1] + 1),
                "places": range(1, PLACES.turns[1] + 1)}
    tasks = Counter(row.task for _, row in talks)
    comparable = sum(len(Facts(s).relations) >= 4 for s in map(random_scene, range(500)))  # two pairs, both ways round
    assert 50 < comparable < 450
    assert tasks == {"places": comparable, "caption": 500, "chat": 1000, "drill": 500}
    for s, row in talks:
        conversation = Conversation.from_json(row.messages)
        assert [image.source for image in conversation.images] == [s.image]
        assert conversation.messages[0].images, "the picture is in the first turn"
        assert len(conversation.messages) // 2 in turns_of[row.task]


def test_a_drill_is_long_asks_of_attributes_alone_and_rarely_of_what_is_absent(turns):
    drills = [(q, a) for _, task, q, a in turns if task == "drill"]
    assert len(drills) > 500 * 5
    assert sum(a.startswith(("There is no ", "There are no ")) for _, a in drills) < 0.15 * len(drills)
    existence = re.compile(rf"Is there an? ({'|'.join(NAMES)}) ")  # "Is there a red ball" asks of its color
    assert not any("<box>" in a or existence.match(q) for q, a in drills)


def test_the_drill_of_places_asks_where_things_are_and_tells_relations_as_often_as_it_asks_them(turns):
    asked = [(q, a) for _, task, q, a in turns if task == "places"]
    yes_or_no = [a for _, a in asked if a.startswith(("Yes", "No"))]
    told = [a for _, a in asked if re.search(r" is (to the (left|right) of|above|below) the ", a)]
    assert min(len(yes_or_no), len(told)) > 100
    assert abs(sum(a.startswith("Yes") for a in yes_or_no) / len(yes_or_no) - 0.5) < 0.05
    assert not any(re.search(r"colou?r|[Hh]ow many|[Aa]re there", q) for q, _ in asked)


def test_a_drill_asks_nothing_twice(talks):
    for _, row in talks:
        if row.task == "drill":
            texts = [m.text for m in Conversation.from_json(row.messages)]
            pronoun = re.compile(r"\b(it|they|its|their)\b")
            colours = [q for q in texts[::2] if re.search(r"colou?r", q) and not pronoun.search(q)]
            assert len(set(colours)) == len(colours)


def test_the_same_seed_writes_the_same_words(speaker):
    first, second = (
        [row.to_json() for n in range(20) for row in Writer(speaker(), seed=7).write(random_scene(n))] for _ in "ab"
    )
    assert first == second


def test_yes_and_no_are_even_in_every_kind_and_for_every_subject(speaker):
    speak = speaker()
    writer = Writer(speak, seed=2)
    for number in range(500):
        list(writer.write(random_scene(number)))
    balance = speak.asker.balance
    for name in NAMES:
        assert abs(balance.surplus("existence", name)) <= 6
    for number in (1, 2, 3, 4, 5):
        assert abs(balance.surplus("count", number)) <= 4
    for colour in COLOURS:
        assert abs(balance.surplus("color", colour)) <= 4
    for relation in ("left", "right", "above", "below"):
        assert abs(balance.surplus("position", relation)) <= 4


def test_a_first_question_is_no_likelier_to_be_a_yes_than_a_later_one(talks):
    said = Counter()
    for _, row in talks:
        if row.task == "chat":
            texts = [message.text for message in Conversation.from_json(row.messages)]
            for turn, (question, answer) in enumerate(zip(texts[::2], texts[1::2], strict=True)):
                if question_kind(question) == "existence" and answer in ("Yes", "No"):
                    said[turn, answer] += 1
    for turn in range(3):
        assert abs(said[turn, "Yes"] / (said[turn, "Yes"] + said[turn, "No"]) - 0.5) < 0.1


def test_answers_are_half_yes(turns):
    said = Counter(a for _, task, _, a in turns if task == "chat" and a in ("Yes", "No"))
    assert sum(said.values()) > 800
    assert abs(said["Yes"] / sum(said.values()) - 0.5) < 0.04


def test_the_wording_of_mme_is_the_most_frequent_single_form(turns):
    mme = re.compile(r"Is there (an?|a pair of) [\w-]+ in this image\? Please answer yes or no\.")
    shapes = Counter(
        "mme" if mme.fullmatch(q) else re.sub("|".join([*NAMES, *COLOURS]), "·", q)
        for _, task, q, _ in turns
        if task == "chat"
    )
    assert shapes.most_common(1)[0][0] == "mme"


def test_existence_questions_are_answered_truly(turns):
    pattern = re.compile(r"Is there (?:an?|a pair of) ([\w-]+) in this image\? Please answer yes or no\.")
    asked = [(s, m[1], a) for s, _, q, a in turns if (m := pattern.fullmatch(q))]
    assert len(asked) > 200
    for s, name, answer in asked:
        assert answer == ("Yes" if name in s.counts else "No")


def test_counts_are_answered_truly(turns, catalogue):
    plurals = {catalogue.vocabulary[name].plural: name for name in NAMES}
    asked = 0
    for s, _, q, a in turns:
        if match := re.fullmatch(rf"Are there ({'|'.join(NUMBERS)}) (.+) in this image\? Please answer yes or no\.", q):
            asked += 1
            assert a == ("Yes" if s.counts[plurals[match[2]]] == NUMBERS[match[1]] else "No"), (q, a)
        if match := re.fullmatch(r"How many (?!of them)(.+) are there\?", q):
            count = s.counts.get(plurals[match[1]], 0)
            word = next((word for word, n in NUMBERS.items() if n == count), "no")
            assert re.match(rf"There (is|are) {word} ", a), (q, a)
            asked += 1
    assert asked > 50


def test_colours_are_answered_truly(turns):
    asked = 0
    for s, _, q, a in turns:
        match = re.fullmatch(r"Is the ([\w-]+) (\w+)\? Please answer yes or no\.", q)
        if match and match[2] in COLOURS:
            asked += 1
            colour = s.of(match[1])[0].colour
            assert a == ("Yes" if colour == match[2] else "No")
            assert not neighbours(colour, match[2])
    assert asked > 20


def test_relations_are_answered_truly(turns):
    asked = 0
    pattern = re.compile(r"Is the ([\w ]+) (?:on|to) the (left|right)(?: side)? of the ([\w ]+?)(?: in the \w+)?\?.*")
    for s, _, q, a in turns:
        match = pattern.fullmatch(q)
        if match and match[3] not in ("image", "picture", "photo"):
            asked += 1
            names = (name.removeprefix("pair of ") for name in match.group(1, 3))
            x, other = ((thing.box.x1 + thing.box.x2) / 2 for name in names for thing in s.of(name))
            assert abs(x - other) >= 150
            assert a.split(",")[0] == ("Yes" if (x < other) == (match[2] == "left") else "No")
    assert asked > 20


def test_a_caption_names_every_kind_with_its_count(turns, catalogue):
    for s, task, _, a in turns:
        if task == "caption" and "<box>" not in a:
            for name, count in s.counts.items():
                entry = catalogue.vocabulary[name]
                assert entry.counted(count) in a, (name, a)


def test_boxes_in_answers_are_those_of_the_scene_in_hundredths(turns, catalogue):
    spoken = {entry.counted(n): entry.name for entry in catalogue.vocabulary.entries for n in (1, 2)}
    found = 0
    for s, _, _, a in turns:
        for grounded in parse_grounded(a):
            name = spoken[grounded.name.removeprefix("the ")]
            true = [thing.box.corners for thing in s.of(name)]
            assert len(grounded.boxes) == len(true)
            for box in grounded.boxes:
                assert all(corner % 10 == 0 for corner in box.corners)
                assert any(max(abs(x - y) for x, y in zip(box.corners, of, strict=True)) <= 9 for of in true)
            found += 1
    assert found > 100


def test_no_placeholder_and_no_clumsy_article_is_left(turns):
    for _, _, q, a in turns:
        for text in (q, a):
            assert "{" not in text and "  " not in text
            assert not re.search(r"\ba [aeiou](?!ne-)", text, re.I) and not re.search(r"\ban [^aeiou]", text, re.I), (
                text
            )
            assert text[0].isupper() or text[0] in "<0123456789"
            assert not re.search(r"\b(one|a) (balls|kites|cars)\b|\b(two|three) (ball|kite|car)\b", text)


def test_what_was_said_is_not_asked_again(talks):
    for _, row in talks:
        questions = [m.text for m in Conversation.from_json(row.messages) if m.role == "user"]
        if row.task == "chat" and not any("it" in q.split() or "they" in q for q in questions):
            existence = [q for q in questions if q.startswith("Is there a")]
            assert len(set(existence)) == len(existence)


def test_every_list_has_enough_wordings_and_only_known_placeholders(catalogue):
    phrases = Phrases.load()
    known = {*name_words(catalogue.vocabulary, "ball"), *name_words(catalogue.vocabulary, "ball", 1, "other_")}
    known |= {
        "picture",
        "colour_word",
        "asked_n",
        "asked_things",
        "only",
        "color",
        "a_color",
        "true_color",
        "box",
        "list",
    }
    known |= {"relation", "true_relation", "side", "place", "true_place"}
    for key in phrases.lists:
        for wording in phrases.wordings(key):
            assert {name[0].lower() + name[1:] for name in placeholders(wording)} <= known, wording
        if key.endswith(".question"):
            assert len(set(phrases.wordings(key))) >= 8, key
    with pytest.raises(SensoriumError, match=r"existence\.mme"):
        phrases.wordings("existence.mne")


def test_every_kind_of_turn_has_its_function():
    assert set(CHAT.shares) == {f"{kind}?" for kind in KINDS} | set(OPEN)
    assert set(DRILL.shares) < set(CHAT.shares)
    for course in (CHAT, DRILL):
        assert {kind.removesuffix("?") for kind in course.follow_ups} <= set(OPEN)


def test_english_of_lists_and_numbers(catalogue):
    v = catalogue.vocabulary
    assert joined(["a dog"]) == "a dog"
    assert joined(["a dog", "a cat", "a car"]) == "a dog, a cat and a car"
    assert things(v, "axe", 1) == "an axe"
    assert things(v, "axe", 1, "red") == "a red axe"
    assert things(v, "ball", 1, "orange") == "an orange ball"
    assert things(v, "scissors", 2) == "two pairs of scissors"
    assert things(v, "ball", 1, numeral=True) == "one ball"


@given(st.lists(st.integers(0, 800), min_size=4, max_size=4))
def test_relations_are_opposite_from_the_other_side(corners):
    x, y, u, v = corners
    a, b = Box(x, y, x + 150, y + 150), Box(u, v, u + 150, v + 150)
    opposite = {"left": "right", "right": "left", "above": "below", "below": "above", None: None}
    assert between(a, b) == opposite[between(b, a)]
    if between(a, b) == "left":
        assert u - x >= 150 and u - x >= abs(v - y)


def test_doubtful_facts_are_left_out():
    s = scene(
        ("ball", (100, 100, 200, 200), "red"),
        ("ball", (400, 700, 500, 800), "blue"),
        ("kite", (320, 320, 420, 420), "green"),
        ("car", (420, 430, 520, 530), None),
        ("axe", (0, 800, 100, 900), "gray"),
    )
    facts = Facts(s)
    assert facts.colours == {"kite": "green", "axe": "gray"}
    assert facts.place("kite") is None
    assert facts.place("axe") == "in the bottom left"
    assert facts.place("ball") is None
    assert ("kite", "car") not in facts.relations
    assert facts.only_coloured("green") is None, "the car may be green too"


def test_probes_ask_yes_then_no_in_mmes_words_and_only_about_targets(speaker, catalogue):
    vocabulary = catalogue.vocabulary
    speak = Speaker(
        vocabulary,
        Phrases.load(),
        Asker(vocabulary, (*NAMES, "boat", "yo-yo"), frozenset(["boat", "yo-yo"]), Balance()),
    )
    s = scene(
        ("boat", (50, 100, 250, 300), "red"),
        ("car", (700, 120, 900, 320), "blue"),
        ("ball", (400, 700, 500, 800), None),
    )
    probes = {probe.subset: probe for probe in Prober(speak, 0, {}).write(s)}
    assert set(probes) == {"existence", "count", "position", "color", "caption", "grounding"}
    for kind in KINDS:
        (yes, yes_answer), (no, no_answer) = probes[kind].questions
        assert (yes_answer, no_answer) == ("Yes", "No")
        assert yes.endswith("Please answer yes or no.") and "boat" in yes
        assert "boat" in no or (kind == "existence" and "yo-yo" in no)
    assert probes["count"].questions[0][0] == "Is there only one boat in this image? Please answer yes or no."
    assert set(probes["caption"].objects) == {"boat", "car", "ball"}
    assert (probes["grounding"].name, probes["grounding"].box) == ("boat", Box(50, 100, 250, 300))


def test_an_absent_name_is_never_one_that_might_be_said_of_what_is_there(catalogue):
    asker = Asker(catalogue.vocabulary, (*NAMES, "duck"), frozenset(), Balance())
    facts = Facts(scene(("bird", (0, 0, 99, 99), None)), shows=("drum",))
    for seed in range(30):
        names = asker.absent_names(facts, np.random.default_rng(seed))
        assert names and not {"bird", "duck", "drum"} & set(names)


def test_it_follows_what_was_asked_before(speaker):
    facts = Facts(scene(("car", (0, 0, 300, 300), "red")))
    questions = set()
    for seed in range(60):
        talk = Talk(facts, focus="car", last="existence")
        turn = OPEN["color"](speaker(), talk, np.random.default_rng(seed))
        questions.add(turn.question)
        if " it" in turn.question and "the car" not in turn.question:
            assert turn.answer == "It is red."
    assert any("color is it?" in q for q in questions) and any("colour is it?" in q for q in questions)
