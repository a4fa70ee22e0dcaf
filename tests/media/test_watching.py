"""What a model is shown of a video: times, frames, words; watched once; refused where there is no room."""

from __future__ import annotations

import io
import os
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PILImage

from sensorium.conversation import Conversation, Image, Message, Text, Video, user
from sensorium.errors import SensoriumError
from sensorium.media.video import VideoLimits
from sensorium.media.watching import Watcher

SRT = b"1\n00:00:00,500 --> 00:00:03,000\nThe red one.\n\n2\n00:00:09,000 --> 00:00:10,000\nNobody looks.\n"


@pytest.fixture(scope="module")
def clip(film, tmp_path_factory):
    """Eight seconds, lighter by 3 each tenth of a second."""
    return film(tmp_path_factory.mktemp("films") / "clip.mp4", range(5, 245, 3))


def shown(video):
    """The parts as text, a frame as its grey."""
    return [part.text if isinstance(part, Text) else round(np.asarray(_opened(part)).mean())
            for part in Watcher().watch(video).parts]  # fmt: skip


def _opened(image):
    return PILImage.open(io.BytesIO(image.source))


def test_each_frame_stands_behind_its_time(clip):
    # Middles of quarters of 8 s: 1, 3, 5, 7 s, which are frames 10, 30, 50, 70.
    found = shown(Video(str(clip), frames=4))
    assert found[::2] == ["0:01 ", "\n0:03 ", "\n0:05 ", "\n0:07 ", "\n"]
    assert found[1::2] == pytest.approx([5 + 3 * k for k in (10, 30, 50, 70)], abs=2)


def test_lines_of_the_subtitles_are_said_once_at_the_first_frame_that_they_cover(clip):
    found = shown(Video(str(clip), frames=8, subtitles=SRT))
    assert found[::2] == ["0:00 The red one. ", "\n0:01 ", "\n0:02 ", "\n0:03 ", "\n0:04 ",
                          "\n0:05 ", "\n0:06 ", "\n0:07 ", "\n"]  # fmt: skip
    silent = shown(Video(str(clip), frames=8, subtitles=SRT, timestamps=False))
    assert [part for part in silent if isinstance(part, str)] == ["The red one. ", "\n"]


def test_tenths_tell_frames_of_one_second_apart(clip):
    found = shown(Video(str(clip), frames=16))
    assert found[:5:2] == ["0:00.2 ", "\n0:00.7 ", "\n0:01.2 "]


def test_a_video_is_watched_once_and_again_when_its_file_changes(film, clip, tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip.read_bytes())
    watcher, video = Watcher(), Video(str(path), frames=2)
    first = watcher.watch(video)
    assert watcher.watch(Video(str(path), frames=2)) is first
    assert watcher.watch(replace(video, frames=3)).n_frames == 3
    film(path, [200] * 20)
    os.utime(path, ns=(1, 1))
    assert watcher.watch(video) is not first
    assert watcher.watch(Video(clip.read_bytes(), frames=2)).parts == first.parts


def test_a_conversation_keeps_its_order_and_everything_else(clip):
    picture = Image(b"not opened here")
    question = user("Before", picture, Video(str(clip), frames=1), "What?")
    conversation = Conversation((question, Message("assistant", ())))
    [first, second] = Watcher().shown(conversation).messages
    kinds = [type(part).__name__ for part in first.parts]
    assert kinds == ["Text", "Image", "Text", "Image", "Text", "Text"]
    assert (first.parts[0], first.parts[1], first.parts[-1], second) == (Text("Before"), picture, Text("What?"),
                                                                        conversation.messages[1])  # fmt: skip
    plain = Conversation((user("Hello"),))
    assert Watcher().shown(plain) is plain


def test_frames_that_have_no_room_are_refused_with_the_number_that_has(clip):
    conversation = Conversation((user(Video(str(clip), frames=20), "What?"),))
    said = r"20 frames of 64 visual tokens, 1,280 in all; this model has room for 1,000"
    with pytest.raises(SensoriumError, match=said) as caught:
        Watcher().shown(conversation, 64, 1000)
    assert "`frames` (--frames) at most 14; or at fewer visual tokens" in caught.value.remedy
    assert len(Watcher().shown(conversation, 64, 1280).images) == 20


def test_a_video_of_fewer_frames_than_are_asked_for_needs_room_for_those_that_it_has(film, clip, tmp_path):
    """By the header of the container, or by length and rate where that counts no frames, as Matroska's does not."""
    uncounted = film(tmp_path / "clip.mkv", range(5, 245, 3))
    for path in (clip, uncounted):
        asked = Video(str(path), frames=200)
        info, n_frames = Watcher().expect(asked)
        assert n_frames == info.n_frames == 80
        assert Watcher().expect(Video(str(path), sampling="fps:25"))[1] == 80
        conversation = Conversation((user(asked, "What?"),))
        assert len(Watcher().shown(conversation, 64, 80 * 64).images) == 80
        with pytest.raises(SensoriumError, match="takes 80 frames of 64"):
            Watcher().shown(conversation, 64, 80 * 64 - 1)


def test_room_is_reckoned_by_the_size_in_which_frames_are_shown(film, clip, tmp_path):
    """A hundredth of the pixels: 30 tokens for 64x48; 2,949 where 1600x800 are shrunk to 768x384."""
    def tokens_of(size):
        return size[0] * size[1] // 100

    conversation = Conversation((user(Video(str(clip), frames=20), "What?"),))
    assert len(Watcher().shown(conversation, 64, 600, tokens_of).images) == 20
    large = film(tmp_path / "large.mp4", [PILImage.new("RGB", (1600, 800))] * 2)
    with pytest.raises(SensoriumError, match="takes 2 frames of 2949 visual tokens, 5,898 in all"):
        Watcher().shown(Conversation((user(Video(str(large)), "What?"),)), 64, 5000, tokens_of)
    assert {_opened(frame).size for frame in Watcher().watch(Video(str(large))).frames} == {(768, 384)}


def test_videos_and_pictures_share_the_room_and_nothing_is_decoded_before_all_fit(clip):
    picture, watcher = Image(b"not opened here"), Watcher()
    eight, seven = Video(str(clip), frames=8), Video(clip.read_bytes(), frames=7)
    conversation = Conversation((user(eight, picture, seven, "What?"),))
    with pytest.raises(SensoriumError, match=r"video: takes 7 frames .* 448 in all; this model has room for 384"):
        watcher.shown(conversation, 64, 960)  # 15 pictures: 8 frames, the picture, and 6 more
    assert not watcher._remembered
    with pytest.raises(SensoriumError, match=r"Look at fewer visual tokens of each \(--visual-tokens\), or begin"):
        watcher.shown(conversation, 64, 640)
    assert len(watcher.shown(conversation, 64, 1024).images) == 16


def test_of_a_video_that_was_watched_nothing_is_opened_again_to_know_whether_it_fits(clip, monkeypatch):
    watcher, conversation = Watcher(), Conversation((user(Video(str(clip), frames=4), "What?"),))
    before = watcher.shown(conversation, 64, 1024)
    opened: list[object] = []
    monkeypatch.setattr("sensorium.media.watching.video_info", lambda *given: opened.append(given))
    assert watcher.shown(conversation, 64, 1024) == before and not opened
    with pytest.raises(SensoriumError, match="takes 4 frames of 64"):
        watcher.shown(conversation, 64, 255)


def test_videos_are_users_and_within_the_limits(clip):
    with pytest.raises(SensoriumError, match=r"messages\[1\]: has a video in a turn of the assistant"):
        Watcher().shown(Conversation((user("Hi"), Message("assistant", (Video(str(clip)),)))))
    with pytest.raises(SensoriumError, match="lasts 0:08; at most 0:05"):
        Watcher(limits=VideoLimits(max_seconds=5)).watch(Video(str(clip)))


def test_what_a_video_costs_is_known_from_its_header(clip):
    info, n_frames = Watcher().expect(Video(str(clip), sampling="fps:2"))
    assert (n_frames, info.width) == (16, 64)
    with pytest.raises(SensoriumError, match="holds no subtitles"):
        Watcher().expect(Video(str(clip), subtitles=b"WEBVTT\n"))
    with pytest.raises(SensoriumError, match="sampling: `subtitles` needs subtitles"):
        Watcher().expect(Video(str(clip), sampling="subtitles"))
    assert Watcher().expect(Video(str(clip), sampling="subtitles", subtitles=SRT))[1] > 0


def test_frames_are_held_encoded_and_never_all_decoded(film, tmp_path):
    pictures = [PILImage.new("RGB", (640, 480), (4 * k,) * 3) for k in range(60)]
    path = film(tmp_path / "large.mp4", pictures)
    tracemalloc.start()
    try:
        watched = Watcher().watch(Video(str(path), frames=60))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert watched.n_frames == 60
    assert peak < 15 * 640 * 480 * 3, "of sixty frames, fewer than fifteen stood in memory decoded"


def test_an_hour_is_watched_by_as_many_frames_as_asked_and_what_is_seen_for_ten_seconds_is_found(film, tmp_path):
    slides = [PILImage.new("RGB", (64, 48), (60 + k // 20,) * 3) for k in range(720)]  # one each five seconds
    slides[500:502] = [PILImage.new("RGB", (64, 48), (200, 30, 30))] * 2
    path = str(film(tmp_path / "hour.mp4", slides, times_s=[5.0 * k for k in range(720)]))
    even = Watcher().watch(Video(path, frames=128))
    assert even.info.duration_s == pytest.approx(3595, abs=6) and even.n_frames == 128
    assert even.parts[-3].text == "\n59:40 ", "the middle of the last of 128 stretches is 59:41"
    stamps = [part.text.strip() for part in Watcher().watch(Video(path, frames=16, sampling="difference")).parts
              if isinstance(part, Text)]  # fmt: skip
    assert "41:40" in stamps  # 2,500 s
