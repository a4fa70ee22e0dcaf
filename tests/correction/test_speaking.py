"""A text that is still being said: corrected sentence by sentence, as the whole would be."""

from __future__ import annotations

import time
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensorium.correction import Budget, Corrector, Policy, Report, apply_edits
from sensorium.correction.editors import Rewrite
from sensorium.correction.verifiers.oracle import Oracle
from sensorium.errors import SensoriumError

SENTENCES = ("The dog is brown.", "There is a cat.", "What a lovely mood!", "The car is red.",
             "Three spoons lie there.", "A dog and a cat are there.", "A zorble hums, e.g. softly.")  # fmt: skip


def told(stream: Generator[str, None, Report]) -> tuple[list[str], Report]:
    """(what was said in turn, the report)."""
    said = []
    while True:
        try:
            said.append(next(stream))
        except StopIteration as end:
            return said, end.value


def words(text: str) -> list[str]:
    return [f"{word} " for word in text.split(" ")[:-1]] + [text.split(" ")[-1]]


def test_a_sentence_is_said_when_the_next_one_has_ended(corrector, scene):
    speaking = corrector.listen(scene.image)
    pieces = ("The car is ", "red. ", "The dog ", "is blue. ", "So ", "calm.")
    assert [speaking.hear(piece) for piece in pieces] == ["", "", "", "The car is blue.", "", ""]
    assert speaking.end() == " The dog is brown. So calm."
    assert speaking.report.output == "The car is blue. The dog is brown. So calm."


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(chosen=st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=12), gap=st.sampled_from([" ", "\n", "\n\n"]))
def test_what_is_said_is_the_output_of_the_report_and_that_of_the_whole_text(scene, vocabulary, chosen, gap):
    corrector = Corrector([Oracle.of([scene], vocabulary)])
    text = gap.join(chosen)
    said, report = told(corrector.stream(scene.image, words(text)))
    assert "".join(said) == report.output == apply_edits(text, report.edits)
    assert report.text == text
    whole = corrector.correct(scene.image, text)
    assert report.claims == whole.claims and report.verdicts == whole.verdicts
    assert "is red" not in report.output and report.output.count("car is blue") == text.count("car is red")
    for gone in ("cat", "spoons"):
        assert gone not in report.output or f"no {gone}" in report.output or f"or {gone}" in report.output


def test_a_yes_is_turned_with_what_follows_it(corrector, scene):
    pieces = words("Yes, there is a cat. The dog is brown. Nice.")
    said, report = told(corrector.stream(scene.image, pieces, "Is there a cat?"))
    assert "".join(said) == report.output == "No, there is no cat. The dog is brown. Nice."


def test_nothing_is_lost_where_everything_is_wrong(corrector, scene):
    said, report = told(corrector.stream(scene.image, words("There is a cat. There is a spoon.")))
    assert "".join(said) == report.output == corrector.correct(scene.image, report.text).output


class Counting(Oracle):
    def verify(self, picture, claims, meter):
        for _ in claims:
            if meter.allows():
                meter.count(self.name)
        return super().verify(picture, claims, meter)


def test_each_claim_is_looked_at_once(scene, vocabulary):
    text = "The dog is brown. The car is red. The dog is brown. There is a cat. The car is red. Nice."
    _, report = told(Corrector([Counting.of([scene], vocabulary)]).stream(scene.image, words(text)))
    assert report.cost.calls == {"oracle": len({question.phrase for question in report.questions})}


def test_the_time_in_which_the_model_speaks_is_not_in_the_budget(scene, vocabulary, monkeypatch):
    clock, real = [0.0], time.perf_counter
    monkeypatch.setattr("time.perf_counter", lambda: real() + clock[0])
    corrector = Corrector([Counting.of([scene], vocabulary)], budget=Budget(milliseconds=20_000))

    def slow():
        for word in words("The car is red. The dog is blue. So it is."):
            clock[0] += 60
            yield word

    _, report = told(corrector.stream(scene.image, slow()))
    assert report.output == "The car is blue. The dog is brown. So it is."
    assert report.cost.milliseconds < 20_000 < 1000 * clock[0]


@pytest.mark.parametrize(
    ("text", "note"),
    [("图里有一只狗。旁边还有一辆红色的车。", "only English is supported yet"), ("", "is empty"), ("  ", "is empty"),
     ("Der Hund ist braun und das Auto ist rot. Die Katze ist nicht auf dem Auto.", "seems to be German")],
)  # fmt: skip
def test_what_cannot_be_corrected_is_passed_on_and_noted(corrector, scene, text, note):
    said, report = told(corrector.stream(scene.image, list(text)))
    assert "".join(said) == report.output == text and note in report.notes[0] and not report.edits


def test_what_the_question_asks_for_comes_at_the_end(scene, vocabulary):
    from sensorium.correction.verifiers.located import LocatedVerifier

    from .test_corrector import Seen

    corrector = Corrector([LocatedVerifier(Seen())], policy=Policy(add_missing=True))
    said, report = told(corrector.stream(scene.image, words("There is a cup. It is nice."), "What can you see?"))
    assert "".join(said) == report.output == "There is a cup. It is nice. There are also two dogs."


def test_a_picture_that_does_not_open_and_a_rewriting_editor_are_refused_at_once(corrector, scene, tmp_path):
    with pytest.raises(SensoriumError, match=r"cannot be read|does not exist"):
        corrector.listen(tmp_path / "none.png")
    corrector.editor = Rewrite()
    with pytest.raises(SensoriumError, match="`rewrite` writes whole passages"):
        corrector.listen(scene.image)
