"""Benchmarks made of our own scenes: their rules, their agreement with `evaluate scenes`, their official files."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image as Picture

from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks import BENCHMARKS, Answer, Data
from sensorium.evaluation.benchmarks.easy_vqa import said
from sensorium.evaluation.benchmarks.official import write_official
from sensorium.evaluation.naming import Names
from sensorium.evaluation.scenes import plan
from sensorium.evaluation.scoring import score_scenes

THINGS = [["dog", "car", "cup", "dog"], ["dog", "car", "boat"], ["cat", "car", "cup"], ["duck", "cup", "hat"],
          ["bird", "boat"]]  # fmt: skip
SIZE = (60, 40)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Five pictures in one split, what each shows by `THINGS`, and every kind of probe."""
    root = tmp_path / "scenes"
    folder = root / "test_seen"
    (folder / "images").mkdir(parents=True)
    rows, probes = [], []
    for number, names in enumerate(THINGS):
        scene = f"{number:06}"
        image = f"images/{scene}.png"
        Picture.new("RGB", SIZE, (40 * number, 90, 200)).save(folder / image)
        plain = {"colour": None, "drawing": "d", "style": "s"}
        objects = [{"name": name, "box": [100 * i, 100, 100 * i + 90, 300], **plain} for i, name in enumerate(names)]
        here = {"scene": scene, "image": image}
        rows.append({"id": scene, "image": image, "width": SIZE[0], "height": SIZE[1], "background": "b",
                     "objects": objects})  # fmt: skip
        for subset in ("existence", "count"):
            pair = [{"question": f"Is there a {names[0]} here ({subset})? Please answer yes or no.", "answer": "Yes"},
                    {"question": f"Is there a chair here ({subset})? Please answer yes or no.", "answer": "No"}]
            probes.append({"id": f"{scene}-{subset}", **here, "subset": subset, "questions": pair})
        probes.append({"id": f"{scene}-caption", **here, "subset": "caption", "objects": sorted(set(names))})
        probes.append({"id": f"{scene}-grounding", **here, "subset": "grounding", "name": names[1],
                       "box": objects[1]["box"]})  # fmt: skip
    for name, written in (("scenes.jsonl", rows), ("probes.jsonl", probes)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in written))
    (root / "dataset.json").write_text(json.dumps({
        "format": "sensorium-conversations-1", "name": "five", "seed": 0, "fingerprint": "f",
        "splits": {"test_seen": {}}, "vocabulary": sorted({name for names in THINGS for name in names}),
    }))  # fmt: skip
    return root


def questions_of(name: str, folder: Path, prompt: str | None = None):
    benchmark = BENCHMARKS[name]
    return list(benchmark.read(Data(folder), benchmark.known_prompt(prompt)))


def answered(questions, reply) -> list[Answer]:
    return [Answer(one.id, one.cluster, one.task, one.text, one.truth, reply(one)) for one in questions]


def test_scenes_mme_gives_the_score_of_evaluate_scenes_on_the_same_replies(scenes):
    replies = iter(["Yes", "No", "yes.", "Yes", "not sure", "No", "It is", "nope", " yes", "no"] * 2)
    dataset = Data(scenes).scenes
    planned = [one for _, one in plan(dataset.probes("test_seen")) if one.subset in ("existence", "count")]
    said_to = {(one.scene, one.question): next(replies) for one in planned}
    expected = score_scenes(
        [replace(one, reply=said_to[one.scene, one.question]) for one in planned], Names(()), "test_seen", False
    )
    asked = questions_of("scenes-mme", scenes)
    found = BENCHMARKS["scenes-mme"].score(
        answered(asked, lambda one: said_to[one.cluster.split("/")[1].split("-")[0], one.text]), "official"
    )
    for subset in ("existence", "count"):
        assert found["subtasks"][subset]["score"] == pytest.approx(expected[subset].score.value)
        assert 100 * found["subtasks"][subset]["acc_plus"] == pytest.approx(expected[subset].accuracy_plus.value)
        assert found["subtasks"][subset]["other"] == expected[subset].unparsed > 0
    assert found["perception"] == pytest.approx(sum(expected[s].score.value for s in ("existence", "count")))
    assert not found.notes, "that it is not the whole of MME is no news here"


def test_scenes_pope_asks_by_the_rules_of_its_generator(scenes):
    asked = questions_of("scenes-pope", scenes)
    by_set = Counter((one.task, one.truth["answer"]) for one in asked)
    # Four of five pictures show three names or more; three of each are asked about, and three that are not there.
    assert by_set == {(name, answer): 12 for name in ("random", "popular", "adversarial") for answer in ("yes", "no")}
    for i in range(0, len(asked), 6):
        names = list(dict.fromkeys(THINGS[int(asked[i].cluster.split("/")[1])]))
        about = [one.text.removeprefix("Is there a ").removesuffix(" in the image?") for one in asked[i : i + 6]]
        assert about[::2] == names[:3]
        assert not set(about[1::2]) & set(names) and len(set(about[1::2])) == 3
    duck = [one.text for one in asked if one.cluster.endswith("000003")]
    assert not any("bird" in text for text in duck), "a duck is a bird: the question has no certain answer"
    # In the first picture (dog, car, cup) the most frequent absent name is boat; most often beside a dog is boat, too.
    popular = [one.text for one in asked if one.id.startswith("popular/test_seen/000000/")]
    assert popular[1] == "Is there a boat in the image?"
    assert [one.text for one in questions_of("scenes-pope", scenes)] == [one.text for one in asked]


def test_scenes_pope_says_when_no_picture_shows_enough(scenes):
    path = scenes / "test_seen" / "scenes.jsonl"
    path.write_text(path.read_text().splitlines()[-1] + "\n")
    with pytest.raises(SensoriumError, match="no picture with 3 different things"):
        questions_of("scenes-pope", scenes)


def test_scenes_caption_counts_as_chair_and_amber_do(scenes):
    asked = [one for one in questions_of("scenes-caption", scenes) if one.cluster[-1] in "03"]
    assert [one.truth["names"] for one in asked] == [["car", "cup", "dog"], ["cup", "duck", "hat"]]
    replies = iter(["Two dogs, another dog and a boat.", "A bird beside a cup."])
    answers = answered(asked, lambda one: next(replies))
    found = BENCHMARKS["scenes-caption"].score(answers, "official")
    # Mentions: dog, dog, boat; bird, cup. Wrong for CHAIR: boat, and bird, which the row calls a duck.
    assert (found["mentions"], found["wrong"], found["chair_i"], found["chair_s"]) == (5, 2, 40, 100)
    assert found["recall"] == pytest.approx(100 * 2 / 6)
    # AMBER lets a bird pass for a duck: one of five is wrong, in one of two answers; dog, cup and the duck are covered.
    assert (found["amber"]["chair"], found["amber"]["hal"], found["amber"]["cover"]) == (20, 50, 50)
    worth = [one.worth for one in BENCHMARKS["scenes-caption"].judge(answers, "official")]
    assert worth == pytest.approx([2 * 1 / (2 + 3), 2 * 1 / (2 + 3)])


def test_scenes_refcoco_takes_the_boxes_that_our_models_write(scenes):
    asked = questions_of("scenes-refcoco", scenes)
    assert asked[0].text == "Where is the car? Answer with a box."
    right, wrong = "<ref>car</ref><box>(100,100),(190,300)</box>", "<box>(400,400),(500,500)</box>"
    found = BENCHMARKS["scenes-refcoco"].score(
        answered(asked, lambda one: right if one.cluster.endswith("0") else wrong), "official"
    )
    assert (found["precision"], found["boxes"]) == (0.2, 5)
    assert asked[0].truth["box"] == pytest.approx([100 / 999 * 60, 100 / 999 * 40, 190 / 999 * 60, 300 / 999 * 40])


@pytest.mark.parametrize(("name", "plain"), [("scenes-mme", "mme"), ("scenes-pope", "pope"),
                                             ("scenes-refcoco", "refcoco")])  # fmt: skip
def test_the_official_files_are_read_again_by_the_ordinary_benchmark(scenes, tmp_path, name, plain):
    out = tmp_path / "official"
    asked = questions_of(name, scenes)
    assert write_official(name, Data(scenes), out) == len(asked)
    again = questions_of(plain, out)

    def what(one):
        return one.text, one.media()[0].digest, [(key, one.truth[key]) for key in sorted(one.truth) if key != "split"]

    assert sorted(map(what, again)) == sorted(map(what, asked))
    with pytest.raises(SensoriumError, match="is there already"):
        write_official(name, Data(scenes), out)


def test_captions_are_written_as_amber_has_them(scenes, tmp_path):
    write_official("scenes-caption", Data(scenes, split="test_seen"), tmp_path / "amber")
    rows = json.loads((tmp_path / "amber" / "annotations.json").read_text())
    assert rows[0]["type"] == "generative" and rows[0]["truth"] == ["car", "cup", "dog"]
    assert not set(rows[0]["hallu"]) & set(rows[0]["truth"])
    queries = json.loads((tmp_path / "amber" / "query_generative.json").read_text())
    assert all((tmp_path / "amber" / "images" / row["image"]).is_file() for row in queries)


def test_a_dataset_of_scenes_is_told_from_other_data(scenes):
    with pytest.raises(SensoriumError, match="scenes-mme"):
        questions_of("vqav2", scenes)
    with pytest.raises(SensoriumError, match="test_seen"):
        list(BENCHMARKS["scenes-mme"].read(Data(scenes, split="test_sene"), "official"))


@pytest.mark.parametrize(
    ("reply", "official", "named"),
    [("Red.", "red", "red"), ("The shape is red.", "", "red"), ("Yes, a red circle.", "", "yes"), ("grey", "", "gray"),
     ("red or blue", "", ""), ("", "", "")],
)  # fmt: skip
def test_replies_to_easy_vqa_are_read_strictly_or_by_name(reply, official, named):
    assert (said(reply, "official"), said(reply, "named")) == (official, named)


def test_easy_vqa_is_read_as_its_package_has_it_and_scored_by_kind(tmp_path):
    rows = [["what is the red shape?", "triangle", 0], ["is there a circle?", "no", 0], ["what color?", "red", 1]]
    images = tmp_path / "data" / "test" / "images"
    images.mkdir(parents=True)
    (images.parent / "questions.json").write_text(json.dumps(rows))
    for number in (0, 1):
        Picture.new("RGB", (8, 8), "red").save(images / f"{number}.png")
    asked = questions_of("easy-vqa", tmp_path / "data")
    assert [(one.task, one.cluster) for one in asked] == [("shape", "0"), ("yes-no", "0"), ("color", "1")]
    assert Path(asked[2].media()[0].source).name == "1.png"
    found = BENCHMARKS["easy-vqa"].score(answered(asked, lambda one: "triangle"), "official")
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["by"] == {"shape": 1, "yes-no": 0, "color": 0}
