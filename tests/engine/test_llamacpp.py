"""llama.cpp computes what the torch engine computes, reads nothing twice, and gives back what it took."""

from __future__ import annotations

import io
import json
import threading
import time

import numpy as np
import pytest
from PIL import Image as Picture

from sensorium.conversation import Conversation, Image, assistant, user
from sensorium.engine import Sampling
from sensorium.engine.llamacpp.prompt import Prompt
from sensorium.engine.torch import TorchEngine
from sensorium.errors import SensoriumError
from sensorium.media import encode_image, open_image
from sensorium.media.fits import squash

from .conftest import ASKED, BLUE, RED, SEVERAL, picture

pytest.importorskip("xllamacpp", reason="xllamacpp has no wheel for this platform")


def test_scores_are_the_torch_engines(small_engine, llamacpp_engine):
    """Half precision of weights and cache: a thousandth of a log probability that is a sum over many tokens."""
    for conversation in SEVERAL:
        candidates = ["A cat.", "There are two dogs in the picture.", "<ref>dog</ref><box>(1,2),(3,4)</box>"]
        expected = small_engine.score(conversation, candidates)
        assert llamacpp_engine.score(conversation, candidates) == pytest.approx(expected, rel=5e-3)


def test_greedy_replies_are_the_torch_engines(small_engine, llamacpp_engine):
    sampling = Sampling(max_new_tokens=24)
    texts = ("Hi", "What is the capital of France?", "Name three animals.")
    questions = [Conversation((user(text),)) for text in texts]
    found = llamacpp_engine.answer(questions, sampling)
    assert [reply.text for reply in found] == [reply.text for reply in small_engine.answer(questions, sampling)]


def test_visual_tokens_are_the_torch_models(small_engine, llamacpp_engine):
    """To a thousandth, with the exact form of GELU as DINOv2 has it: llama.cpp's own is twice as far away."""
    for image in (RED, picture((200, 120, 40)), scribble()):
        ours, theirs = small_engine._visual(image).numpy(), llamacpp_engine._visual(image)
        assert theirs.shape == ours.shape == (64, 576)
        assert np.linalg.norm(theirs - ours) < 1e-3 * np.linalg.norm(ours)


def scribble():
    data = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Picture.fromarray(noise).save(data, format="PNG")
    return Image(data.getvalue())


def test_the_encoder_sees_rows_as_rows(llamacpp_engine):
    """A picture and its mirror image must not have the same tokens; nor those of each other's shape."""
    half = open_image(RED).convert("RGB").resize((224, 224))
    half.paste((0, 0, 250), (0, 0, 112, 224))
    pixels = np.asarray(squash(224).paint(half))
    left, right = llamacpp_engine._encoder(pixels), llamacpp_engine._encoder(pixels[:, ::-1])
    turned = llamacpp_engine._encoder(pixels.transpose(1, 0, 2))
    assert not np.allclose(left, right, atol=1e-2) and not np.allclose(left, turned, atol=1e-2)


def test_tiles_are_cut_and_read_as_in_torch(small_engine, gguf_folder, tmp_path):
    """The files of one view and of tiles are the same; sensorium.json says how pictures are cut."""
    from sensorium.engine.llamacpp.engine import LlamaCppEngine
    from sensorium.media.sight import ViewsConfig

    views = ViewsConfig(tiles={"scheme": "internvl", "max_tiles": 4})
    for file in gguf_folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    about = json.loads((gguf_folder / "sensorium.json").read_text())
    (tmp_path / "sensorium.json").unlink()
    (tmp_path / "sensorium.json").write_text(json.dumps(about | {"views": views.model_dump(mode="json")}))
    wide = Image(encode_image(open_image(RED).resize((300, 100))))
    asked = Conversation((user(wide, "What is it?"),))
    model, before = small_engine.model, small_engine.model.config
    tiled = LlamaCppEngine(tmp_path, threads=1, context_length=1024)
    try:
        model.config = before.model_copy(update={"views": views})
        reference = TorchEngine(model)
        ours, theirs = reference._visual(wide).numpy(), tiled._visual(wide)
        assert theirs.shape == ours.shape == (4 * 64, 576)  # three tiles and the whole
        assert tiled.visual_tokens(wide) == reference.visual_tokens(wide) == 4 * 64
        assert np.linalg.norm(theirs - ours) < 5e-3 * np.linalg.norm(ours)
        assert tiled.score(asked, ["Red."])[0] == pytest.approx(reference.score(asked, ["Red."])[0], rel=5e-3)
    finally:
        tiled.close()
        model.config = before


def test_a_second_question_about_a_picture_reads_only_the_question(llamacpp_engine):
    brief = Sampling(max_new_tokens=2)
    shown = picture((1, 2, 3))
    first = llamacpp_engine.answer([Conversation((user(shown, "What is it?"),))], brief)[0]
    second = llamacpp_engine.answer([Conversation((user(shown, "How many are there?"),))], brief)[0]
    other = llamacpp_engine.answer([Conversation((user(picture((3, 2, 1)), "What is it?"),))], brief)[0]
    assert first.n_cached < 64 < second.n_cached < second.n_prompt
    assert other.n_cached < 64


def test_the_next_turn_reads_only_what_is_new(llamacpp_engine):
    question = Conversation((user("What is the capital of France?"),))
    reply = llamacpp_engine.answer([question], Sampling(max_new_tokens=60))[0]
    assert reply.finish == "stop"
    more = question + assistant(reply.text) + user("And the sky?")
    after = llamacpp_engine.answer([more], Sampling(max_new_tokens=2))[0]
    assert after.n_cached >= reply.n_prompt + reply.n_tokens - 1


def test_what_is_reused_changes_no_reply(small_engine, llamacpp_engine):
    sampling = Sampling(max_new_tokens=16)
    questions = [Conversation((user(BLUE, text),)) for text in ("What?", "What is in the picture?", "What is", "What?")]
    expected = [small_engine.score(question, ["A blue square."])[0] for question in questions]
    for question, score in zip(questions, expected, strict=True):
        llamacpp_engine.answer([question], sampling)
        assert llamacpp_engine.score(question, ["A blue square."])[0] == pytest.approx(score, rel=5e-3)


def test_a_stream_left_early_frees_its_slot(llamacpp_engine):
    stream = llamacpp_engine.stream(ASKED, Sampling(max_new_tokens=2000))
    next(stream)
    assert llamacpp_engine.load()[0] == 1
    stream.close()
    llamacpp_engine.answer([SEVERAL[1]], Sampling(max_new_tokens=2))
    assert llamacpp_engine.load() == (0, 0)


def test_shared_beginnings_are_whole_pictures_and_leave_a_token_to_read():
    vectors = np.zeros((3, 2), dtype=np.float32)
    one = Prompt.of([5, 9, 9, 9, 6, 7], [(1, "red", vectors)])
    other = Prompt.of([5, 9, 9, 9, 6, 7], [(1, "blue", vectors)])
    assert len(one) == 6 and one.keys == (5, ("red", 0), ("red", 1), ("red", 2), 6, 7)
    assert one.shared(one.keys) == 5  # the last position's logits are wanted
    assert one.shared(one.keys[:3]) == 1  # half a picture is none
    assert one.shared(one.keys[:4]) == 4
    assert one.shared(other.keys) == 1 and one.shared([]) == 0 and one.shared([7]) == 0
    assert [one.text_end(0), one.text_end(4)] == [1, 6]


def test_prompts_that_meet_never_exceed_a_batch(llamacpp_engine):
    """One prompt that would fill every step, and others whose last token alone is left to read, at the same time."""
    brief = Sampling(max_new_tokens=2)
    questions = [Conversation((user(f"What is {word}?"),)) for word in ("iron", "tin", "gold")]
    llamacpp_engine.answer(questions, brief)
    long = Conversation((user("word " * 1500 + "?"),))
    found = llamacpp_engine.answer([long, *questions, *questions], brief)
    assert found[0].n_prompt > 1500 and [reply.n_tokens for reply in found[1:]] == [2] * 6


def test_a_short_question_does_not_wait_for_a_long_prompt(llamacpp_engine):
    order, long_begun = [], threading.Event()

    def read_long() -> None:
        stream = llamacpp_engine.stream(Conversation((user("much " * 2500),)), Sampling(max_new_tokens=2))
        long_begun.set()
        next(stream)
        order.append("long")
        stream.close()

    thread = threading.Thread(target=read_long)
    thread.start()
    long_begun.wait()
    while llamacpp_engine.load()[0] == 0:
        time.sleep(0.001)
    llamacpp_engine.answer([Conversation((user("And lead?"),))], Sampling(max_new_tokens=2))
    order.append("short")
    thread.join()
    assert order == ["short", "long"]


def test_several_questions_on_one_new_picture_read_it_once(llamacpp_engine):
    shown = picture((9, 8, 7))
    questions = [Conversation((user(shown, text),)) for text in ("What?", "Where is it?", "How many?")]
    found = llamacpp_engine.answer(questions, Sampling(max_new_tokens=2))
    assert sorted(reply.n_cached >= 64 for reply in found) == [False, True, True]


def test_a_failing_choice_is_its_own_replys_alone(llamacpp_engine):
    other = llamacpp_engine.stream(SEVERAL[1], Sampling(max_new_tokens=30))
    next(other)
    broken = llamacpp_engine._job(ASKED, Sampling(max_new_tokens=5))
    broken.choose = lambda logits, said: 1 // 0
    with pytest.raises(ZeroDivisionError):
        list(llamacpp_engine._decoder.reply(broken))
    assert list(other)[-1].finish in ("stop", "length")


def test_a_closed_engine_says_so_and_a_missing_file_is_named(gguf_folder, tmp_path):
    from sensorium.engine.llamacpp.engine import LlamaCppEngine

    engine = LlamaCppEngine(gguf_folder, threads=1, context_length=256)
    assert engine.card.context_length == 256
    stream = engine.stream(SEVERAL[1], Sampling(max_new_tokens=100))
    next(stream)
    engine.close()
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        list(stream)
    for question in (SEVERAL[1], ASKED):
        with pytest.raises(RuntimeError, match="closed"):
            engine.answer([question], Sampling(max_new_tokens=2))
    for file in gguf_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:2000] if file.suffix == ".gguf" else file.read_bytes())
    with pytest.raises(SensoriumError, match=r"cannot be loaded by llama\.cpp"):
        LlamaCppEngine(tmp_path)
    (tmp_path / "mmproj.gguf").unlink()
    with pytest.raises(SensoriumError, match=r"mmproj\.gguf.*missing"):
        LlamaCppEngine(tmp_path)
