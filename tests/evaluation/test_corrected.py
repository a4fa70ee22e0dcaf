"""A finished run corrected: a run of its own, of whole sentences, that goes on where it was stopped."""

from __future__ import annotations

import json

import pytest
from PIL import Image as Picture

from sensorium.correction.answers import whole_sentence
from sensorium.correction.records import Report
from sensorium.engine import Card, Reply, Sampling
from sensorium.errors import SensoriumError
from sensorium.evaluation.asking import Here
from sensorium.evaluation.benchmarks import BENCHMARKS, Data
from sensorium.evaluation.corrected import REPORTS, correct_run
from sensorium.evaluation.results import score_run
from sensorium.evaluation.run import run
from sensorium.evaluation.run_folder import RunFolder


@pytest.mark.parametrize(
    ("question", "yes", "no"),
    [
        ("Is there a dog in the image?", "Yes, there is a dog in the image.", "No, there is no dog in the image."),
        ("Are there any cups?", "Yes, there are cups.", "No, there are no cups."),
        ("Are there two men in this image? Please answer yes or no.", "Yes, there are two men in this image.",
         "No, there are not two men in this image."),
        ("Is the motorcycle on the right side of the bus?", "Yes, the motorcycle is on the right side of the bus.",
         "No, the motorcycle is not on the right side of the bus."),
        ("Does it rain?", "Yes.", "No."),
    ],
)  # fmt: skip
def test_a_bare_yes_or_no_becomes_a_sentence(question, yes, no):
    assert whole_sentence(question, "Yes") == yes and whole_sentence(question, " no.\n") == no
    assert whole_sentence(question, "A dog, I think.") == "A dog, I think."


class Yes:
    card = Card("yes-sayer", ("text", "image"), 1024, 1)

    def answer(self, conversations, sampling):
        return [Reply("Yes", "stop", 9, 1) for _ in conversations]


class NoCat:
    """Corrects as if no picture showed a cat; stops after `most` texts."""

    def __init__(self, most: int = 99) -> None:
        self.most, self.asked = most, []

    def correct(self, picture, text, question=None):
        if len(self.asked) == self.most:
            raise KeyboardInterrupt
        self.asked.append((text, question))
        output = "No, there is no cat in the image." if "cat" in text else text
        return Report(picture=picture.digest, text=text, question=question, output=output)


@pytest.fixture
def finished(tmp_path):
    """A run of a POPE of four questions about two pictures, all answered Yes; (run, data)."""
    data = tmp_path / "pope"
    (data / "images").mkdir(parents=True)
    rows = []
    for number, (name, label) in enumerate((("dog", "yes"), ("cat", "no"), ("cup", "yes"), ("cat", "no"))):
        image = f"{number // 2}.png"
        Picture.new("RGB", (20, 20), (number, 0, 0)).save(data / "images" / image)
        text = f"Is there a {name} in the image?"
        rows.append({"question_id": number + 1, "image": image, "text": text, "label": label})
    (data / "pope_random.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source, sampling = Data(data, data / "images"), Sampling(16)
    identity = {"benchmark": "pope", "prompt": "official", "data": source.sha256, "split": None, "engine": "yes",
                "sampling": {"max_new_tokens": 16}}  # fmt: skip
    about = {"model": {"name": "yes-sayer", "provenance": {}}, "limit": None,
             "data_about": {"name": "pope", "layout": source.layout}}  # fmt: skip
    questions = list(BENCHMARKS["pope"].read(source, "official"))
    run(questions, Here(Yes()), RunFolder(tmp_path / "run", identity), "yes", sampling, about=about)
    return tmp_path / "run", source


def test_corrected_replies_are_a_run_that_is_scored_like_any_other(finished, tmp_path):
    before, data = finished
    corrector = NoCat()
    answers = correct_run(before, data, corrector, "woodpecker", tmp_path / "after")
    assert [answer.reply for answer in answers] == [
        "Yes, there is a dog in the image.", "No, there is no cat in the image.", "Yes, there is a cup in the image.",
        "No, there is no cat in the image."]
    assert corrector.asked[0] == ("Yes, there is a dog in the image.", "Is there a dog in the image?")
    first, second = (score_run(folder) for folder in (before, tmp_path / "after"))
    assert (first.values["accuracy"], second.values["accuracy"]) == (0.5, 1.0)
    assert second.model["name"] == "yes-sayer, corrected by woodpecker"
    assert len((tmp_path / "after" / REPORTS).read_text().splitlines()) == 4


def test_a_stopped_correction_goes_on_and_other_data_is_refused(finished, tmp_path):
    before, data = finished
    with pytest.raises(KeyboardInterrupt):
        correct_run(before, data, NoCat(most=3), "woodpecker", tmp_path / "after")
    corrector = NoCat()
    assert len(correct_run(before, data, corrector, "woodpecker", tmp_path / "after")) == 4
    assert len(corrector.asked) == 1
    with pytest.raises(SensoriumError, match="engine was"):
        correct_run(before, data, corrector, "sensorium", tmp_path / "after")
    (data.path / "pope_random.json").write_text('{"question_id": 1, "image": "0.png", "text": "?", "label": "no"}\n')
    with pytest.raises(SensoriumError, match="is not the data that"):
        correct_run(before, Data(data.path, data.media), corrector, "woodpecker", tmp_path / "other")
