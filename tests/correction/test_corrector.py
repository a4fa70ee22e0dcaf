"""The whole way: reports that can be replayed, remembered evidence, budgets, additions."""

from __future__ import annotations

import json

import pytest
from PIL import Image as PILImage

from sensorium.correction import Budget, Corrector, Memo, Policy, Report
from sensorium.correction.difference import drawing, marked, page, pieces
from sensorium.correction.picture import Picture
from sensorium.correction.records import STAGES
from sensorium.correction.verifiers.base import Found
from sensorium.correction.verifiers.oracle import Oracle
from sensorium.errors import SensoriumError
from sensorium.grounding import Box

TEXT = "There are a dog, a cat and two apples. The car is red. It is a zorble."


class Counting(Oracle):
    """An oracle that counts as a model would, one call a claim."""

    def verify(self, picture, claims, meter):
        for _ in claims:
            meter.count(self.name)
        return super().verify(picture, claims, meter)


def test_a_report_goes_to_json_and_back_unchanged(corrector, scene):
    report = corrector.correct(scene.image, TEXT, "What is there?")
    row = json.loads(json.dumps(report.to_json()))
    assert row["schema"] == "sensorium-correction-1"
    assert Report.from_json(row) == report


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "other"}, "schema: is 'other'"),
        ({"claims": [{"id": 3}]}, r"report: claims\.0"),
        ({"surprise": 1}, "report: surprise"),
        ({"edits": [{"start": -1, "end": 0, "replacement": "", "kind": "delete"}]}, r"edits\.0\.start"),
    ],
)
def test_a_damaged_report_names_the_field(corrector, scene, change, message):
    row = {**corrector.correct(scene.image, TEXT).to_json(), **change}
    with pytest.raises(SensoriumError, match=message):
        Report.from_json(row)


@pytest.mark.parametrize("start", STAGES)
def test_any_stage_can_be_made_anew_from_a_file(scene, vocabulary, start):
    first = Corrector([Counting.of([scene], vocabulary)]).correct(scene.image, TEXT)
    earlier = Report.from_json(json.loads(json.dumps(first.to_json())))
    again = Corrector([Counting.of([scene], vocabulary)]).correct(scene.image, TEXT, earlier=earlier, start=start)
    assert (again.output, again.grounded, again.verdicts) == (first.output, first.grounded, first.verdicts)
    looked_anew = STAGES.index(start) <= STAGES.index("evidence")
    assert bool(again.cost.calls) == looked_anew


def test_stages_of_another_text_are_refused(corrector, scene):
    earlier = corrector.correct(scene.image, TEXT)
    with pytest.raises(SensoriumError, match="report: text: is another"):
        corrector.correct(scene.image, "A dog.", earlier=earlier, start="verdicts")
    with pytest.raises(SensoriumError, match="is no stage"):
        corrector.correct(scene.image, TEXT, earlier=earlier, start="verdict")


def test_a_claim_made_twice_is_looked_at_once(scene, vocabulary):
    report = Corrector([Counting.of([scene], vocabulary)]).correct(scene.image, "A dog. A dog. A dog. A dog.")
    assert report.cost.calls == {"oracle": 1} and len(report.evidence) == 4


def test_a_second_run_asks_nothing(scene, vocabulary, tmp_path):
    path = tmp_path / "memo" / "evidence.jsonl"
    first = Corrector([Counting.of([scene], vocabulary)], memo=Memo(path)).correct(scene.image, TEXT)
    with path.open("a") as file:
        file.write('{"picture": "half a li')
    again = Corrector([Counting.of([scene], vocabulary)], memo=Memo(path)).correct(scene.image, TEXT)
    assert first.cost.calls and not again.cost.calls and again.cost.remembered == len(again.evidence)
    assert again.output == first.output


def test_what_is_beyond_the_budget_is_unknown_and_untouched(scene, vocabulary):
    from sensorium.correction.verifiers.base import BUDGET, Located
    from sensorium.correction.verifiers.located import LocatedVerifier

    class Slow(Oracle):
        def locate(self, picture, name, meter):
            if not meter.allows():
                return Located(reason=BUDGET)
            meter.count("slow")
            return super().locate(picture, name, meter)

    slow = Slow.of([scene], vocabulary)
    report = Corrector([LocatedVerifier(slow)], budget=Budget(calls=1)).correct(scene.image, "A cat. A spoon.")
    assert report.cost.calls == {"slow": 1} and report.cost.skipped == 1
    assert report.output == "A spoon." and "left out by the budget" in report.cost.line()


class Seen:
    """A locator that finds two dogs and a cup."""

    name, version, names = "seen", "1", frozenset({"dog", "cup"})

    def boxes(self, picture, meter):
        return {"dog": (Found(Box(0, 0, 100, 100), 0.9), Found(Box(200, 0, 300, 100), 0.95)),
                "cup": (Found(Box(500, 500, 600, 600), 0.99),), "cat": (Found(Box(1, 1, 9, 9), 0.3),)}  # fmt: skip

    def locate(self, picture, name, meter):
        from sensorium.correction.verifiers.base import Located

        return Located(self.boxes(picture, meter).get(name, ()), label=name)


@pytest.mark.parametrize(
    ("question", "output"),
    [
        ("What animals are in the picture?", "There is a cup. There are also two dogs."),
        ("What can you see?", "There is a cup. There are also two dogs."),
        ("Is there a cup?", "There is a cup."),
        (None, "There is a cup."),
    ],
)
def test_what_a_question_asks_for_and_is_surely_there_is_added(scene, question, output):
    from sensorium.correction.verifiers.located import LocatedVerifier

    corrector = Corrector([LocatedVerifier(Seen())], policy=Policy(add_missing=True))
    assert corrector.correct(scene.image, "There is a cup.", question).output == output


def test_the_difference_keeps_both_texts(corrector, scene):
    report = corrector.correct(scene.image, TEXT)
    found = list(pieces(report))
    assert "".join(p.text for p in found if p.change != "+") == report.text
    assert "".join(p.text for p in found if p.change != "-") == report.output
    assert "[-red-]{+blue+}" in marked(report)


def test_the_page_holds_the_picture_and_escapes_what_was_said(corrector, scene, tmp_path):
    report = corrector.correct(scene.image, 'A dog & a <script>alert("x")</script> sign. The car is red.')
    shown = page(report, Picture(scene.image))
    assert "<script>" not in shown and "&lt;script&gt;" in shown
    assert "<del>red</del><ins>blue</ins>" in shown and "data:image/png;base64," in shown
    assert "http" not in shown.replace("http-equiv", "")
    boxed = sum(bool(verdict.boxes) for verdict in report.verdicts)
    assert boxed and shown.count("<img class=cut") == boxed  # each thing as its box shows it
    (tmp_path / "drawn.png").write_bytes(drawing(report, Picture(scene.image)))
    assert PILImage.open(tmp_path / "drawn.png").size == (320, 240)


def test_a_long_text_is_corrected_whole(corrector, scene):
    sentences = ["The dog is brown.", "The car is red.", "What a calm scene this is."] * 120
    report = corrector.correct(scene.image, " ".join(sentences))
    assert report.output == " ".join(sentences).replace("red", "blue")
    assert report.cost.remembered == 0 and len(report.edits) == 120


@pytest.mark.parametrize("text", ["What a mood!", "Yes.", "No.", "12345", "…", "\"\"", "a" * 3000, "<box>(1,2)</box>"])
def test_text_without_claims_comes_back_as_it_is(corrector, scene, text):
    assert corrector.correct(scene.image, text).output == text
    assert corrector.correct(scene.image, text, "Is it nice?").output == text


def test_a_picture_that_does_not_open_is_an_error_in_a_line(corrector, tmp_path):
    with pytest.raises(SensoriumError, match="does not exist"):
        corrector.correct(tmp_path / "none.png", "A dog.")
