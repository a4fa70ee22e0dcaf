"""What is asked about several pictures is true of them, evenly yes and no, and cannot be told from the words."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import pairwise, permutations

import numpy as np
import pytest

from sensorium.conversation import Conversation
from sensorium.data.check import check_dataset
from sensorium.data.dataset import Dataset
from sensorium.data.records import Scene
from sensorium.data.scenes.balance import Balance
from sensorium.data.scenes.phrases import Phrases, name_words, placeholders
from sensorium.data.scenes.several import PHRASES, SeveralWriter
from sensorium.data.scenes.several_probes import SeveralProber
from sensorium.rendering import Renderer

from .test_write import NAMES, NUMBERS, scene


def random_scene(number: int) -> Scene:
    """One to four kinds, one to three of each, of any size and one of three colours."""
    rng = np.random.default_rng(number)
    rows = []
    for name in rng.permutation(NAMES)[: rng.integers(1, 5)]:
        colour = ("red", "blue", "green")[rng.integers(3)]
        for _ in range((1, 1, 1, 2, 3)[rng.integers(5)]):
            x, y, side = (int(v) for v in rng.integers(100, 500, 3))
            rows.append((str(name), (x, y, x + side, y + side), colour))
    return scene(*rows, number=number)


SCENES = [random_scene(number) for number in range(300)]


@pytest.fixture(scope="module")
def writer(catalogue) -> SeveralWriter:
    return SeveralWriter(catalogue.vocabulary, SCENES, seed=1)


@pytest.fixture(scope="module")
def asked(writer):
    """(first scene, second scene, question) of every pair of neighbours."""
    rng, balance, found = np.random.default_rng(0), Balance(), []
    for a, b in pairwise(SCENES):
        for question in writer.ask(a, b, rng, balance):
            if question.claim:
                balance.take(question.claim, question.kind)
            found.append((a, b, question))
    return found


def chosen(answer: str) -> int:
    """Which picture an answer names, counted from 0."""
    [place] = [i for i, words in enumerate((("first", "1"), ("second", "2"), ("third", "3")))
               if any(word in answer for word in words)]
    return place


def area(of: Scene, name: str) -> int:
    return of.of(name)[0].box.area


def test_every_answer_is_true(asked):
    seen = Counter()
    for a, b, q in asked:
        counts = [of.counts.get(q.about, 0) for of in (a, b)]
        seen[q.kind] += 1
        if q.kind == "both":
            assert q.answer.startswith("Yes") == all(counts)
        elif q.kind == "which":
            assert counts[chosen(q.answer)] > 0 == counts[1 - chosen(q.answer)]
        elif q.kind == "more":
            assert counts[chosen(q.answer)] > counts[1 - chosen(q.answer)]
        elif q.kind == "sum":
            total = next((n for word, n in {**NUMBERS, "six": 6, "seven": 7}.items() if word in q.answer.lower()), None)
            assert total == sum(counts)
        elif q.kind == "larger":
            areas = [area(of, q.about) for of in (a, b)]
            assert areas[chosen(q.answer)] >= 1.6 * areas[1 - chosen(q.answer)]
        elif q.kind == "color":
            first, second = (of.of(q.about)[0].colour for of in (a, b))
            assert q.answer.startswith("Yes") == (first == second)
        else:
            assert q.kind == "common"
            for name in a.counts.keys() & b.counts.keys():
                assert name.rstrip("s") in q.answer
    assert min(seen[kind] for kind in ("both", "which", "more", "sum", "larger", "color", "common")) > 10


def test_what_may_be_called_by_a_name_is_not_denied(catalogue):
    """A duck is a bird: the vocabulary says so, and nobody is asked which picture has no bird."""
    duck = scene(("duck", (0, 0, 300, 300), "red"), number=0)
    bird = scene(("bird", (0, 0, 300, 300), "red"), ("car", (500, 500, 900, 900), "blue"), number=1)
    writer = SeveralWriter(catalogue.vocabulary, [duck, bird], seed=0)
    questions = [q for seed in range(50) for q in writer.ask(duck, bird, np.random.default_rng(seed), Balance())]
    assert {q.about for q in questions} == {"car"}


def test_the_odd_one_out_is_the_one_without(writer):
    three = [row for row in writer.write(600) if len(Conversation.from_json(row.messages).images) == 3]
    rows = [row for row in three if in_order(row) is None]
    by_image = {of.image: of for of in SCENES}
    places = Counter()
    for row in rows:
        talk = Conversation.from_json(row.messages)
        place = chosen(talk.messages[-1].text)
        shown = [by_image[image.source] for image in talk.images]
        common = set.intersection(*(set(of.counts) for i, of in enumerate(shown) if i != place))
        assert any(name not in shown[place].counts for name in common)
        places[place] += 1
    assert len(rows) > 30 and min(places.values()) > len(rows) / 6


def in_order(row) -> list[int] | None:
    """The places that an answer names, the smallest first; None where it is about something else."""
    numbers = re.findall(r"[Pp]icture (\d)", Conversation.from_json(row.messages).messages[-1].text)
    return [int(number) - 1 for number in numbers] if len(numbers) == 3 else None


def test_an_order_goes_from_small_to_large_in_plain_steps_and_every_order_is_as_likely(writer):
    by_image = {of.image: of for of in SCENES}
    rows = [(row, places) for row in writer.write(1500) if (places := in_order(row))]
    for row, places in rows:
        talk = Conversation.from_json(row.messages)
        shown = [by_image[talk.images[place].source] for place in places]
        [name] = [name for name in NAMES if name.split()[-1] in talk.messages[0].text]
        assert all(of.counts[name] == 1 for of in shown)
        areas = [area(of, name) for of in shown]
        assert areas[1] >= 1.6 * areas[0] and areas[2] >= 1.6 * areas[1]
    found = Counter(tuple(places) for _, places in rows)
    assert len(rows) > 80 and len(found) == 6 and max(found.values()) < len(rows) / 3


def test_no_blind_guess_of_an_order_is_better_than_another(writer):
    probes = [probe for probe in SeveralProber(writer).write() if probe.subset == "several_order"]
    truths = Counter(probe.questions[0][1] for probe in probes)
    orders = {" ".join(order) for order in permutations(("first", "second", "third"))}
    assert set(truths) == orders and len(probes) > 60 and max(truths.values()) - min(truths.values()) <= 2
    assert all(len(probe.images) == len(set(probe.images)) == 3 for probe in probes)


def test_of_what_may_be_called_by_a_name_no_order_is_asked(catalogue):
    """Where a duck stands beside the bird, "the bird" may be either."""
    sizes = ((0, 0, 100, 100), (0, 0, 300, 300), (0, 0, 900, 900))
    birds = [scene(("bird", box, "red"), number=number) for number, box in enumerate(sizes)]
    with_duck = scene(("bird", sizes[2], "red"), ("duck", (0, 0, 50, 50), "red"), number=2)
    for shown, is_asked in ((birds, True), ([*birds[:2], with_duck], False)):
        writer = SeveralWriter(catalogue.vocabulary, shown, seed=0)
        assert any(writer.order(0, np.random.default_rng(seed)) for seed in range(20)) == is_asked


def test_yes_is_half_of_the_answers_and_first_half_of_the_places(writer):
    rows = list(writer.write(2000))
    answers = [m.text for row in rows for m in Conversation.from_json(row.messages) if m.role == "assistant"]
    yes_no = [a.startswith("Yes") for a in answers if a.rstrip(".") in ("Yes", "No")]
    first = [chosen(a) == 0 for a in answers if "first" in a or "second" in a]
    assert len(yes_no) > 300 and 0.42 < np.mean(yes_no) < 0.58
    assert len(first) > 300 and 0.42 < np.mean(first) < 0.58


def test_pictures_stand_in_the_first_turn_and_are_sometimes_named(writer):
    named = 0
    for row in writer.write(200):
        talk = Conversation.from_json(row.messages)
        assert len(talk.images) in (2, 3)
        assert talk.images == talk.messages[0].images
        named += "Picture 1: " in talk.messages[0].text
    assert 40 < named < 120


def test_pictures_that_the_data_names_have_one_name_where_the_model_names_them_too(writer, tiny_model):
    named = Renderer(tiny_model.tokenizer, 1, named=True)
    for row in writer.write(60):
        talk = Conversation.from_json(row.messages)
        shown = named.tokenizer.decode(named.render(talk).ids)
        names = [f"Picture {number}: " for number in range(1, len(talk.images) + 1)]
        assert all(shown.count(name) == shown.count(f"{name}<img>") == 1 for name in names)


def test_the_same_seed_says_the_same(catalogue, writer):
    again = SeveralWriter(catalogue.vocabulary, SCENES, seed=1)
    other = SeveralWriter(catalogue.vocabulary, SCENES, seed=2)
    rows = [row.messages for row in writer.write(40)]
    assert rows == [row.messages for row in again.write(40)] != [row.messages for row in other.write(40)]


def test_every_wording_can_be_filled_in(catalogue):
    more = {"which": "first", "number": "1", "total": "five dogs", "common": "a dog"}
    more |= {"small": "2", "middle": "1", "large": "3"}
    words = {**name_words(catalogue.vocabulary, "car"), **more}
    phrases = Phrases.load(PHRASES)
    for key in phrases.lists:
        for wording in phrases.wordings(key):
            for name in placeholders(wording):
                assert name in words or name[0].lower() + name[1:] in words


def test_a_build_has_them_where_they_are_wanted(config):
    folder = config.build()
    before = (folder / "dataset.json").read_bytes()
    assert not list(Dataset(folder).conversations("train", ["several"]))
    wanted = config.model_copy(update={"several": 0.5})
    wanted.build()
    rows = list(Dataset(folder).conversations("train", ["several"]))
    assert 5 < len(rows) <= 15
    shown = [str(image.source) for row in rows for image in row.conversation().images]
    assert shown and all(source.startswith(str(folder / "train")) for source in shown)
    assert check_dataset(folder).is_good
    assert (folder / "dataset.json").read_bytes() != before
    config.build()
    assert json.loads((folder / "dataset.json").read_text())["splits"]["train"] == json.loads(before)["splits"]["train"]
