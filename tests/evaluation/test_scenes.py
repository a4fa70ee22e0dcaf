"""Held-out scenes: engines with known behaviour get exactly the scores that the rules give them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sensorium.errors import SensoriumError
from sensorium.evaluation import ReplyFile, evaluate_scenes, read_replies, score_scenes
from sensorium.evaluation.naming import Names
from sensorium.evaluation.replies import ScenesReply
from sensorium.evaluation.scenes import GREY, grey_picture
from sensorium.media import image_size, open_image

HEADER = {"model": "m", "data": "d", "split": "test_seen", "blind": False}


def test_an_engine_that_sees_gets_everything(dataset, seeing):
    found = evaluate_scenes(seeing, dataset, "test_seen")
    existence = found["existence"]
    assert (existence.pictures, existence.accuracy.value, existence.accuracy_plus.value) == (3, 100, 100)
    assert existence.score.value == existence.score.low == existence.score.high == 200
    assert (existence.unparsed, existence.yes_share) == (0, 0.5)
    assert found["count"].pictures == 1
    assert (found["caption"].precision, found["caption"].recall, found["caption"].f1.value) == (1, 1, 1)
    assert found["caption"].hallucinated == 0
    assert (found["grounding"].share.value, found["grounding"].mean_iou) == (1, 1)


def test_always_yes_is_half_right_and_never_both(dataset, engine_of):
    found = evaluate_scenes(engine_of(lambda question, colour: "Yes, there is a boat."), dataset, "test_seen")
    existence = found["existence"]
    assert (existence.accuracy.value, existence.accuracy_plus.value, existence.score.value) == (50, 0, 50)
    assert existence.yes_share == 1
    # The caption names one thing, a boat, which is nowhere; no reply holds a box.
    assert (found["caption"].precision, found["caption"].f1.value, found["caption"].hallucinated) == (0, 0, 1)
    assert (found["grounding"].share.value, found["grounding"].unparsed) == (0, 3)


def test_what_is_neither_yes_nor_no_is_wrong_and_counted(dataset, engine_of):
    found = evaluate_scenes(engine_of(lambda question, colour: "Maybe."), dataset, "test_seen")["existence"]
    assert (found.accuracy.value, found.score.value, found.unparsed, found.yes_share) == (0, 0, 6, 0)


def test_one_picture_of_three_wrong_counts_as_the_rule_says(dataset, engine_of, seeing):
    """Both answers right on two pictures, one of two on the third: accuracy 5/6, accuracy+ 2/3."""
    engine = engine_of(lambda q, colour: "Yes" if colour == (0, 0, 200) and "Please" in q else seeing.rule(q, colour))
    found = evaluate_scenes(engine, dataset, "test_seen")["existence"]
    assert found.accuracy.value == pytest.approx(500 / 6)
    assert found.accuracy_plus.value == pytest.approx(200 / 3)
    assert found.score.value == pytest.approx(150)
    assert 50 <= found.score.low <= 150 <= found.score.high <= 200


def test_caption_counts_are_added_up_over_pictures(dataset, engine_of):
    """"A dog." on all three: 2 of 3 named are there, 2 of 5 that are there are named."""
    found = evaluate_scenes(engine_of(lambda question, colour: "A dog."), dataset, "test_seen")["caption"]
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(2 / 5)
    assert found.f1.value == pytest.approx(2 * 2 / (3 + 5))
    assert found.hallucinated == pytest.approx(1 / 3)


def test_a_caption_that_names_nothing_has_no_precision(dataset, engine_of):
    found = evaluate_scenes(engine_of(lambda question, colour: "Nothing."), dataset, "test_seen")["caption"]
    assert (found.precision, found.hallucinated, found.recall, found.f1.value) == (None, None, 0, 0)


def test_chance_is_what_a_constant_reply_reaches(dataset, seeing):
    found = evaluate_scenes(seeing, dataset, "test_seen").chance
    assert (found["existence"], found["count"]) == (75, 75)
    # Always "a dog and a cat": 4 right of 6 named and 5 true, 8/11. Always "a dog" gives 4/8, all three names 10/14.
    assert found["caption"] == pytest.approx(8 / 11)
    # The mean box is (167,167)-(666,666): half over none of the three.
    assert found["grounding"] == 0


def test_boxes_count_from_one_half(dataset, engine_of):
    # A box over the whole left half: intersection 1/4, union 1/2 with the first two boxes, none with the third.
    reply = "<ref>it</ref><box>(0,0),(499,999)</box> or <box>(500,500),(999,999)</box>"
    found = evaluate_scenes(engine_of(lambda question, colour: reply), dataset, "test_seen")["grounding"]
    assert found.share.value == pytest.approx(2 / 3)
    assert found.mean_iou == pytest.approx(1 / 3)


def test_blind_shows_grey_pictures_of_the_same_size_and_asks_equal_prompts_once(dataset, seeing):
    found = evaluate_scenes(seeing, dataset, "test_seen", blind=True)
    sizes = {image_size(image) for conversation in seeing.asked for image in conversation.images}
    assert sizes == {(40, 30), (30, 40)}
    assert {open_image(i).getpixel((0, 0)) for c in seeing.asked for i in c.images} == {GREY}
    assert found.blind
    assert found["existence"].score.value == 50  # it says no
    assert found["existence"].yes_share == 0
    captions = [c for c in seeing.asked if c.messages[-1].text == "Describe the picture."]
    assert len(captions) == 2  # three pictures, two sizes
    assert grey_picture(4, 5) == grey_picture(4, 5)


def test_questions_are_asked_in_the_words_of_the_probes_and_of_training(dataset, seeing):
    evaluate_scenes(seeing, dataset, "test_seen")
    asked = {conversation.messages[-1].text for conversation in seeing.asked}
    assert "Is there a dog in this image? Please answer yes or no." in asked
    assert {"Describe the picture.", "Where is the cat? Answer with a box."} <= asked
    assert {len(conversation.images) for conversation in seeing.asked} == {1}
    assert all(sampling.temperature == 0 for sampling in seeing.samplings)


def test_a_limit_counts_probes_of_each_subset(dataset, seeing):
    told = []
    found = evaluate_scenes(seeing, dataset, "test_seen", limit=1, progress=lambda *done: told.append(done))
    assert {subset: score.pictures for subset, score in found.scores.items()} == {
        "existence": 1, "count": 1, "caption": 1, "grounding": 1,
    }  # fmt: skip
    assert told[0] == (0, 6)
    assert told[-1] == (6, 6)


def test_replies_are_kept_raw_and_can_be_scored_again(dataset, seeing, tmp_path):
    path = tmp_path / "replies.jsonl"
    found = evaluate_scenes(seeing, dataset, "test_seen", keep=ReplyFile(path, HEADER))
    header, replies = read_replies(path)
    assert header == {"format": "sensorium-replies-1", **HEADER}
    row = json.loads(path.read_text().splitlines()[1])
    assert {"id", "scene", "subset", "question", "truth", "reply", "right"} == set(row)
    assert row["right"] is True
    assert score_scenes(replies, Names(dataset.info["vocabulary"]), "test_seen", False).scores == found.scores


def test_a_stopped_run_goes_on_where_it_was(dataset, seeing, tmp_path, engine_of):
    path = tmp_path / "replies.jsonl"
    evaluate_scenes(seeing, dataset, "test_seen", limit=2, keep=ReplyFile(path, HEADER))
    with path.open("a") as file:
        file.write('{"id": "000002-existence/0", "sce')  # as a kill leaves it
    again = engine_of(seeing.rule)
    found = evaluate_scenes(again, dataset, "test_seen", keep=ReplyFile(path, HEADER))
    assert found["existence"].score.value == 200
    assert len(again.asked) == 4  # the third picture only: two questions, a caption, a box
    assert len(read_replies(path)[1]) == 3 * 4 + 2
    finished = engine_of(seeing.rule)
    assert evaluate_scenes(finished, dataset, "test_seen", keep=ReplyFile(path, HEADER)).scores == found.scores
    assert finished.asked == []


def test_replies_of_another_model_are_not_mixed_in(tmp_path):
    path = tmp_path / "replies.jsonl"
    ReplyFile(path, HEADER)
    with pytest.raises(SensoriumError, match="another model"):
        ReplyFile(path, {**HEADER, "model": "other"})


@pytest.mark.parametrize("text", ["not json\n", "[]\n", '{"format": "x"}\n'])
def test_a_file_of_something_else_is_refused(tmp_path, text):
    path = tmp_path / "replies.jsonl"
    path.write_text(text)
    with pytest.raises(SensoriumError, match=r"replies\.jsonl"):
        ReplyFile(path, HEADER)


def test_a_split_that_is_not_there_is_named(dataset, seeing):
    with pytest.raises(SensoriumError, match="test_seen"):
        evaluate_scenes(seeing, dataset, "test_sen")


def test_a_torn_line_is_cut_off_in_one_step(tmp_path, monkeypatch):
    def full(self, _target):
        raise OSError(28, "No space left on device")

    path = tmp_path / "replies.jsonl"
    reply = ScenesReply("1", "s", "caption", "What?", ["dog"], "A dog.")
    ReplyFile(path, HEADER).add([(reply, True)])
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"id": "2", "sce')
    with monkeypatch.context() as patched, pytest.raises(SensoriumError, match="No space left"):
        patched.setattr(Path, "replace", full)
        ReplyFile(path, HEADER)
    assert path.read_bytes() == whole + b'{"id": "2", "sce'  # a full disk costs no reply
    assert ReplyFile(path, HEADER).known == {"1": reply}
    assert path.read_bytes() == whole


def test_a_split_without_probes_is_named(dataset, seeing):
    (dataset.root / "test_seen" / "probes.jsonl").write_text("")
    with pytest.raises(SensoriumError, match="no probes"):
        evaluate_scenes(seeing, dataset, "test_seen")
