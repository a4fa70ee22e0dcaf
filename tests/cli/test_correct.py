"""`sensorium correct`: what it prints, writes and refuses."""

from __future__ import annotations

import json

import pytest
from PIL import Image, ImageDraw, ImageFont


@pytest.fixture
def sign(tmp_path):
    """A white picture on which LIBRARY is written."""
    picture = Image.new("RGB", (400, 200), "white")
    ImageDraw.Draw(picture).text((30, 60), "LIBRARY", fill="black", font=ImageFont.load_default(size=64))
    path = tmp_path / "sign.png"
    picture.save(path)
    return path


def test_a_wrong_text_is_corrected_with_its_reasons(sensorium, sign, tmp_path):
    said = 'A sign says "BAKERY". What a day!'
    words = ("correct", "--image", sign, "--text", said, "--verifier", "text")
    done = sensorium(*words, "--html", tmp_path / "why.html", "--draw", tmp_path / "boxes.png")
    lines = done.out.splitlines()
    assert lines[0] == 'A sign says "LIBRARY". What a day!'
    assert lines[1] == 'A sign says "[-BAKERY-]{+LIBRARY+}". What a day!'
    assert any(line.split()[0] == "refuted" and "LIBRARY" in line for line in lines[2:])
    assert "model calls: text 1" in done.err
    assert "<del>BAKERY</del>" in (tmp_path / "why.html").read_text()
    assert Image.open(tmp_path / "boxes.png").size == (400, 200)


def test_a_report_can_be_taken_up_again(sensorium, sign, tmp_path):
    words = ("correct", "-i", sign, "-t", 'A sign says "BAKERY".', "--verifier", "text", "--json")
    first = json.loads(sensorium(*words).out)
    (tmp_path / "report.json").write_text(json.dumps(first))
    again = json.loads(sensorium(*words, "--report", tmp_path / "report.json", "--risk", "0.001").out)
    assert first["output"] == 'A sign says "LIBRARY".' and again["output"] == first["text"]
    assert again["cost"]["calls"] == {}


def test_many_texts_go_through_files(sensorium, sign, tmp_path):
    rows = [{"id": "x", "image": "sign.png", "text": 'The sign reads "BANK".'},
            {"id": "y", "image": "no.png", "text": "A"}]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("correct", "--input", tmp_path / "rows.jsonl", "--out", tmp_path / "out.jsonl", "--verifier", "text")
    assert "1 corrected, 0 done before, 1 failed" in sensorium(*words).err
    assert "0 corrected, 2 done before, 0 failed" in sensorium(*words).err
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert first["report"]["output"] == 'The sign reads "LIBRARY".' and "no.png" in second["error"]


def test_a_model_can_be_asked_first(sensorium, sign, engine):
    engine.replies = ['A sign says "LIBRARY".']
    done = sensorium("correct", "-i", sign, "--engine", "any", "-q", "What is written?", "--verifier", "text")
    assert done.code == 0 and done.out.splitlines()[0] == 'A sign says "LIBRARY".'
    assert engine.asked[0].messages[0].text == "What is written?"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--image: is missing"),
        (("-i", "PICTURE"), "--text: is missing"),
        (("-i", "PICTURE", "-t", " "), "--text: is empty"),
        (("-i", "PICTURE", "-t", "图里有一只狗"), "only English is supported yet"),
        (("-i", "nowhere.png", "-t", "A dog."), "nowhere.png: does not exist"),
        (("-i", "PICTURE", "-t", "A dog.", "--verifier", "detecter"), "Did you mean `detector`"),
        (("-i", "PICTURE", "-t", "A dog.", "--editor", "maximal"), "Did you mean `minimal`"),
        (("-i", "PICTURE", "-t", "A dog.", "--risk", "0.9"), "--risk: "),
        (("-i", "PICTURE", "-t", "A dog.", "--doubtful", "panic"), "--doubtful: "),
        (("-i", "PICTURE", "-t", "A dog.", "--draw", "x.txt"), "is no picture format"),
        (("-i", "PICTURE", "-t", "A dog.", "--verifier", "asked"), "needs an engine to ask"),
        (("-i", "PICTURE", "-t", "A dog.", "--method", "vcd"), "--method: says how a model is asked"),
        (("-i", "PICTURE", "-t", "A dog.", "--engine", "any", "--method", "vdc"), "Did you mean `vcd`"),
        (("-i", "PICTURE", "-t", "A.", "--verifier", "text", "--report", "gone.json"), "cannot be read as a report"),
        (("--input", "rows.jsonl"), "--input: needs --out"),
        (("-i", "PICTURE", "-t", "A dog.", "--verifier", "judge"), "needs a second engine"),
        (("-i", "PICTURE", "-t", "A dog.", "--from", "edits"), "--from: takes stages from an earlier report"),
        (("-i", "PICTURE", "-t", "A dog.", "--protocol", "woodpeker"), "Did you mean `woodpecker`"),
        (("-i", "PICTURE", "-t", "A dog.", "--protocol", "woodpecker"), "--llm: is missing"),
        (("-i", "PICTURE", "-t", "A dog.", "--protocol", "woodpecker", "--llm", "x"), "--judge: is missing"),
        (("-i", "PICTURE", "-t", "A dog.", "--protocol", "woodpecker", "--risk", "0.1"), "--risk: has no place"),
        (("-i", "PICTURE", "-t", "A dog.", "--llm", "x"), "--llm: is of --protocol woodpecker"),
        (("--run", "nowhere", "--data", "nowhere", "--out", "o"), "nowhere: holds no replies.jsonl"),
        (("--run", "nowhere", "--out", "o"), "--data: is missing"),
    ],
)
def test_a_wrong_option_is_an_error_in_a_line(sensorium, sign, words, message):
    words = [sign if word == "PICTURE" else word for word in words]
    assert message in sensorium("correct", *words).error


def test_a_models_answer_comes_out_corrected_sentence_by_sentence(sensorium, sign, engine):
    engine.replies = ['A sign says "BAKERY". What a day! It is nice.']
    words = ("correct", "-i", sign, "--engine", "any", "-q", "What is written?", "--verifier", "text")
    done = sensorium(*words)
    assert done.out.splitlines()[:2] == ['A sign says "LIBRARY". What a day! It is nice.',
                                         'A sign says "[-BAKERY-]{+LIBRARY+}". What a day! It is nice.']  # fmt: skip
    assert json.loads(sensorium(*words, "--json").out)["output"] == done.out.splitlines()[0]
    engine.replies = ["图里有一只狗。"]
    done = sensorium(*words)
    assert done.code == 0 and done.out == "图里有一只狗。\n" and "not corrected: text: is not in a Latin" in done.err
    engine.replies = [""]
    assert "the model said nothing" in sensorium(*words).error
