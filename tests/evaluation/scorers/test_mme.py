"""MME: sums by hand, the official file's faults, the three harnesses."""

from __future__ import annotations

import pytest

from sensorium.errors import SensoriumError
from sensorium.evaluation.scorers import mme
from sensorium.evaluation.scorers.mme import MmeReply


def _replies(*pairs):
    """Each picture's replies to a question whose truth is yes and one whose truth is no."""
    return [
        MmeReply(f"{i}.jpg", question, truth, reply)
        for i, pair in enumerate(pairs)
        for question, truth, reply in zip(("Is it?", "Is it not?"), ("yes", "no"), pair, strict=True)
    ]


# Three pictures. Both right; the yes missed; the no unread and the yes wrong:
# right 2 + 1 + 0 of 6 = 1/2, both right 1 of 3, score 50 + 33.33.
COUNT = _replies(("Yes", "No."), ("not sure", "nothing"), ("No", "Answer: no"))
# One picture, both right: 200.
CODE = _replies(("yes!", "no"))


def test_subtasks_and_sums_are_as_worked_out_by_hand():
    outcome = mme.score({"count": COUNT, "existence": CODE, "code_reasoning": CODE})
    count = outcome["subtasks"]["count"]
    assert count["acc"] == 3 / 6
    assert count["acc_plus"] == 1 / 3
    assert count["score"] == pytest.approx(50 + 100 / 3)
    assert count["other"] == 1
    # Read: yes->yes, no->no, yes->no ("not sure"), no->no ("nothing"), yes->no; so of one said yes one is right.
    assert (count["precision"], count["recall"]) == (1.0, 1 / 3)
    assert outcome["perception"] == pytest.approx(250 + 100 / 3)
    assert outcome["cognition"] == 200
    assert "count: 3 pictures, 30 in the whole benchmark" in outcome.notes


def test_harnesses_part_where_their_rules_do():
    scores = {variant: mme.score({"count": COUNT}, variant)["perception"] for variant in mme.VARIANTS}
    # VLMEvalKit: "not sure" and "nothing" are neither, "Answer: no" is no: right 2, 0, 1 of 6, both right 1 of 3.
    assert scores["vlmevalkit"] == pytest.approx(100 * 3 / 6 + 100 / 3)
    assert mme.score({"count": COUNT}, "vlmevalkit")["subtasks"]["count"]["other"] == 2
    assert scores["lmms-eval"] == pytest.approx(scores["official"])


def test_the_interval_is_of_the_pictures_and_holds_the_score():
    many = _replies(*[("yes", "no")] * 15, *[("yes", "yes")] * 15)
    outcome = mme.score({"existence": many})
    # Half the pictures score 200, half 50; 1.96 · 75 / sqrt(30) = 26.8.
    low, high = outcome.intervals["perception"]
    assert outcome["perception"] == 125
    assert (high - low) / 2 == pytest.approx(26.8, abs=2.5)
    assert outcome.intervals["subtasks"]["existence"]["score"] == (low, high)


def test_the_order_of_pictures_changes_nothing():
    first, *others = zip(COUNT[::2], COUNT[1::2], strict=True)
    turned = [reply for pair in (*others, first) for reply in pair]
    assert mme.score({"count": turned}).to_json() == mme.score({"count": COUNT}).to_json()


LINE = "{}.jpg\tIs there {}? Please answer yes or no.\t{}\t{}\n"


def _folder(tmp_path, **files):
    for name in mme.PICTURES:
        text = files.get(name, LINE.format("a", "one", "Yes", "Yes") + LINE.format("a", "two", "No", "no"))
        (tmp_path / f"{name}.txt").write_text(text)
    return tmp_path


def test_official_files_are_read(tmp_path):
    outcome = mme.score(mme.read(_folder(tmp_path)))
    assert (outcome["perception"], outcome["cognition"]) == (2000, 800)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.jpg\tq\tYes\n", "count.txt line 1: has 3 fields where 4 should be"),
        (LINE.format("a", "x", "Yes", "one\ttwo"), "line 1: has 5 fields"),
        (LINE.format("a", "x", "Maybe", "no"), "line 1: the truth is 'Maybe'"),
        (LINE.format("a", "x", "Yes", "no"), "has 1 lines; each picture has two"),
        (LINE.format("a", "x", "Yes", "a") + LINE.format("b", "x", "No", "a"), "line 2: is about b.jpg"),
        (LINE.format("a", "x", "Yes", "a") * 2, "line 2: asks about a.jpg what line 1 asked"),
        ("", "has 0 lines"),
    ],
)
def test_a_file_that_does_not_fit_names_its_line(tmp_path, text, said):
    with pytest.raises(SensoriumError) as caught:
        mme.read(_folder(tmp_path, count=text))
    assert said in str(caught.value)


def test_missing_subtasks_are_an_error_unless_only_some_are_wanted(tmp_path):
    folder = _folder(tmp_path)
    for name in mme.COGNITION:
        (folder / f"{name}.txt").unlink()
    with pytest.raises(SensoriumError, match=r"has no commonsense_reasoning.txt, .*--partial"):
        mme.read(folder)
    outcome = mme.score(mme.read(folder, is_partial=True))
    assert (outcome["perception"], outcome["cognition"]) == (2000, None)
    assert "not scored: commonsense_reasoning" in outcome.notes[0]
    with pytest.raises(SensoriumError, match="is no folder"):
        mme.read(folder / "none")
