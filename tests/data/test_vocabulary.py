"""The vocabulary: its English, its rules, and what it says when a row is wrong."""

from pathlib import Path

import pytest

from sensorium.data.scenes.vocabulary import Vocabulary
from sensorium.errors import SensoriumError


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load()


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "words.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "one", "plural"),
    [
        ("cat", "a cat", "cats"),
        ("apple", "an apple", "apples"),
        ("unicorn", "a unicorn", "unicorns"),
        ("hourglass", "an hourglass", "hourglasses"),
        ("mouse", "a mouse", "mice"),
        ("sheep", "a sheep", "sheep"),
        ("knife", "a knife", "knives"),
        ("person", "a person", "people"),
        ("scissors", "a pair of scissors", "pairs of scissors"),
        ("grapes", "a bunch of grapes", "bunches of grapes"),
        ("bread", "a loaf of bread", "loaves of bread"),
        ("TV", "a TV", "TVs"),
    ],
)
def test_english_speaks_of_one_and_of_many(vocabulary: Vocabulary, name: str, one: str, plural: str) -> None:
    assert vocabulary[name].one == one
    assert vocabulary[name].plural == vocabulary[name].counted(2) == plural
    assert vocabulary[name].counted(1) == one.split(" ", 1)[1]


def test_every_plural_differs_from_its_singular_but_for_the_words_english_leaves_alone(vocabulary: Vocabulary) -> None:
    alike = {entry.name for entry in vocabulary.entries if entry.plural == entry.counted(1)}
    assert alike <= {"moose", "deer", "sheep", "bison", "fish", "pufferfish", "jellyfish", "shrimp", "squid", "dice"}


def test_there_are_at_least_five_hundred_things_and_forty_held_out_in_many_categories(vocabulary: Vocabulary) -> None:
    held_out = [entry for entry in vocabulary.entries if entry.held_out]
    assert len(vocabulary) >= 500
    assert len(held_out) == 40
    assert len({entry.category for entry in held_out}) >= 10
    assert not any(entry.coco for entry in held_out)


def test_every_entry_names_at_least_two_drawings(vocabulary: Vocabulary) -> None:
    # One emoji name is drawn in many styles; files of the other collections count one each.
    few = [e.name for e in vocabulary.entries if not e.emoji and len(e.openclipart) + len(e.stamps) < 2]
    assert few == []


def test_confusion_goes_both_ways_and_a_thing_is_confusable_with_itself(vocabulary: Vocabulary) -> None:
    assert vocabulary.confusable("duck", "bird") and vocabulary.confusable("bird", "duck")
    assert vocabulary.confusable("cat", "cat")
    assert not vocabulary.confusable("cat", "dog")


def test_an_unknown_name_suggests_the_nearest(vocabulary: Vocabulary) -> None:
    with pytest.raises(SensoriumError, match="Did you mean `elephant`"):
        vocabulary["elefant"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("animal:\n  cat: {emojis: [cat]}\n", "animal.cat.emojis"),
        ("animal:\n  cat: {emoji: [cat]}\n  kitten: {emoji: [cat]}\n", "emoji cat belongs to cat already"),
        ("animal:\n  cat: {synonyms: [kitten]}\n  kitten: {}\n", "name kitten belongs to cat already"),
        ("animal:\n  cat: {like: [dgo]}\n  dog: {}\n", "no entry is called dgo. Did you mean `dog`"),
        ("animal: [\n", "not readable as YAML"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SensoriumError, match=message):
        Vocabulary.load(written(tmp_path, text))


def test_a_measure_an_article_and_a_plural_can_be_given(tmp_path: Path) -> None:
    text = "food:\n  rice: {measure: bowl}\n  ox: {plural: oxen}\n  milk: {article: some, plural: glasses of milk}\n"
    rice, ox, milk = Vocabulary.load(written(tmp_path, text)).entries
    assert (rice.one, rice.plural) == ("a bowl of rice", "bowls of rice")
    assert (ox.one, ox.plural) == ("an ox", "oxen")
    assert (milk.one, milk.plural) == ("some milk", "glasses of milk")
