"""Video-MME and its second edition: shares of the answered, buckets, groups; by hand."""

from __future__ import annotations

import itertools
import json

import pytest

from sensorium.errors import SensoriumError
from sensorium.evaluation.scorers import videomme, videomme_2
from sensorium.evaluation.scorers.videomme_2 import VideoGroup

OPTIONS = ["A. red", "B. blue", "C. green.", "D. none of these"]


def _video(number, duration, replies, domain="Knowledge", sub_category="Law"):
    questions = [
        {"question_id": f"{number}-{i}", "task_type": "OCR Problems", "question": "?", "options": OPTIONS,
         "answer": "C", "response": reply} for i, reply in enumerate(replies, start=1)
    ]  # fmt: skip
    return {"video_id": number, "duration": duration, "domain": domain, "sub_category": sub_category,
            "questions": questions}  # fmt: skip


# Official: C right, "Best answer: C" is B, "green" unread | C right, "no idea" unread, "" unread.
VIDEOS = [
    _video("001", "short", ["C", "Best answer: C", "it is green"]),
    _video("002", "long", ["(C)", "no idea", ""], "Life Record", "Food"),
]


def test_the_score_is_of_the_answered(write):
    outcome = videomme.score(videomme.read(write("v.json", VIDEOS)))
    assert outcome["overall"] == pytest.approx(100 * 2 / 3)
    assert (outcome["answered"], outcome["correct"], outcome["total"]) == (3, 2, 6)
    assert outcome["by"]["duration"] == {"short": 50.0, "long": 100.0}
    assert outcome["by"]["domain"] == {"Knowledge": 50.0, "Life Record": 100.0}
    assert outcome["by"]["sub_category"] == {"Law": 50.0, "Food": 100.0}
    assert outcome["by"]["task_type"] == {"OCR Problems": pytest.approx(200 / 3)}
    assert outcome["counts"]["duration"]["long"] == {"answered": 1, "correct": 1, "total": 3}
    assert "medium: 0 videos, 300 in the whole benchmark" in outcome.notes


def test_other_harnesses_count_all_and_read_otherwise(write):
    replies = videomme.read(write("v.json", VIDEOS))
    # VLMEvalKit reads "it is green" by the option's text: 3 of 6; "Best answer: C" is B there too.
    assert videomme.score(replies, "vlmevalkit")["overall"] == 0.5
    # lmms-eval reads "Best answer: C" as C, "green" not at all: 3 of 6, percent.
    assert videomme.score(replies, "lmms-eval")["overall"] == 50


def test_a_bucket_without_answers_is_zero(write):
    outcome = videomme.score(videomme.read(write("v.json", [_video("1", "short", ["", "x", "?"])])))
    assert (outcome["overall"], outcome["answered"]) == (0, 0)


def test_the_templates_commas_are_put_up_with_and_the_order_of_videos_changes_nothing(write):
    text = json.dumps(VIDEOS, indent=1).replace('"\n', '",\n').replace("}\n", "},\n").replace(',",', '",')
    path = write("commas.json", text)
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    turned = write("turned.json", VIDEOS[::-1])
    assert videomme.score(videomme.read(path)).values == videomme.score(videomme.read(turned)).values


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"video_id": "001"}, "video_id '001' was there before, in line 2"),
        ({"duration": "Short"}, "`duration` is 'Short'. Did you mean `short`?"),
        ({"sub_category": "Laws"}, "Did you mean `Law`?"),
        ({"questions": None}, "`questions` is not a list"),
        ({"questions": [{**VIDEOS[1]["questions"][0], "response": None}]}, "'002-1' has no `response`"),
        ({"questions": [{**VIDEOS[1]["questions"][0], "question_id": "001-1"}]}, "question '001-1' was there before"),
        ({"questions": [{**VIDEOS[1]["questions"][0], "answer": "E"}]}, "`answer` is 'E'"),
        ({"questions": [{**VIDEOS[1]["questions"][0], "task_type": "OCR"}]}, "`task_type` is 'OCR'"),
    ],
)  # fmt: skip
def test_a_video_that_does_not_fit_names_its_line(write, change, said):
    path = write("v.json", [VIDEOS[0], {**VIDEOS[1], **change}])
    with pytest.raises(SensoriumError) as caught:
        videomme.read(path)
    line = json.dumps([VIDEOS[0]], indent=1).count("\n") + 1
    assert said in str(caught.value)
    assert f"v.json line {line}:" in str(caught.value)


CHAIN, DIAMOND, FORK = "[1, 2, 3, 4]", "[1, [2, 3], 4]", "[[1, 2], 3, 4]"


@pytest.mark.parametrize(
    ("structure", "right", "points"),
    [
        ("", "1010", 100 * 4 / 16), ("", "1111", 100), ("", "0001", 100 / 16),  # by how many
        (CHAIN, "1101", 100 * 4 / 16), (CHAIN, "0111", 0), (CHAIN, "1110", 100 * 9 / 16),  # by how far
        (DIAMOND, "1000", 100 / 12), (DIAMOND, "1010", 100 * 4 / 12), (DIAMOND, "1100", 100 * 4 / 12),
        (DIAMOND, "1110", 100 * 7 / 12), (DIAMOND, "1011", 100 * 4 / 12), (DIAMOND, "1111", 100), (DIAMOND, "0111", 0),
        (FORK, "0100", 10), (FORK, "1000", 10), (FORK, "1100", 20), (FORK, "1110", 50), (FORK, "0111", 10),
    ],
)  # fmt: skip
def test_groups_of_the_second_edition_score_by_their_structure(structure, right, points):
    group = VideoGroup(structure, ("H",) * 4, tuple("H" if one == "1" else "A" for one in right))
    assert videomme_2.points(group) == pytest.approx(points)


def test_an_unread_reply_counts_as_right_in_a_chain_unless_repaired():
    group = VideoGroup(CHAIN, ("H",) * 4, ("H", "", "H", "A"))
    assert videomme_2.points(group) == pytest.approx(100 * 9 / 16)
    assert videomme_2.points(group, "repaired") == pytest.approx(100 / 16)
    pair = VideoGroup("", ("H",) * 4, ("H", "H", "", "A"))  # 2 right, one taken off
    assert videomme_2.points(pair) == pytest.approx(100 / 16)


@pytest.mark.parametrize("variant", videomme_2.VARIANTS)
def test_points_stay_within_bounds(variant):
    every = itertools.product(("H", "A", ""), repeat=4)
    for structure, replies in itertools.product(("", CHAIN, DIAMOND, FORK), every):
        assert 0 <= videomme_2.points(VideoGroup(structure, ("H",) * 4, replies), variant) <= 100


def _table(*rows):
    heading = "level\tgroup_type\tgroup_structure\tsecond_head\tthird_head\tanswer\tprediction\n"
    return heading + "".join("\t".join(row) + "\n" for row in rows)


def test_a_table_of_groups_is_scored(write):
    logic = [("2", "logic", CHAIN, "x", "None", "B", reply) for reply in ("B", "B", "A", "B")]  # 4/16
    relevance = [("1", "relevance", "", "x", "y", "C", reply) for reply in ("C", "", "A", "C")]  # (2 - 1)/16
    outcome = videomme_2.score(videomme_2.read(write("v.tsv", _table(*logic, *relevance))))
    assert outcome["overall"] == pytest.approx((25 + 6.25) / 2)
    assert (outcome["logic"], outcome["relevance"]) == (25, 6.25)
    assert outcome["by"]["level"] == {"2": 25, "1": 6.25}
    assert outcome["by"]["third_head"] == {"y": 6.25}
    assert outcome["accuracy"] == pytest.approx(100 * 5 / 7)
    assert outcome["unread"] == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("1", "logic", CHAIN, "", "", "A", "A")] * 3, "holds 3 questions; a group has 4"),
        ([("1", "logic", "[1]", "", "", "A", "A")] * 4, "line 5: `group_structure` is '[1]'"),
        ([("1", "luck", CHAIN, "", "", "A", "A")] * 4, "line 5: `group_type` is 'luck'"),
        ([("1", "relevance", "", "", "", "A", "A")] * 3 + [("1", "logic", CHAIN, "", "", "A", "A")], "line 5: is of"),
    ],
)
def test_a_table_that_does_not_fit_is_told(write, rows, said):
    with pytest.raises(SensoriumError) as caught:
        videomme_2.read(write("v.tsv", _table(*rows)))
    assert said in str(caught.value)
