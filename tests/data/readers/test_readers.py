"""Each format from a small file shaped like the real one: what is read, and what is wrong with a damaged row."""

from __future__ import annotations

import base64
import io
import json
import pickle
import tarfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage
from pydantic import TypeAdapter

from sensorium.conversation import Conversation, Image, Text
from sensorium.data.readers import READERS, Annotated, Question
from sensorium.data.readers.choice import AnySource
from sensorium.data.readers.rows import JsonRows
from sensorium.data.readers.turns import tagged_conversation
from sensorium.errors import SensoriumError
from sensorium.grounding import Box
from sensorium.media import open_image

SETTINGS = TypeAdapter(AnySource)


def _png(colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    PILImage.new("RGB", (8, 6), colour).save(buffer, "PNG")
    return buffer.getvalue()


def _write(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def _open(format: str, path: str, **settings: Any) -> Any:
    """An opened source, as another process gets it."""
    return pickle.loads(pickle.dumps(SETTINGS.validate_python({"format": format, "path": path, **settings}).open()))


def _said(conversation: Conversation) -> list[tuple[str, list[str]]]:
    """Role and parts of each turn, pictures by the last part of their path."""
    return [
        (m.role, [p.text if isinstance(p, Text) else f"[{Path(str(p.source)).name}]" for p in m.parts])
        for m in conversation
    ]


LLAVA = {
    "id": "000000033471",
    "image": "coco/train2017/000000033471.jpg",
    "conversations": [
        {"from": "human", "value": "<image>\nWhat are the colors of the bus?"},
        {"from": "gpt", "value": "White and red."},
        {"from": "human", "value": "Is it moving?"},
        {"from": "gpt", "value": "It is parked."},
    ],
}
TURNS = [{"from": "human", "value": "Look: <image>"}, {"from": "gpt", "value": "I see."}]


@pytest.mark.parametrize("as_lines", [False, True])
def test_llava(tmp_path, as_lines):
    rows = [LLAVA, {"id": "text", "conversations": [dict(TURNS[0], value="Hello"), TURNS[1]]}]
    content = "\n".join(map(json.dumps, rows)) + "\n" if as_lines else json.dumps(rows, indent=1)
    source = _open("llava", _write(tmp_path / "mix.json", content), images=str(tmp_path))
    assert len(source) == 2 and source[0].id == "000000033471"
    assert _said(source[0].content) == [
        ("user", ["[000000033471.jpg]", "What are the colors of the bus?"]), ("assistant", ["White and red."]),
        ("user", ["Is it moving?"]), ("assistant", ["It is parked."]),
    ]
    assert source[0].content.images[0].source == str(tmp_path / LLAVA["image"])
    assert _said(source[1].content)[0] == ("user", ["Hello"])


def test_pictures_stand_where_their_tags_do(tmp_path):
    turns = [{"from": "human", "value": "First <image>\nand then\n<image>"}, TURNS[1],
             {"from": "human", "value": "<image> again"}, TURNS[1]]
    row = {"id": 1, "image": ["a.png", "b.png", "c.png"], "conversations": turns}
    source = _open("llava", _write(tmp_path / "x.json", [row]))
    said = _said(source[0].content)
    assert said[0][1] == ["First ", "[a.png]", "and then", "[b.png]"] and said[2][1] == ["[c.png]", " again"]


def test_sharegpt_keys_and_a_system_turn(tmp_path):
    row = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "<image>What?"},
                        {"role": "assistant", "content": "A dog."}], "images": ["a.png"]}
    source = _open("sharegpt", _write(tmp_path / "x.jsonl", row))
    said = _said(source[0].content)
    assert said == [("system", ["Be brief."]), ("user", ["[a.png]", "What?"]), ("assistant", ["A dog."])]


@pytest.mark.parametrize(("row", "message"), [
    ({"image": "a.png", "conversations": [dict(TURNS[0], value="no tag"), TURNS[1]]}, "0 <image> tags for 1 pictures"),
    ({"conversations": TURNS}, "1 <image> tags for 0 pictures"),
    ({"image": "a.png", "conversations": [TURNS[0], {"from": "gpt", "value": "  "}]}, "reply in turn 2 is empty"),
    ({"image": "a.png", "conversations": [{"from": "alien", "value": "x"}]}, r"conversations\[0\]: unknown speaker"),
    ({"image": "a.png", "conversations": [TURNS[0]]}, "ends without a reply"),
    ({"image": "a.png", "conversations": [TURNS[0], {"from": "human", "value": "And?"}]}, "turn 2 is the user's"),
    ({"image": 7, "conversations": TURNS}, "image: expected a file name or a list"),
    ({"image": "/etc/passwd", "conversations": TURNS}, "points out of the folder"),
    ({"image": "../a.png", "conversations": TURNS}, "points out of the folder"),
    ({"image": "a.png"}, "has neither `conversations` nor `messages`"),
    ({"image": "a.png", "conversations": [{"from": "human", "value": ["<image>"]}]}, "expected the words"),
    ([1], "expected an object, found list"),
    ({"video": "a.mp4", "conversations": [dict(TURNS[0], value="<video>"), TURNS[1]]}, "video: clips and recordings"),
    ({"conversations": [{"from": "human", "value": "Where?"},
                        {"from": "gpt", "value": "<ref>it</ref><box>(10,10),(1500,1200)</box>"}]},
     r"conversations: turn 2: box \(10,10\),\(1500,1200\) is not four integers 0–999"),
    ({"messages": [{"role": "user", "content": "Is it in <box>(-1,5),(7,9)</box>?"}, {"role": "assistant",
                                                                                  "content": "Yes"}]},
     r"messages: turn 1: box \(-1,5\),\(7,9\) is not four integers 0–999"),
    ({"conversations": [{"from": "human", "value": "Where?"},
                        {"from": "gpt", "value": "<box>(0.1,0.2),(0.5,1)</box>"}]},
     r"turn 2: box \(0.1,0.2\),\(0.5,1\) is not four integers"),
    ({"conversations": [{"from": "human", "value": "Where?"},
                        {"from": "gpt", "value": "<box>(1,2),(3,4)</box> or <box>(500,10),(100,20)</box>"}]},
     r"turn 2: box \(500,10\),\(100,20\) has its corners swapped"),
    ({"system": {"a": 1}, "image": "a.png", "conversations": TURNS}, "system: expected words"),
    ({"system": "x", "image": "a.png", "conversations": [{"from": "system", "value": "y"}, *TURNS]},
     r"conversations\[0\]: system words may only come first"),
])
def test_a_damaged_row_names_file_row_and_reason(tmp_path, row, message):
    good = json.dumps(LLAVA)
    source = _open("llava", _write(tmp_path / "x.jsonl", f"{good}\n{json.dumps(row)}\n{good}\n"))
    with pytest.raises(SensoriumError, match=message) as caught:
        source[1]
    assert f"{tmp_path / 'x.jsonl'} line 2" in str(caught.value)
    assert source[2].id == source[0].id  # the rows around it are as good as before


def test_a_line_that_is_no_json_is_one_bad_row(tmp_path):
    source = _open("llava", _write(tmp_path / "x.jsonl", f'{json.dumps(LLAVA)}\n{{"id": \n{json.dumps(LLAVA)}\n'))
    with pytest.raises(SensoriumError, match="line 2: is not JSON"):
        source[1]
    assert len(source) == 3 and source[2].id == LLAVA["id"]


def test_a_row_of_json_lines_is_called_by_its_line_and_one_of_an_array_by_its_number(tmp_path):
    good, bad = json.dumps(LLAVA), json.dumps({"conversations": TURNS})
    source = _open("llava", _write(tmp_path / "x.jsonl", f"\n{good}\n\n  \n{bad}\n"))
    with pytest.raises(SensoriumError, match=r"x\.jsonl line 5: conversations"):
        source[1]
    source = _open("llava", _write(tmp_path / "x.json", f"[\n\n{good},\n{bad}]"))
    with pytest.raises(SensoriumError, match=r"x\.json row 2: conversations"):
        source[1]


@pytest.mark.parametrize("damage", [
    '[{"id": 1}', '[{"id": 1} {"id": 2}]', '[{"id": 1}, {"id"', '[{"id": 1},, {"id": 2}]', '[{"id": 1}]\n[{"id": 2}]',
])
def test_an_array_that_breaks_off_is_refused_when_opened(tmp_path, damage):
    with pytest.raises(SensoriumError, match=r"x.json: (ends inside|has no comma|is not JSON after|goes on at byte)"):
        _open("llava", _write(tmp_path / "x.json", damage))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text())), max_size=6), st.booleans(),
       st.sampled_from([None, 1]))
def test_any_row_of_an_array_or_of_lines_is_read_back(tmp_path_factory, rows, ascii_only, indent):
    folder = tmp_path_factory.mktemp("rows")
    array = folder / "array.json"
    array.write_text(json.dumps(rows, ensure_ascii=ascii_only, indent=indent), encoding="utf-8")
    assert [row for _, row in JsonRows(array)] == rows
    lines = folder / "lines.jsonl"
    lines.write_text("".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows), encoding="utf-8")
    assert [row for _, row in JsonRows(lines)] == rows


@given(st.lists(st.text(st.characters(exclude_characters="<\n", exclude_categories=["Cs"]), min_size=1), min_size=1),
       st.data())
def test_words_and_pictures_keep_their_order(words, data):
    pieces = [w if data.draw(st.booleans()) else None for w in words]
    images = [Image(f"{i}.png") for i, piece in enumerate(pieces) if piece is None]
    value = "".join("<image>" if piece is None else piece for piece in pieces)
    if not value.strip():
        return
    turns = [{"from": "human", "value": value}, {"from": "gpt", "value": "ok"}]
    conversation = tagged_conversation(turns, images, "row")
    assert list(conversation.images) == images
    spoken = "".join("<image>" if isinstance(part, Image) else part.text for part in conversation.messages[0].parts)
    assert "".join(spoken.split()) == "".join(value.split())  # blanks alone between two pictures are no words


@pytest.mark.parametrize("row", [
    {"conversations": [{"from": "human", "value": "Where is <box>?"},
                       {"from": "gpt", "value": "<box>(0,0),(999,999)</box> <box>[[1, 2, 1000, 4]]</box>"}]},
    {"conversations": [{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "<box>(7,8),(7,8)</box>"}]},
])
def test_boxes_that_can_be_and_what_is_no_box_stay(tmp_path, row):
    assert len(_open("llava", _write(tmp_path / "x.jsonl", row))[0].content.messages) == 2


def test_a_box_outside_the_thousandths_is_named_in_messages_too(tmp_path):
    row = {"messages": [{"role": "user", "content": "Where?"},
                        {"role": "assistant", "content": "<box>(1,2),(3,1000)</box>"}]}
    with pytest.raises(SensoriumError, match=r"line 1: messages: turn 2: box .* is not four integers 0–999"):
        _open("messages", _write(tmp_path / "x.jsonl", row))[0]


def test_messages_with_named_and_with_bare_pictures(tmp_path):
    (tmp_path / "a.png").write_bytes(_png())
    url = "data:image/png;base64," + base64.b64encode(_png("blue")).decode()
    part = {"type": "text", "text": "And?"}
    rows = [
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}, part]},
                      {"role": "assistant", "content": "Red."}]},
        {"messages": [{"role": "user", "content": [{"type": "image"}, part, {"type": "image"}]},
                      {"role": "assistant", "content": "Two."}], "images": ["a.png", url]},
        {"messages": [{"role": "user", "content": [{"type": "image"}]}, {"role": "assistant", "content": "x"}],
         "images": ["a.png", "a.png"]},
        {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "image"}]},
                      {"role": "assistant", "content": "x"}], "images": ["a.png"]},
    ]
    source = _open("messages", _write(tmp_path / "x.jsonl", "\n".join(map(json.dumps, rows))))
    assert open_image(source[0].content.images[0]).getpixel((0, 0)) == (255, 0, 0)
    shown = [open_image(image).getpixel((0, 0)) for image in source[1].content.images]
    assert shown == [(255, 0, 0), (0, 0, 255)]
    padded = {"messages": [{"role": "user", "name": None, "content": [
        {"index": 0, "text": None, "type": "image"}, {"index": None, "text": "What?", "type": "text"}]},
        {"role": "assistant", "content": [{"index": None, "text": "Red.", "type": "text"}]}], "images": ["a.png"]}
    assert _said(_open("messages", _write(tmp_path / "p.jsonl", padded))[0].content) == [
        ("user", ["[a.png]", "What?"]), ("assistant", ["Red."])]
    web = {"messages": [{"role": "user", "content": [{"type": "image", "url": "http://x/a.png"}]}, TURNS[1]]}
    web["messages"][1] = {"role": "assistant", "content": "x"}
    with pytest.raises(SensoriumError, match="is a web address"):
        _open("messages", _write(tmp_path / "w.jsonl", web))[0]
    with pytest.raises(SensoriumError, match="line 3: messages: shows 1 of the 2 pictures"):
        source[2]
    with pytest.raises(SensoriumError, match="line 4: messages: shows more pictures than the 1"):
        source[3]


def test_internvl_repeats_and_shares(tmp_path):
    rows = [dict(LLAVA, id=str(i), image=f"{i}.jpg") for i in range(4)]
    for name in ("a", "b"):
        _write(tmp_path / f"{name}.jsonl", "\n".join(json.dumps(dict(row, id=name + row["id"])) for row in rows))
    meta = {"one": {"root": "one/pictures", "annotation": "a.jsonl", "repeat_time": 2, "length": 4},
            "two": {"root": "two", "annotation": "b.jsonl", "repeat_time": 0.5}}
    source = _open("internvl", _write(tmp_path / "meta.json", meta))
    assert [source[i].id for i in range(len(source))] == [*["a0", "a1", "a2", "a3"] * 2, "b0", "b1"]
    assert source[9].content.images[0].source == str(tmp_path / "two/1.jpg")
    lines = [dict(rows[0], id="untagged", conversations=[{"from": "human", "value": "What?"}, TURNS[1]]),
             dict(rows[0], id="text", image="", conversations=[{"from": "human", "value": "What?"}, TURNS[1]])]
    _write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))
    source = _open("internvl", str(tmp_path / "meta.json"))
    assert _said(source[0].content)[0][1] == ["[0.jpg]", "What?"] and _said(source[1].content)[0][1] == ["What?"]
    for key, value in (("annotation", "../a.jsonl"), ("root", "/etc")):
        with pytest.raises(SensoriumError, match="points out of"):
            _open("internvl", _write(tmp_path / "meta.json", {"one": dict(meta["one"], **{key: value})}))
    _write(tmp_path / "empty.jsonl", "")
    with pytest.raises(SensoriumError, match=r"empty\.jsonl: has no rows"):
        _open("internvl", _write(tmp_path / "meta.json", {"one": {"annotation": "empty.jsonl"}}))
    with pytest.raises(SensoriumError, match="repeat_time: 0 is not a number above 0"):
        meta["two"]["repeat_time"] = 0
        _open("internvl", _write(tmp_path / "meta.json", meta))


COCO = {
    "images": [{"id": 7, "file_name": "7.jpg", "width": 100, "height": 50}, {"id": 9, "file_name": "9.jpg"}],
    "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 18, "bbox": [10, 5, 20, 40], "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 100, 50], "iscrowd": 1},
    ],
}


def test_coco_captions_and_instances_join_by_picture(tmp_path):
    captions = {"images": COCO["images"], "annotations": [{"image_id": 7, "caption": " A  dog\n"},
                                                          {"image_id": 7, "caption": "A brown dog."}]}
    source = _open("coco", _write(tmp_path / "i.json", COCO), also=_write(tmp_path / "c.json", captions))
    assert len(source) == 1  # picture 9 has neither
    found: Annotated = source[0].content
    assert found.captions == ("A dog", "A brown dog.") and found.crowds == ("person",)
    [region] = found.regions
    assert region.name == "dog" and region.box == Box(100, 100, 299, 899)  # 10–30 of 100, 5–45 of 50


@pytest.mark.parametrize(("bbox", "message"), [([90, 0, 20, 10], "lies outside the picture of 100 x 50"),
                                               ([5, 5, 0, 10], "is empty")])
def test_a_box_that_cannot_be_is_a_bad_row(tmp_path, bbox, message):
    broken = {**COCO, "annotations": [dict(COCO["annotations"][0], bbox=bbox)]}
    source = _open("coco", _write(tmp_path / "i.json", broken))
    with pytest.raises(SensoriumError, match=f"image 7: box 1: .*{message}"):
        source[0]
    captions = {**COCO, "annotations": [{"image_id": 7, "caption": "A dog."}]}
    both = _open("coco", str(tmp_path / "i.json"), also=_write(tmp_path / "c.json", captions))
    sample = both[0]  # the caption is as good as before
    assert sample.content.captions == ("A dog.",) and not sample.content.regions
    assert len(sample.faults) == 1 and message in str(sample.faults[0])


def test_vqa_groups_by_picture_and_orders_answers_by_votes(tmp_path):
    questions = {"questions": [{"question_id": 1, "image_id": 42, "question": "What?"},
                               {"question_id": 2, "image_id": 42, "question": "Who?"}]}
    votes = ["cat", "dog", "dog", "cat", "dog"]
    annotations = {"annotations": [
        {"question_id": 1, "image_id": 42, "answers": [{"answer": a} for a in votes]},
        {"question_id": 2, "image_id": 42, "answers": [{"answer": "me"}], "multiple_choice_answer": "you"}]}
    path, answers = _write(tmp_path / "q.json", questions), _write(tmp_path / "a.json", annotations)
    source = _open("vqa", path, annotations=answers)
    [sample] = [source[i] for i in range(len(source))]
    assert sample.content.image.source.endswith("COCO_train2014_000000000042.jpg")
    asked = [(q.text, q.answers) for q in sample.content.questions]
    assert asked == [("What?", ("dog", "cat")), ("Who?", ("you", "me"))]
    annotations["annotations"].pop()
    sample = _open("vqa", path, annotations=_write(tmp_path / "a.json", annotations))[0]
    assert len(sample.content.questions) == 1
    assert "questions[1]: question_id: 2 has no answer in a.json" in str(sample.faults[0])


def test_textvqa_and_gqa(tmp_path):
    text = {"data": [{"question_id": 0, "image_id": "0a0b", "question": "brand?", "answers": ["x", "x", "y"]}]}
    assert _open("textvqa", _write(tmp_path / "t.json", text))[0].content.questions[0].answers == ("x", "y")
    gqa = {"q1": {"imageId": "n1", "question": "Is it?", "answer": "no", "fullAnswer": "No, it is not."}}
    path = _write(tmp_path / "g.json", gqa)
    assert _open("gqa", path)[0].content.questions[0].answers == ("no",)
    assert _open("gqa", path, full=True)[0].content.questions[0].answers == ("No, it is not.",)


def test_refcoco_and_its_pickle(tmp_path):
    references = [{"split": split, "image_id": 7, "ann_id": 1, "sentences": [{"sent": "the dog"}, {"sent": "left one"}]}
                  for split in ("train", "val")]
    path = tmp_path / "refs(unc).p"
    path.write_bytes(pickle.dumps(references))
    instances = _write(tmp_path / "instances.json", COCO)
    source = _open("refcoco", str(path), instances=instances)
    assert [(r.name, r.box.corners, r.is_class) for r in source[0].content.regions] == [
        ("the dog", (100, 100, 299, 899), False), ("left one", (100, 100, 299, 899), False)]
    with pytest.raises(SensoriumError, match=r"split 'test': is not there. There are train, val"):
        _open("refcoco", str(path), instances=instances, split="test")
    path.write_bytes(pickle.dumps(Path("/")))  # a pickle that names a class
    with pytest.raises(SensoriumError, match=r"not a pickle of plain values .it holds pathlib"):
        _open("refcoco", str(path), instances=instances)


def test_visual_genome(tmp_path):
    data = [{"image_id": 1, "width": 200, "height": 100, "url": "https://cs/rak248/VG_100K_2/1.jpg"}]
    region = {"region_id": 5, "image_id": 1, "phrase": " a clock ", "x": 20, "y": 10, "width": 40, "height": 50}
    source = _open("visual-genome", _write(tmp_path / "r.json", [{"id": 1, "regions": [region]}]),
                   image_data=_write(tmp_path / "d.json", data))
    [found] = source[0].content.regions
    assert (found.name, found.box.corners) == ("a clock", (100, 100, 299, 599))
    assert source[0].content.image.source.endswith("VG_100K_2/1.jpg")


def _read(source: Any) -> tuple[list[str], list[str]]:
    """The ids of the samples that are read, and what is said of the others and of what was left out."""
    ids, said = [], []
    for i in range(len(source)):
        try:
            sample = source[i]
        except SensoriumError as error:
            said.append(str(error))
        else:
            ids.append(sample.id)
            said += map(str, sample.faults)
    return ids, said


def test_one_bad_row_of_coco_costs_itself_and_what_points_at_it(tmp_path):
    broken = {
        "images": [None, {"id": 8}, *COCO["images"]],
        "categories": [{"id": 2, "name": None}, [], *COCO["categories"]],
        "annotations": [7, {"image_id": 8, "caption": "x"}, *COCO["annotations"],
                        dict(COCO["annotations"][0], category_id=2)],
    }
    path = _write(tmp_path / "i.json", broken)
    ids, said = _read(_open("coco", path))
    assert ids == ["7"]
    places = ("images[0]", "images[1]: file_name", "categories[0]: name", "categories[1]", "annotations[0]",
              "annotations[1]: image_id", "annotations[4]: category_id")
    assert len(said) == len(places) and all(any(place in line for line in said) for place in places)
    references = tmp_path / "refs.p"
    references.write_bytes(pickle.dumps([None, {"split": "train", "image_id": 7, "ann_id": 1,
                                                "sentences": [{"sent": "the dog"}]}]))
    broken["annotations"].append({"id": [1], "image_id": 7})
    ids, said = _read(_open("refcoco", str(references), instances=_write(tmp_path / "i.json", broken)))
    assert ids == ["7"] and any("reference 0" in line for line in said)
    assert any("images[1]: file_name" in line for line in said) and any("annotations[5]: id" in line for line in said)


def test_one_bad_row_of_visual_genome_costs_itself(tmp_path):
    picture = {"image_id": 1, "width": 200, "height": 100, "url": "https://cs/rak248/VG_100K_2/1.jpg"}
    region = {"region_id": 5, "image_id": 1, "phrase": "a clock", "x": 20, "y": 10, "width": 40, "height": 50}
    rows = [{"id": 2, "regions": None}, {"id": 1, "regions": [None, region]}, 5]
    ids, said = _read(_open("visual-genome", _write(tmp_path / "r.json", rows),
                            image_data=_write(tmp_path / "d.json", [{"image_id": 2, "url": None}, picture])))
    assert ids == ["1"] and len(said) == 4
    places = ("d.json[0]: url", "r.json[0]: regions: is missing", "r.json[1]: regions[0]", "r.json[2]")
    assert all(any(place in line for line in said) for place in places)


def test_answers_that_are_no_list_cost_their_question(tmp_path):
    questions = {"questions": [{"question_id": i, "image_id": i, "question": "What?"} for i in range(3)]}
    answers = {"annotations": [{"question_id": 0, "answers": 7}, {"question_id": [1], "answers": []},
                               {"question_id": 2, "answers": [{"answer": "cat"}]}]}
    ids, said = _read(_open("vqa", _write(tmp_path / "q.json", questions),
                            annotations=_write(tmp_path / "a.json", answers)))
    assert ids == ["2"] and "expected a list" in said[0] and "has no answer" in said[1]


def test_mimic_it_shows_related_rows_first(tmp_path):
    row = {"instruction": "What changed?", "answer": "The car left.", "image_ids": ["A", "B"], "rel_ins_ids": ["r"]}
    other = {"instruction": "And here?", "answer": "Nothing.", "image_ids": ["A"], "rel_ins_ids": []}
    encoded = {name: base64.b64encode(_png(c)).decode() for name, c in (("A", "red"), ("B", "blue"))}
    source = _open("mimic-it", _write(tmp_path / "m.json", {"meta": {}, "data": {"own": row, "r": other}}),
                   encoded=_write(tmp_path / "p.json", encoded))
    conversation = source[0].content
    assert [message.text for message in conversation] == ["And here?", "Nothing.", "What changed?", "The car left."]
    colours = [open_image(image).getpixel((0, 0)) for image in conversation.images]
    assert colours == [(255, 0, 0), (255, 0, 0), (0, 0, 255)]


def test_a_spreadsheet_by_its_headings(tmp_path):
    text = 'File,Question,Answer,Class\na.png,"What, here?",A dog,\na.png,Where?,Left,animal\nb.png,,,\n'
    source = _open("csv", _write(tmp_path / "x.csv", text))
    assert len(source) == 2
    assert [(q.text, q.answers) for q in source[0].content.questions] == [("What, here?", ("A dog",)),
                                                                         ("Where?", ("Left",))]
    assert source[0].content.label == "animal"
    choices = "image,question,answer,A,B,words\na.png,Which?,b,cat,dog,STOP\na.png,And?,,x,y,\na.png,Or?,cow,x,y,\n"
    sample = _open("csv", _write(tmp_path / "c.csv", choices))[0]
    assert sample.content.questions == (Question("Which?", ("dog",), ("cat", "dog")),)
    assert sample.content.words == ("STOP",)
    assert [str(fault).split("line ")[1] for fault in sample.faults] == [
        "3: answer: is empty.", "4: answer: 'cow' is neither a choice nor the letter of one."]
    with pytest.raises(SensoriumError, match=r"x.csv line 4: says nothing"):
        source[1]
    with pytest.raises(SensoriumError, match="has the columns image, colour"):
        _open("csv", _write(tmp_path / "y.csv", "image,colour\na.png,red\n"))


def test_a_row_of_a_spreadsheet_with_more_or_fewer_fields_than_the_heading_is_a_bad_one(tmp_path):
    text = 'image,caption\na.png,A dog, running\n\nb.png\nc.png,"A cat, asleep"\nd.png,A cow,,\n'
    source = _open("csv", _write(tmp_path / "x.csv", text))
    ids, said = _read(source)
    assert ids == ["c.png", "d.png"] and source[0].content.captions == ("A cat, asleep",)
    assert "x.csv line 2: after caption: ' running' has no column: the row has 3 fields, the heading 2." in said[0]
    assert "x.csv line 4: caption: is missing: the row has 1 fields, the heading 2." in said[1] and len(said) == 2


@pytest.mark.parametrize("stray", ['b.png,"A cat', 'b.png,"A cat" and more', 'b.png,"A cat,"'])
@pytest.mark.parametrize("last", ["d.png,plain", 'd.png,"A cow, a horse"'])
def test_a_stray_quote_costs_its_row(tmp_path, stray, last):
    text = f'image,caption\na.png,"A ""dog"",\nrunning"\n{stray}\nc.png,A 5" nail\n{last}\n'
    source = _open("csv", _write(tmp_path / "x.csv", text))
    ids, said = _read(source)
    if stray == 'b.png,"A cat,"':  # quotes that fit
        assert ids == ["a.png", "b.png", "c.png", "d.png"] and not said
        return
    assert ids == ["a.png", "c.png", "d.png"] and source[1].content.captions == ('A 5" nail',)
    assert len(said) == 1 and "x.csv line 4: its quotes do not fit" in said[0]


def _parquet(path: Path, rows: list[dict[str, Any]]) -> str:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return str(path)


def _row(*turns: tuple[str, str], images: int = 1, **more: Any) -> dict[str, Any]:
    shown = [{"bytes": _png(), "path": None} for _ in range(images)]
    return {"images": shown, "texts": [{"user": q, "assistant": a} for q, a in turns], **more}


@pytest.fixture
def own_tables(tmp_path, monkeypatch):
    """A cache of tables in the test's folder."""
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))


def test_parquet_of_the_cauldrons_form(tmp_path, own_tables):
    rows = [_row(("<image>\nWhat?", "A dog."), ("Where?", "Here.")), _row(("No words", ""), images=0)]
    source = _open("parquet", _parquet(tmp_path / "[a].parquet", rows))
    assert len(source) == 2
    said = [(m.role, m.text) for m in source[0].content]
    assert said == [("user", "What?"), ("assistant", "A dog."), ("user", "Where?"), ("assistant", "Here.")]
    assert open_image(source[0].content.images[0]).getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(SensoriumError, match=r"row 2: texts\[0\]: assistant: expected words, found an empty string"):
        source[1]


def test_parquet_turns_below_a_rating_are_left_out(tmp_path, own_tables):
    folder = tmp_path / "shards"
    folder.mkdir()
    turns = [("One?", "1"), ("Two?", "2")]
    _parquet(folder / "0.parquet", [_row(*turns, relevance_ratings=[5, 2]), _row(*turns, relevance_ratings=[1, 1])])
    _parquet(folder / "1.parquet", [_row(*turns, relevance_ratings=[3])])
    source = _open("parquet", str(folder), least={"relevance": 3})
    assert [m.text for m in source[0].content] == ["One?", "1"]
    with pytest.raises(SensoriumError, match="row 2: ratings: no turn is rated relevance >= 3"):
        source[1]
    with pytest.raises(SensoriumError, match="row 3: relevance_ratings: expected 2 ratings"):
        source[2]
    with pytest.raises(SensoriumError, match="has no column 'formatting_ratings'"):
        _open("parquet", str(folder), least={"formatting": 3})


def test_tables_of_different_columns_are_told_by_file_column_and_types(tmp_path, own_tables):
    good = _row(("One?", "1"))
    _parquet(tmp_path / "0.parquet", [good])
    _parquet(tmp_path / "1.parquet", [dict(good, texts="One?")])
    message = r"1\.parquet: texts: expected list<.*user: string.*>, as in 0\.parquet, found string\."
    with pytest.raises(SensoriumError, match=message):
        _open("parquet", str(tmp_path))
    _parquet(tmp_path / "1.parquet", [{"images": good["images"], "text": good["texts"]}])
    with pytest.raises(SensoriumError, match=r"1\.parquet: has no column 'texts', which 0\.parquet has"):
        _open("parquet", str(tmp_path))
    (tmp_path / "1.parquet").write_bytes(b"no parquet")
    with pytest.raises(SensoriumError, match=r"1\.parquet: cannot be read as parquet"):
        _open("parquet", str(tmp_path))


def test_pictures_of_a_table_lie_where_any_sources_do(tmp_path, own_tables):
    path = _parquet(tmp_path / "0.parquet", [dict(_row(("One?", "1")), images=["a.png"])])
    source = _open("parquet", path, images=str(tmp_path))
    assert source[0].content.images[0].source == str(tmp_path / "a.png")
    with pytest.raises(SensoriumError, match=r"hf://no: is not a hub address"):
        _open("parquet", path, images="hf://no")
    with pytest.raises(SensoriumError, match=r"nowhere: does not exist"):
        _open("parquet", path, images=str(tmp_path / "nowhere"))


def test_what_is_no_parquet_is_refused(tmp_path, own_tables):
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    with pytest.raises(SensoriumError, match=r"x\.parquet: cannot be read as parquet"):
        _open("parquet", str(tmp_path / "x.parquet"))


def _shard(path: Path, files: dict[str, bytes]) -> str:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return str(path)


def test_webdataset_shards(tmp_path):
    turns = json.dumps({"conversations": [{"from": "human", "value": "<image>?"}, {"from": "gpt", "value": "Red."}]})
    _shard(tmp_path / "0.tar", {"000.png": _png(), "000.txt": b"A red square.\n", "001.png": _png("blue"),
                                "001.json": turns.encode()})
    _shard(tmp_path / "1.tar", {"d/002.png": _png(), "d/002.cls": b"7", "d/003.png": _png(), "d/003.cls": b"square"})
    source = _open("webdataset", str(tmp_path))
    assert len(source) == 4
    assert source[0].content.captions == ("A red square.",) and source[3].content.label == "square"
    assert open_image(source[1].content.images[0]).getpixel((0, 0)) == (0, 0, 255)
    _shard(tmp_path / "0.tar", {"._000.png": b"x", "000.png": _png(), "._000.txt": b"y", "000.txt": b"A square."})
    assert _open("webdataset", str(tmp_path / "0.tar"))[0].content.captions == ("A square.",)
    with pytest.raises(SensoriumError, match=r"1.tar sample d/002: holds a picture and no words"):
        source[2]


@pytest.mark.parametrize(("where", "n_good"), [("data", 2), ("header", 1), ("boundary", 1)])
def test_a_damaged_shard_is_refused_unless_the_settings_take_it(tmp_path, where, n_good):
    path = Path(_shard(tmp_path / "0.tar", {f"{i}.{kind}": data for i in range(3)
                                            for kind, data in (("txt", b"words"), ("png", _png()))}))
    whole = bytearray(path.read_bytes())
    middle = whole.index(b"1.png")  # of six members the fourth header
    if where == "data":
        del whole[whole.rindex(_png()) + 20 :]
    elif where == "header":
        whole[middle + 148] ^= 1  # its checksum
    else:
        del whole[middle:]
    path.write_bytes(whole)
    with pytest.raises(SensoriumError, match=r"0\.tar: is damaged at byte [\d,]+: .* cannot be told"):
        _open("webdataset", str(path))
    source = _open("webdataset", str(path), damaged="take")
    with pytest.raises(SensoriumError, match=r"0\.tar: is damaged at byte "):
        source[len(source) - 1]
    bad = 0
    for i in range(len(source)):
        try:
            source[i]
        except SensoriumError:
            bad += 1
    assert bad == len(source) - n_good > 0


def test_what_lies_behind_damage_in_a_shard_is_read_when_it_is_taken(tmp_path):
    path = Path(_shard(tmp_path / "0.tar", {f"{i:02}.{kind}": data for i in range(20)
                                            for kind, data in (("txt", b"words"), ("png", _png()))}))
    whole = bytearray(path.read_bytes())
    middle = whole.index(b"10.png")
    whole[middle : middle + 512] = bytes(512)  # as a hole in a copied file is
    path.write_bytes(whole)
    with pytest.raises(SensoriumError, match="is damaged at byte"):
        _open("webdataset", str(path))
    source = _open("webdataset", str(path), damaged="take")
    read = []
    for i in range(len(source)):
        try:
            read.append(int(source[i].id))
        except SensoriumError as error:
            assert "damage" in str(error)
    assert read == [*range(10), *range(12, 20)]  # 11 begins behind the damage: a file of it may have been lost


def test_what_is_no_plain_tar_is_refused(tmp_path):
    path = tmp_path / "0.tar"
    path.write_bytes(b"no tar at all" * 100)
    with pytest.raises(SensoriumError, match="is not a plain tar file"):
        _open("webdataset", str(path))
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("0.txt"))
    with pytest.raises(SensoriumError, match="unpack it if it is compressed"):
        _open("webdataset", str(path))


def test_every_format_has_a_line_and_refuses_what_is_not_there(tmp_path):
    missing = str(tmp_path / "missing.json")
    more = {"vqa": {"annotations": missing}, "refcoco": {"instances": missing},
            "visual-genome": {"image_data": missing}}
    for name in READERS:
        if name != "parquet" or find_spec("datasets"):
            with pytest.raises(SensoriumError, match=r"missing\.json: does not exist"):
                _open(name, missing, **more.get(name, {}))


JUNK = st.sampled_from([None, True, 7, 1.5, "x", "", [], [1], {}, {"a": 1}])
TREES = {
    "coco": ({"also": None}, COCO),
    "llava": ({}, [LLAVA]),
    "gqa": ({}, {"q1": {"imageId": "n1", "question": "Is it?", "answer": "no"}}),
    "textvqa": ({}, {"data": [{"image_id": "0a", "question": "brand?", "answers": ["x", "x"]}]}),
    "messages": ({}, [{"messages": [{"role": "user", "content": [{"type": "image", "image": "a.png"}]},
                                    {"role": "assistant", "content": "x"}]}]),
    "mimic-it": ({}, {"data": {"a": {"instruction": "x", "answer": "y", "image_ids": ["A"], "rel_ins_ids": ["a"]}}}),
}


def _places(tree: Any, path: tuple = ()) -> list[tuple]:
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(place for key, child in children for place in _places(child, (*path, key)))]


def _with(tree: Any, path: tuple, value: Any) -> Any:
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = _with(tree[path[0]], path[1:], value)
    return copy


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(sorted(TREES)), st.data())
def test_whatever_stands_in_a_field_is_read_or_named_and_never_a_traceback(tmp_path_factory, name, data):
    options, tree = TREES[name]
    broken = _with(tree, data.draw(st.sampled_from(_places(tree))), data.draw(JUNK))
    path = _write(tmp_path_factory.mktemp("junk") / "x.json", json.dumps(broken))
    try:
        source = _open(name, path, **options)
        samples = range(len(source))
    except SensoriumError as error:
        assert "x.json" in str(error)
        return
    for i in samples:
        try:
            sample = source[i]
        except SensoriumError as error:
            assert "x.json" in str(error), error
        else:
            assert all(isinstance(fault, SensoriumError) for fault in sample.faults)
