"""Conversations by tab, and as files."""

from __future__ import annotations

import pytest
from PIL import Image as Picture

from sensorium.conversation import Conversation, Image, Video, assistant, decode_data_url, user
from sensorium.errors import SensoriumError
from sensorium.media import open_image
from sensorium.serving.page.talk import Talks, as_json, as_markdown


def test_each_tab_has_its_own_talk_and_the_longest_unused_goes():
    talks = Talks(most=2)
    one, two = talks.of("one"), talks.of("two")
    assert one is not two and talks.of("one") is one
    talks.of("three")
    assert talks.of("one") is one and talks.of("two") is not two
    talks.end("one")
    assert talks.of("one") is not one


def test_a_saved_conversation_is_read_again(tmp_path):
    Picture.new("RGB", (30, 20), "red").save(tmp_path / "a.png")
    first = user(Image(str(tmp_path / "a.png")), "What is <box>?")
    said = (first, assistant("A *red* thing."), user("猫?"), assistant(""))
    read = Conversation.from_json(as_json(said))
    assert [(m.role, m.text) for m in read] == [(m.role, m.text) for m in said]
    assert open_image(read.images[0]).size == (30, 20)
    markdown = as_markdown(said, "Du", "default", "Bild", "Film")
    assert [line for line in markdown.splitlines() if line.startswith("## ")] == ["## Du", "## default"] * 2
    assert "![Bild 1][Bild-1]" in markdown and "\n[Bild-1]: data:image/png;base64," in markdown


def test_a_saved_video_has_its_subtitles_and_how_it_was_looked_at(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x20ftypisom a video")
    (tmp_path / "a.srt").write_bytes(b"subtitles")
    video = Video(str(tmp_path / "a.mp4"), frames=3, sampling="scenes", subtitles=str(tmp_path / "a.srt"))
    said = (user(video, "What?"), assistant("That."))
    read, _ = Conversation.from_json(as_json(said)).messages[0].parts
    assert (read.frames, read.sampling) == (3, "scenes")
    assert decode_data_url(read.source) == b"\0\0\0\x20ftypisom a video"
    assert decode_data_url(read.subtitles) == b"subtitles"
    markdown = as_markdown(said, "Du", "default", "Bild", "Film")
    assert "\n[Film 1][Film-1]\n" in markdown and "[Film-1]: data:video/mp4;base64," in markdown


def test_a_picture_that_is_gone_is_said(tmp_path):
    with pytest.raises(SensoriumError, match="no longer kept"):
        as_json((user(Image(str(tmp_path / "gone.png")), "?"), assistant("!")))
