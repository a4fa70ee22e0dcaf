"""What every engine must do, asked of each in turn, with models of the real language model."""

from __future__ import annotations

import struct
import threading
import zlib
from typing import Any

import pytest

from sensorium.conversation import Conversation, Image, Text, Video, assistant, system, user
from sensorium.engine import OneOf, Sampling
from sensorium.errors import SensoriumError

from .conftest import ASKED, BLUE, RED, SEVERAL, picture


def _reply(engine: Any, conversation: Conversation, **options: object) -> str:
    return engine.answer([conversation], Sampling(**options))[0].text


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "seed": 4}, {"temperature": 1.0, "stop": ("e", "th")}])
def test_the_stream_joined_is_the_answer(any_engine, renderer, options):
    sampling = Sampling(max_new_tokens=12, **options)
    for conversation in SEVERAL:
        deltas = list(any_engine.stream(conversation, sampling))
        reply = any_engine.answer([conversation], sampling)[0]
        assert "".join(delta.text for delta in deltas) == reply.text
        assert (deltas[-1].finish, deltas[-1].n_tokens) == (reply.finish, reply.n_tokens)
        assert deltas[-1].n_prompt == reply.n_prompt == len(renderer.render(conversation, generate=True))
        assert all(delta.finish is None for delta in deltas[:-1])


def test_seeds_are_reproducible(any_engine):
    question = Conversation((user("Tell me a story."),))

    def reply(seed: int) -> str:
        return _reply(any_engine, question, max_new_tokens=12, temperature=1.0, seed=seed)

    assert reply(1) == reply(1) != reply(2)


def test_a_seed_falls_otherwise_on_other_questions_and_other_pictures_and_alike_alone(any_engine):
    """So hot that each of two answers is about as likely: with draws that all share, all would say the same."""
    sampling = Sampling(max_new_tokens=4, temperature=10.0, seed=3, constrain=OneOf(("A", "B")))
    of_words = [Conversation((user(f"Question {number}."),)) for number in range(8)]
    of_pictures = [Conversation((user(picture((30 * shade, 0, 0)), "Which?"),)) for shade in range(8)]
    for questions in (of_words, of_pictures):
        replies = [reply.text for reply in any_engine.answer(questions, sampling)]
        assert set(replies) == {"A", "B"}
        for question, reply in list(zip(questions, replies, strict=True))[:3]:
            assert any_engine.answer([question], sampling)[0].text == reply
            assert "".join(delta.text for delta in any_engine.stream(question, sampling)) == reply


def test_a_stop_string_ends_the_reply_and_is_not_part_of_it(any_engine):
    whole = _reply(any_engine, SEVERAL[1], max_new_tokens=20)
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    assert len(stop) == 3
    reply = any_engine.answer([SEVERAL[1]], Sampling(max_new_tokens=20, stop=(stop,)))[0]
    assert reply.finish == "stop" and reply.text == whole[: whole.index(stop)]


def test_the_limit_ends_a_reply_as_length(any_engine):
    reply = any_engine.answer([SEVERAL[1]], Sampling(max_new_tokens=3))[0]
    assert (reply.finish, reply.n_tokens) == ("length", 3)


def test_a_character_split_over_tokens_is_streamed_whole(any_engine):
    words = "🦊猫é"  # SmolLM2's tokenizer has more tokens for it than it has characters
    deltas = list(any_engine.stream(SEVERAL[1], Sampling(max_new_tokens=40, constrain=OneOf((words,)))))
    assert "".join(delta.text for delta in deltas) == words and deltas[-1].n_tokens > len(words)
    assert all(not delta.text or set(delta.text) <= set(words) for delta in deltas)


def test_a_reply_ends_with_its_turn(any_engine):
    """The bare language model answers such a question in one sentence."""
    question = Conversation((user("What is the capital of France?"),))
    reply = any_engine.answer([question], Sampling(max_new_tokens=60))[0]
    assert reply.finish == "stop" and "<|im_end|>" not in reply.text


def test_candidates_scored_together_score_as_alone_and_rank(any_engine):
    candidates = ["cat", "a very long answer about the picture", "Yes", "cat"]
    together = any_engine.score(ASKED, candidates)
    assert together == pytest.approx([any_engine.score(ASKED, [c])[0] for c in candidates], rel=5e-3)
    assert together[0] == pytest.approx(together[3], rel=1e-4) and together[1] < together[0] < 0
    assert any_engine.score(ASKED, []) == []


def test_scores_agree_with_what_is_said(any_engine):
    """The likeliest reply by the engine's own choice scores above its neighbours."""
    question = Conversation((user("What is the capital of France?"),))
    said = any_engine.answer([question], Sampling(max_new_tokens=60))[0]
    assert said.finish == "stop"
    scores = any_engine.score(question, [said.text, "Cucumber, thirty-one."])
    assert scores[0] > scores[1]


def test_the_count_is_of_the_tokens_that_are_scored(any_engine, renderer):
    for candidate in ("", "a cat", "🦊"):
        labels = renderer.render(ASKED + assistant(candidate)).labels
        assert any_engine.count(candidate) == sum(label != -100 for label in labels)


def test_the_visual_tokens_of_a_picture_are_those_in_its_prompt(any_engine, renderer):
    [slot] = renderer.render(ASKED, generate=True).slots
    assert any_engine.visual_tokens(RED) == slot.length


def test_a_video_is_its_frames_with_their_times(any_engine, film, tmp_path):
    path = film(tmp_path / "clip.mp4", range(40, 240, 10))
    asked = Conversation((user(Video(str(path), frames=2, sampling="difference"), "What moves?"),))
    spelled = any_engine.watcher.shown(asked)
    assert [type(part) for part in spelled.messages[0].parts] == [Text, Image, Text, Image, Text, Text]
    video, pictures = any_engine.answer([asked, spelled], Sampling(max_new_tokens=2))
    assert (video.text, video.n_prompt) == (pictures.text, pictures.n_prompt)
    assert "video" in any_engine.card.modalities


def test_a_video_of_too_many_frames_is_refused_before_it_is_decoded(any_engine, film, tmp_path):
    path = film(tmp_path / "clip.mp4", [40, 80] * 100)
    asked = Conversation((user(Video(str(path), frames=1024), "What moves?"),))
    with pytest.raises(SensoriumError, match=r"takes 200 frames of .* Look at fewer frames: `frames` \(--frames\)"):
        any_engine.answer([asked], Sampling(max_new_tokens=1))


def test_marks_typed_by_a_user_are_characters(any_engine):
    """Were `<|im_end|>` the token, it would end the user's turn, and be one token instead of many."""
    plain, typed = (any_engine.answer([Conversation((user(text),))], Sampling(max_new_tokens=1))[0].n_prompt
                    for text in ("Hi", "Hi<|im_end|><img><box>"))
    assert typed - plain > 10


def test_a_conversation_too_long_names_the_numbers(any_engine):
    long = Conversation((user(RED, BLUE, "a " * 9000),))
    with pytest.raises(SensoriumError, match=r"has \d+ tokens \(2 pictures of 64\); with 256 .* than the \d+"):
        any_engine.answer([long])
    with pytest.raises(SensoriumError, match="lower max_new_tokens"):
        next(any_engine.stream(ASKED, Sampling(max_new_tokens=9000)))


@pytest.mark.parametrize("last", [assistant("Yes"), None])
def test_only_a_users_turn_is_answered(any_engine, last):
    conversation = ASKED + last if last else Conversation((system("Be brief."),))
    with pytest.raises(SensoriumError, match="nothing to answer"):
        any_engine.answer([conversation])


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pictures_of_too_many_pixels_together_are_refused_by_their_headers(any_engine):
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)), (b"IDAT", b""), (b"IEND", b""))
    hundred_million = Image(b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ))
    with pytest.raises(SensoriumError, match="7 pictures: are 700,000,000 pixels together; at most 650,000,000"):
        any_engine.answer([Conversation((user(*[hundred_million] * 7, "What?"),))], Sampling(max_new_tokens=1))


def test_a_picture_that_does_not_open_is_named(any_engine, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(SensoriumError, match=r"bad.png"):
        any_engine.answer([Conversation((user(Image(str(tmp_path / "bad.png")), "What?"),))])


def test_many_threads_get_each_its_own_reply(any_engine):
    """More at once than there are slots; each reply is what the question gets alone."""
    words = ("red", "seven", "lamp", "river", "bee")
    questions = [Conversation((user(f"Repeat after me: {word}."),)) for word in words]
    alone = [_reply(any_engine, question, max_new_tokens=8) for question in questions]
    found: dict[int, str] = {}

    def ask(number: int) -> None:
        found[number] = _reply(any_engine, questions[number % len(questions)], max_new_tokens=8)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: alone[number % len(questions)] for number in range(10)}


def test_a_stream_left_early_harms_nobody(any_engine):
    expected = _reply(any_engine, SEVERAL[1], max_new_tokens=12)
    for _ in range(6):  # more often than there are slots
        stream = any_engine.stream(SEVERAL[1], Sampling(max_new_tokens=200))
        next(stream)
        stream.close()
    assert _reply(any_engine, SEVERAL[1], max_new_tokens=12) == expected
