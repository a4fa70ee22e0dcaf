"""`sensorium chat`: once and turn by turn, with an engine that says what it is told; one run with a real model."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from sensorium.conversation import Conversation

BOXED = "The <ref>dog</ref><box>(100,200),(500,600)</box> sleeps."


def test_a_real_model_answers_a_question_about_a_picture(process, model_folder, small_engine, picture):
    from sensorium.conversation import Image as ImagePart
    from sensorium.conversation import user
    from sensorium.engine import Sampling

    outcome = process("chat", model_folder, "-i", picture, "-q", "What is it?", "--max-new-tokens", 6)
    conversation = Conversation((user(ImagePart(str(picture)), "What is it?"),))
    expected = small_engine.answer([conversation], Sampling(max_new_tokens=6))[0]
    assert outcome.code == 0
    assert outcome.out == expected.text + "\n"
    assert "Loading" not in outcome.err


def test_pictures_come_before_the_question(sensorium, engine, model, picture, tmp_path):
    other = tmp_path / "other.jpg"
    Image.new("RGB", (20, 20)).save(other)
    assert sensorium("chat", model, "-i", picture, "-i", other, "-q", "Which?").out == "A cat.\n"
    [message] = engine.asked[0].messages
    shown_and_said = [getattr(part, "source", None) or part.text for part in message.parts]
    assert shown_and_said == [str(picture), str(other), "Which?"]


def test_a_reply_that_is_cut_off_says_so(sensorium, engine, model):
    engine.finish = "length"
    assert "cut off after 7 tokens" in sensorium("chat", model, "-q", "Why?", "--max-new-tokens", 7).err


def test_boxes_are_drawn_into_a_copy(sensorium, engine, model, picture, tmp_path):
    engine.replies = [BOXED]
    out = tmp_path / "out.png"
    before = picture.read_bytes()
    assert "drew 1 box into" in sensorium("chat", model, "-i", picture, "-q", "Where?", "--draw", out).err
    with Image.open(out) as drawn:
        assert drawn.size == (1000, 500)
        assert drawn.getpixel((300, 300)) != (128, 128, 128), "the lower edge at 600 of 1000"
        assert drawn.getpixel((500, 200)) != (128, 128, 128), "the right edge at 500 of 1000"
        assert drawn.getpixel((300, 200)) == (128, 128, 128), "inside the box"
    assert picture.read_bytes() == before


def test_without_boxes_nothing_is_drawn_and_it_says_so(sensorium, engine, model, picture, tmp_path):
    out = tmp_path / "out.png"
    outcome = sensorium("chat", model, "-i", picture, "-q", "Where?", "--draw", out)
    assert outcome.code == 0 and "no boxes" in outcome.err and not out.exists()


def test_boxes_in_a_reply_about_a_video_are_drawn_into_no_picture_that_came_before(
    sensorium, engine, model, picture, film, tmp_path
):
    engine.replies = [BOXED]
    clip, first, second = film(tmp_path / "clip.mp4", [40, 80]), tmp_path / "first.png", tmp_path / "second.png"
    lines = [f"/image {picture}", "Where?", f"/draw {first}", f"/video {clip}", "And here?", f"/draw {second}",
             f"/image {picture}", "And now?", f"/draw {second}"]  # fmt: skip
    done = sensorium("chat", model, stdin="\n".join(lines[:6]))
    assert "drew 1 box into" in done.err and first.exists() and not second.exists()
    assert "error: --draw: a video was shown last" in done.err
    assert f"drew 1 box into {second}" in sensorium("chat", model, stdin="\n".join(lines)).err
    asked = ("chat", model, "-i", picture, "--video", clip, "-q", "Where?")
    assert [box["pixels"] for box in json.loads(sensorium(*asked, "--json").out)["boxes"]] == [None]
    n_asked = len(engine.asked)
    assert "--draw: is about a picture" in sensorium(*asked, "--draw", second).error
    assert "--correct: is about a picture" in sensorium(*asked, "--correct").error
    rows = [{"role": "user", "content": [{"type": "image", "path": str(picture)}, {"type": "video", "path": str(clip)},
                                         {"type": "text", "text": "Where?"}]}]  # fmt: skip
    (tmp_path / "said.json").write_text(json.dumps(rows))
    said = ("chat", model, "--conversation", tmp_path / "said.json", "--draw", second)
    assert "--draw: there is no picture to draw into" in sensorium(*said).error
    assert len(engine.asked) == n_asked


def test_json_is_one_object_with_boxes_in_pixels_and_thousandths(sensorium, engine, model, picture):
    engine.replies = [BOXED]
    outcome = sensorium("chat", model, "-i", picture, "-q", "Where?", "--json")
    [box] = (found := json.loads(outcome.out)).pop("boxes")
    assert found == {
        "model": "scripted", "reply": BOXED, "finish": "stop", "tokens": {"prompt": 9, "reply": 3}, "drawn": None,
    }  # fmt: skip
    assert (box["name"], box["thousandths"]) == ("dog", [100, 200, 500, 600])
    assert box["pixels"] == pytest.approx([100.5, 100.25, 500.5, 300.25], abs=0.06)
    assert outcome.err == ""


def test_a_chat_takes_several_pictures_and_turns_from_a_pipe(sensorium, engine, model, picture):
    engine.replies = ["One.", "Two.", "Three."]
    lines = [f"/image {picture}", f'/image "{picture}"', "What?", "", "And?", "/reset", "Again?", "/quit", "Not this."]
    outcome = sensorium("chat", model, stdin="\n".join(lines))
    assert (outcome.code, outcome.out) == (0, "One.\nTwo.\nThree.\n")
    first, second, third = engine.asked
    assert len(first.images) == 2 and first.messages[0].text == "What?"
    assert [m.role for m in second] == ["user", "assistant", "user"] and second.messages[1].text == "One."
    assert len(third.messages) == 1 and third.images == ()


def test_after_a_mistake_the_chat_goes_on(sensorium, engine, model, picture):
    lines = ["/image nowhere.png", "/imag x", "/image", "/save", "/draw x.png", f"/image {picture}", "What?"]
    outcome = sensorium("chat", model, stdin="\n".join(lines))
    assert (outcome.code, outcome.out) == (0, "A cat.\n")
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert ["nowhere.png" in errors[0], "`image`" in errors[1], "missing" in errors[2]] == [True, True, True]
    assert len(errors) == 5 - 1, "/draw with no reply yet has no boxes, which is no mistake"
    assert len(engine.asked[0].images) == 1


def test_a_question_that_fails_is_forgotten(sensorium, model, engine, picture, monkeypatch):
    from sensorium.errors import SensoriumError

    answer = engine.stream

    def refuse_once(conversation, sampling):
        monkeypatch.setattr(engine, "stream", answer)
        raise SensoriumError("conversation", "is too long.")

    monkeypatch.setattr(engine, "stream", refuse_once)
    outcome = sensorium("chat", model, stdin="First?\nSecond?\n")
    assert "error: conversation: is too long." in outcome.err and outcome.out == "A cat.\n"
    assert [m.text for m in engine.asked[0]] == ["Second?"]


def test_a_saved_conversation_is_gone_on_with(sensorium, engine, model, picture, tmp_path, monkeypatch):
    saved = tmp_path / "talk.json"
    monkeypatch.chdir(picture.parent)
    sensorium("chat", model, stdin=f"/image {picture.name}\nWhat?\n/save {saved}\n")
    monkeypatch.chdir(tmp_path.parent)
    assert sensorium("chat", model, "--conversation", saved, "-q", "Sure?").out == "A cat.\n"
    assert [m.text for m in engine.asked[-1]] == ["What?", "A cat.", "Sure?"]
    assert engine.asked[-1].images[0].source == str(picture), "found from another folder"
    assert Conversation.from_json(saved.read_text()).to_json() == json.loads(saved.read_text())


def test_a_conversation_that_ends_with_a_question_is_answered(sensorium, engine, model, tmp_path):
    asked = tmp_path / "ask.json"
    asked.write_text(json.dumps([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]))
    assert json.loads(sensorium("chat", model, "--conversation", asked, "--json").out)["reply"] == "A cat."
    assert [m.role for m in engine.asked[0]] == ["system", "user"]


def test_constrain_reaches_the_engine(sensorium, engine, model, tmp_path, monkeypatch):
    from sensorium.engine import YES_NO, Boxes, JsonSchema, OneOf

    schema = {"type": "object", "properties": {"b": {}, "a": {}}}
    (tmp_path / "answer.json").write_text(json.dumps(schema))
    expected = {"yes-no": YES_NO, "boxes": Boxes(), "red| dark blue |é": OneOf(("red", "dark blue", "é")),
                tmp_path / "answer.json": JsonSchema.of(schema)}
    asked, stream = [], engine.stream
    monkeypatch.setattr(engine, "stream", lambda talk, sampling: asked.append(sampling) or stream(talk, sampling))
    for what in expected:
        assert sensorium("chat", model, "-q", "Why?", "--constrain", what).code == 0
    assert sensorium("chat", model, "-q", "Why?").code == 0
    assert [sampling.constrain for sampling in asked] == [*expected.values(), None]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("yes_no", "did you mean `yes-no`"), ("red", "write choices, as in 'red|green'"), ("red||green", "no choices"),
        ("nowhere.json", "cannot be read"), ("bad.json", "is not JSON"), ("list.json", "no JSON object"),
    ],
)  # fmt: skip
def test_a_constraint_that_cannot_be_read_is_said_before_the_model_is_loaded(sensorium, model, tmp_path, monkeypatch,
                                                                              what, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text("{no")
    (tmp_path / "list.json").write_text("[1]")
    monkeypatch.setattr("sensorium.engine.loading.load_engine", lambda *a, **k: pytest.fail("was loaded"))
    assert said.lower() in sensorium("chat", model, "-q", "Why?", "--constrain", what).error.lower()


def test_ctrl_c_is_quiet(sensorium, model, monkeypatch):
    def interrupted(name, progress=None, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("sensorium.engine.loading.load_engine", interrupted)
    assert (outcome := sensorium("chat", model, "-q", "Why?")).code == 130
    assert outcome.err == "" and outcome.out == ""


def test_programming_errors_keep_their_traceback(model, monkeypatch):
    from sensorium.cli.main import run

    def broken(name, progress=None, **options):
        return 1 / 0

    monkeypatch.setattr("sensorium.engine.loading.load_engine", broken)
    monkeypatch.setattr("sys.argv", ["sensorium", "chat", str(model), "-q", "Why?"])
    with pytest.raises(ZeroDivisionError):
        run()


def test_a_reader_who_leaves_is_no_error(process):
    code = (
        "import os, sys\n"
        "from sensorium.cli.main import run\n"
        "read, write = os.pipe()\n"
        "os.close(read)\n"
        "os.dup2(write, 1)\n"
        "sys.argv = ['sensorium', 'parts', 'list']\n"
        "run()"
    )
    outcome = process(code=code)
    assert outcome.err == "" and outcome.code != 0


def test_control_characters_do_not_reach_a_terminal(monkeypatch, capsys):
    import sys

    from sensorium.cli.terminal import emit_words

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    emit_words("a\x1b[2Jb\tc\n\x9b")
    assert capsys.readouterr().out == "a\ufffd[2Jb\tc\n\ufffd"


def test_a_video_is_shown_as_its_options_say(sensorium, engine, model, film, tmp_path):
    clip = film(tmp_path / "clip.mp4", range(40, 240, 5))
    (tmp_path / "clip.srt").write_text("1\n00:00:00,000 --> 00:00:09,000\nHello.\n")
    outcome = sensorium("chat", model, "--video", clip, "--frames", 4, "--sampling", "scenes", "--subtitles",
                        tmp_path / "clip.srt", "-q", "What happens?", "--json")  # fmt: skip
    [seen] = json.loads(outcome.out)["videos"]
    assert seen == {"source": str(clip), "duration_s": 4.0, "frames": 4, "remark": ""}
    video, question = engine.asked[0].messages[0].parts
    assert (video.source, video.frames, video.sampling) == (str(clip), 4, "scenes")
    assert video.subtitles == str(tmp_path / "clip.srt") and question.text == "What happens?"


def test_a_chat_shows_videos_between_questions_and_saves_them_by_their_full_path(
    sensorium, engine, model, film, tmp_path, monkeypatch
):
    film(tmp_path / "clip.mp4", range(40, 240, 5))
    monkeypatch.chdir(tmp_path)
    lines = ["/video clip.mp4", "What happens?", "/save said.json", "/video none.mp4", "And then?"]
    outcome = sensorium("chat", model, "--frames", 3, stdin="\n".join(lines))
    assert "3 frames of 0:04 will be shown with your next question" in outcome.err
    assert "error: none.mp4: does not exist." in outcome.err
    [_, second] = engine.asked
    assert second.messages[0].parts[0].frames == 3 and second.messages[-1].text == "And then?"
    [part, _] = json.loads((tmp_path / "said.json").read_text())[0]["content"]
    assert part == {"type": "video_url", "video_url": {"url": str(tmp_path / "clip.mp4")}, "frames": 3}


def test_a_damaged_video_is_shown_as_far_as_it_goes_and_that_is_said(sensorium, engine, model, film, tmp_path):
    noise = [Image.effect_noise((64, 48), 60).convert("RGB") for _ in range(50)]
    clip = film(tmp_path / "clip.mkv", noise)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    outcome = sensorium("chat", model, "--video", clip, "-q", "What?")
    assert outcome.out == "A cat.\n" and f"{clip}: its pictures end at 0:02 of 0:05" in outcome.err


def test_videos_that_cannot_be_shown_are_refused_before_anything_is_loaded(sensorium, engine, model, film, tmp_path):
    clip = film(tmp_path / "clip.mp4", [40, 80] * 100)
    (tmp_path / "page.mp4").write_text("<html></html>")
    ask = ("chat", model, "-q", "What?")
    for words, said in [
        (("--video", tmp_path / "page.mp4"), "is a web page (HTML), not a video"),
        (("--video", clip, "--sampling", "unifrom"), "Did you mean `uniform`?"),
        (("--video", clip, "--subtitles", tmp_path / "none.srt"), "none.srt: does not exist"),
        (("--video", clip, "--sampling", "subtitles"), "`subtitles` needs subtitles"),
        (("--frames", 4), "--frames: is about a video, and there is none"),
        (("--video", clip, "--frames", 200), "200 frames of 64 visual tokens, 12,800 in all"),
    ]:
        assert said in sensorium(*ask, *words).error
    assert engine.asked == []


def test_whether_a_video_has_room_is_reckoned_by_its_own_size(sensorium, engine, model, film, tmp_path, monkeypatch):
    clip = film(tmp_path / "clip.mp4", [40, 80] * 100)
    monkeypatch.setattr(engine, "visual_tokens", lambda shown: {(64, 48): 10}[shown])
    assert sensorium("chat", model, "-q", "What?", "--video", clip, "--frames", 200).out == "A cat.\n"


def test_a_video_beyond_a_limit_is_shown_where_its_option_says_so(sensorium, engine, model, film, tmp_path):
    long = film(tmp_path / "long.mp4", [10, 200], times_s=[0, 15_000])
    ask = ("chat", model, "-q", "What?", "--video", long)
    said = sensorium(*ask).error
    assert "lasts 4:10:00; at most 4:00:00 are allowed" in said and "(--max-seconds)" in said
    assert "(--max-pixels)" in sensorium(*ask, "--max-seconds", 20_000, "--max-pixels", 3000).error
    assert "(--max-bytes)" in sensorium(*ask, "--max-seconds", 20_000, "--max-bytes", 100).error
    assert engine.asked == []
    assert sensorium(*ask, "--max-seconds", 20_000, "--max-bytes", 10**6).out == "A cat.\n"
    rows = [{"role": "user", "content": [{"type": "video", "path": str(long)}, {"type": "text", "text": "What?"}]}]
    (tmp_path / "said.json").write_text(json.dumps(rows))
    again = ("chat", model, "--conversation", tmp_path / "said.json")
    assert "(--max-seconds)" in sensorium(*again).error
    assert sensorium(*again, "--max-seconds", 20_000).out == "A cat.\n"


@pytest.fixture
def reads(monkeypatch):
    """`--correct` with OCR in the place of the detector: what it reads is known."""
    from sensorium.correction.loading import load_corrector

    pytest.importorskip("rapidocr")
    monkeypatch.setattr("sensorium.correction.loading.load_corrector",
                        lambda engine, progress: load_corrector(("text",), engine=engine, progress=progress))


def test_a_reply_is_corrected_while_it_comes_and_the_corrected_one_is_kept(
    sensorium, engine, model, reads, film, tmp_path
):
    from PIL import ImageDraw, ImageFont

    picture = Image.new("RGB", (400, 200), "white")
    ImageDraw.Draw(picture).text((30, 60), "LIBRARY", fill="black", font=ImageFont.load_default(size=64))
    picture.save(tmp_path / "sign.png")
    engine.replies = ['A sign says "BAKERY". So it is.']
    words = ("chat", model, "-i", tmp_path / "sign.png", "--correct")
    done = sensorium(*words, "-q", "What is written?")
    assert done.out == 'A sign says "LIBRARY". So it is.\n'
    assert 'corrected: A sign says "[-BAKERY-]{+LIBRARY+}"' in done.err
    told = json.loads(sensorium(*words, "-q", "What is written?", "--json").out)
    assert told["reply"] == told["correction"]["output"] == 'A sign says "LIBRARY". So it is.'
    clip = film(tmp_path / "clip.mp4", [40, 80])
    after = sensorium(*words, stdin=f"What is written?\n/video {clip}\nAnd here?\n")
    assert after.out == 'A sign says "LIBRARY". So it is.\nA sign says "BAKERY". So it is.\n'
    assert "not corrected: a video was shown last" in after.err
    sensorium(*words, stdin="What is written?\nSure?\n")
    assert [message.text for message in engine.asked[-1]][1] == 'A sign says "LIBRARY". So it is.'
    assert "--correct: changes sentences" in sensorium(*words, "-q", "Where?", "--constrain", "boxes").error


def test_without_a_picture_there_is_nothing_to_correct_by(sensorium, engine, model, film, tmp_path):
    clip = film(tmp_path / "clip.mp4", range(40, 240, 5))
    for shown in ((), ("--video", clip)):
        assert "--correct: is about a picture" in sensorium("chat", model, *shown, "-q", "What?", "--correct").error
    assert not engine.asked
