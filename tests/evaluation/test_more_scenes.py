"""Several pictures, printed words and small things have subsets of their own; folders without are as they were."""

from __future__ import annotations

import json

import pytest

from sensorium.data.records import SEVERAL_SUBSETS, Probe, probe_from_json
from sensorium.errors import SensoriumError
from sensorium.evaluation import Report, evaluate_scenes
from sensorium.evaluation.benchmarks.scenes_truth import Absent
from sensorium.evaluation.scenes import grey_picture
from sensorium.grounding import Box
from sensorium.media import image_size, open_image


@pytest.fixture
def wider(dataset):
    """The three pictures asked about in pairs, as if words were on them, and for small things."""
    folder = dataset.root / "test_seen"
    images = [f"images/{number:06d}.png" for number in range(3)]
    yes_no = (("Is there a dog? Please answer yes or no.", "Yes"), ("Is there a boat? Please answer yes or no.", "No"))

    def probe(number: int, subset: str, *questions: tuple[str, str], others: tuple[str, ...] = ()) -> Probe:
        return Probe(f"{number:06d}-{subset}", f"{number:06d}", images[number], subset, questions, others=others)

    probes = [
        probe(0, "several_which", ("Which picture shows a car?", "second"), others=(images[1],)),
        probe(1, "several_which", ("Which picture shows a boat?", "first"), others=(images[2],)),
        probe(2, "several_which", ("Which picture shows a cat?", "second"), others=(images[1],)),
        probe(0, "several_odd", ("Which of the three has no cat?", "first"), others=tuple(images[1:])),
        probe(0, "reading_card", ("What does the card say?", "Harbor"), ("What is the second word?", "Light")),
        probe(1, "reading_card", ("What does the card say?", "kite")),
        probe(0, "small_existence", *yes_no),
        probe(0, "reading_find", *yes_no),
        Probe("000002-reading_box", "000002", images[2], "reading_box", name='word "kite"', box=Box(0, 0, 499, 499)),
    ]
    with (folder / "probes.jsonl").open("a") as file:
        file.writelines(json.dumps(row.to_json()) + "\n" for row in probes)
    return dataset


def replies(question: str, colour: object) -> str:
    if question.startswith("Which picture"):
        return "The second one."
    if question.startswith("Which of"):
        return "Picture 1."
    if question.startswith("What does"):
        return "harbor"
    if question.startswith("Where is the word"):
        return "<box>(0,0),(499,499)</box>"
    return "Yes"


def test_each_is_scored_by_its_rule_beside_its_chance(wider, engine_of):
    engine = engine_of(replies)
    found = evaluate_scenes(engine, wider, "test_seen")
    which, odd, card = found["several_which"], found["several_odd"], found["reading_card"]
    assert (which.questions, which.share.value, which.unparsed) == (3, pytest.approx(2 / 3), 0)
    assert odd.share.value == 1
    # Harbor is right; "Yes" is no second word, and "harbor" is not what the other card says.
    assert (card.pictures, card.questions, card.share.value) == (2, 3, pytest.approx(1 / 3))
    assert found["small_existence"].score.value == found["reading_find"].score.value == 50
    assert found["reading_box"].share.value == 1
    together = found["several"]
    assert (together.questions, together.share.value) == (4, 0.75)
    assert found.chance["several_which"] == pytest.approx(2 / 3)
    assert found.chance["several"] == pytest.approx((3 * 2 / 3 + 1 * 1) / 4)
    assert found.chance["small_existence"] == 75
    assert set(found.scores) & set(SEVERAL_SUBSETS) == {"several_which", "several_odd"}


def test_all_pictures_are_shown_in_their_order_and_blind_all_are_grey(wider, engine_of):
    engine = engine_of(replies)
    evaluate_scenes(engine, wider, "test_seen")
    [pair] = [c for c in engine.asked if c.messages[0].text == "Which picture shows a cat?"]
    assert [open_image(image).getpixel((5, 5)) for image in pair.images] == [(0, 0, 200), (0, 200, 0)]
    assert [len(c.images) for c in engine.asked if "three" in c.messages[0].text] == [3]
    blind = engine_of(replies)
    evaluate_scenes(blind, wider, "test_seen", blind=True)
    [pair] = [c for c in blind.asked if c.messages[0].text == "Which picture shows a cat?"]
    assert [image_size(image) for image in pair.images] == [(40, 30), (30, 40)]
    assert [image.source for image in pair.images] == [grey_picture(40, 30), grey_picture(30, 40)]


def test_the_table_has_a_row_for_each_and_says_what_chance_is(wider, engine_of):
    report = Report({"name": "m"}, {"name": "d"})
    report.add(evaluate_scenes(engine_of(replies), wider, "test_seen"))
    rows = {row[1]: row for row in report.rows()}
    assert rows["several which (right)"][2] == "0.67" and rows["several which (right)"][5] == "0.67"
    assert {"reading card (right)", "reading find (of 200)", "reading box (IoU ≥ 0.5)", "several (right)"} <= set(rows)
    assert "short answers, always giving the most frequent" in report.markdown()
    assert report.to_json()["splits"]["test_seen"]["seen"]["several"]["questions"] == 4


def test_a_folder_without_them_is_reported_as_before(dataset, seeing):
    report = Report({"name": "m"}, {"name": "d"})
    report.add(evaluate_scenes(seeing, dataset, "test_seen"))
    assert set(report.to_json()["chance_means"]) == {"questions", "caption", "grounding"}
    assert {row[1] for row in report.rows()} == {
        "existence (of 200)", "count (of 200)", "caption (F1)", "grounding (IoU ≥ 0.5)",
    }  # fmt: skip


@pytest.mark.parametrize(("change", "said"), [
    ({"questions": []}, "at least one"),
    ({"questions": [{"question": "What?", "answer": ""}]}, "each with an answer"),
    ({"subset": "several_wich"}, "several_which"),
])  # fmt: skip
def test_bad_probes_are_named(change, said):
    row = {"id": "1", "scene": "1", "image": "1.jpg", "subset": "several_which", "others": ["2.jpg"],
           "questions": [{"question": "Which?", "answer": "first"}]}  # fmt: skip
    assert probe_from_json(row, "row").images == ("1.jpg", "2.jpg")
    with pytest.raises(SensoriumError, match=said):
        probe_from_json({**row, **change}, "row")


def test_where_no_picture_shows_a_thing_no_name_is_absent(dataset):
    from random import Random

    absent = Absent(dataset.scenes("test_seen"))  # whose rows list no objects
    for rule in ("random", "popular", "adversarial"):
        assert absent.pick(rule, "", [], [], Random(0)) is None
