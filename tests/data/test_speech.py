"""Plain chats are the model's own answers, without the ones that are not worth keeping."""

from __future__ import annotations

import json

import pytest

from sensorium.conversation import Conversation
from sensorium.data.speech import speech_prompts, write_speech
from sensorium.errors import SensoriumError


def test_prompts_are_different_and_the_same_for_a_seed():
    prompts = speech_prompts(300, seed=3)
    assert len(set(prompts)) == 300
    assert prompts == speech_prompts(300, seed=3) != speech_prompts(300, seed=4)
    assert speech_prompts(10, seed=1) == speech_prompts(300, seed=2)[:10]  # fixed questions come first


def test_more_prompts_than_there_are_is_an_error_that_says_how_many():
    with pytest.raises(SensoriumError, match="100000 is not between 1 and 440"):
        speech_prompts(100000)


def test_silence_and_loops_are_left_out(tmp_path):
    replies = iter(["Good day.", "", "a\nb\na", "  One.\nTwo.  "])
    kept = write_speech(tmp_path / "speech.jsonl", lambda asked: [next(replies) for _ in asked], count=4)
    rows = [json.loads(line) for line in (tmp_path / "speech.jsonl").read_text().splitlines()]
    assert kept == 2 == len(rows)
    assert [row["messages"][1]["content"] for row in rows] == ["Good day.", "One.\nTwo."]
    for row in rows:
        assert Conversation.from_json(row["messages"]).messages[0].text in speech_prompts(4)
