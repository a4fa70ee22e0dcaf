"""Frames by their times, from whatever container, turned upright, under limits; and files that are no good."""

from __future__ import annotations

import base64
import random
import struct

import cv2
import numpy as np
import pytest
from handmade import BLUE, GREEN, RED, WHITE, encoded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from sensorium.conversation import Video
from sensorium.errors import SensoriumError
from sensorium.media.video import VideoLimits, clock, open_video, video_info

GREYS = [40 + 4 * k for k in range(50)]  # frame k of ten a second has this grey, so a frame tells its number
KINDS = [(".mp4", "libx264"), (".mkv", "libx264"), (".webm", "libvpx"), (".ts", "libx264"), (".avi", "mpeg4"),
         (".mov", "mjpeg")]  # fmt: skip


@pytest.fixture(scope="module")
def clip(film, tmp_path_factory):
    """Five seconds at ten frames a second."""
    return film(tmp_path_factory.mktemp("films") / "clip.mp4", GREYS)


def numbers(frames):
    """Which frame of GREYS each one is."""
    return [round((frame.pixels.mean() - 40) / 4) for frame in frames]


def read(video, times, **options):
    with open_video(video) as reader:
        return list(reader.frames_at(times, **options))


@pytest.mark.parametrize(("suffix", "codec"), KINDS)
def test_the_frame_on_the_screen_at_each_time_is_found(film, tmp_path, suffix, codec):
    path = film(tmp_path / f"clip{suffix}", GREYS, codec=codec)
    frames = read(path, [0, 0.25, 0.3, 1.99, 2.0, 4.9, 60])
    assert numbers(frames) == [0, 2, 3, 19, 20, 49]  # 60 s gives the last frame, which was given already
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.2, 0.3, 1.9, 2.0, 4.9], abs=2e-3)
    info = video_info(path)
    assert (info.width, info.height, info.codec) == (64, 48, {"libx264": "h264", "libvpx": "vp8"}.get(codec, codec))
    assert info.duration_s == pytest.approx(5, abs=0.02)


@pytest.mark.parametrize(("suffix", "codec"), KINDS)
def test_leaps_find_the_same_frames_as_reading_on(film, tmp_path, suffix, codec):
    """Keyframes stand twelve frames apart, so times far from one another are sought and near ones are not."""
    path = film(tmp_path / f"clip{suffix}", GREYS, codec=codec)
    draw = random.Random(3)
    for n in (1, 2, 5, 20):
        times = sorted(draw.uniform(0, 5) for _ in range(n))
        assert numbers(read(path, times)) == list(dict.fromkeys(min(49, int(time_s * 10)) for time_s in times))
    with open_video(path) as reader:
        assert numbers(reader.frames_at([4.05])) == [40]
        assert numbers(reader.frames_at([0.55, 4.9])) == [5, 49]  # back, and on again
        assert numbers(reader.frames_at([0.0])) == [0]


def test_a_variable_frame_rate_goes_by_the_clock(film, tmp_path):
    path = film(tmp_path / "slides.mp4", [40, 80, 120, 160, 200], times_s=[0, 0.1, 0.5, 2.0, 2.1])
    frames = read(path, [0.05, 0.3, 0.49, 0.51, 1.9, 2.05, 2.1])
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.1, 0.5, 2.0, 2.1])
    greys = [round(frame.pixels.mean()) for frame in frames]
    assert greys == pytest.approx([40, 80, 120, 160, 200], abs=1)


def four_corners(width, height):
    """Red, green / blue, white."""
    picture = PILImage.new("RGB", (width, height), WHITE)
    picture.paste(RED, (0, 0, width // 2, height // 2))
    picture.paste(GREEN, (width // 2, 0, width, height // 2))
    picture.paste(BLUE, (0, height // 2, width // 2, height))
    return picture


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_a_film_recorded_sideways_is_shown_as_opencv_shows_it(film, tmp_path, rotation):
    path = film(tmp_path / "phone.mp4", [four_corners(96, 64)] * 3, rotation=rotation)
    capture = cv2.VideoCapture(str(path))
    theirs = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
    capture.release()
    [ours] = read(path, [0])
    assert ours.picture.size == (theirs.shape[1], theirs.shape[0]) == ((96, 64) if rotation in (0, 180) else (64, 96))
    assert (video_info(path).width, video_info(path).height) == ours.picture.size
    assert np.abs(np.asarray(ours.picture).astype(int) - theirs).mean() < 4


def test_pixels_that_are_not_square_are_made_so(film, tmp_path):
    path = film(tmp_path / "tape.mp4", [four_corners(64, 64)] * 2, aspect=(3, 2))
    assert (video_info(path).width, video_info(path).height) == (96, 64)
    assert read(path, [0])[0].picture.size == (96, 64)
    assert read(path, [0], max_side=48)[0].picture.size == (48, 32)


def test_a_video_opens_from_path_text_bytes_data_url_and_conversation(clip):
    data = clip.read_bytes()
    url = "data:video/mp4;base64," + base64.b64encode(data).decode()
    for source in (clip, str(clip), data, url, Video(str(clip)), Video(data), Video(url)):
        assert numbers(read(source, [1.0, 3.0])) == [10, 30]


def test_an_animation_is_a_video(tmp_path):
    frames = [PILImage.new("RGB", (32, 32), (grey,) * 3) for grey in (40, 80, 120)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=200)
    assert [round(f.pixels.mean() / 40) for f in read(data, [0, 0.25, 0.45])] == [1, 2, 3]


def test_one_frame_is_a_video_of_one_frame(film, tmp_path):
    path = film(tmp_path / "one.mp4", [80])
    assert len(read(path, [0, 0.01, 1, 100])) == 1


def test_what_the_header_claims_is_held_to_the_limits(film, clip, tmp_path):
    ten_hours = film(tmp_path / "long.mkv", [10, 20], times_s=[0, 36_000])
    with pytest.raises(SensoriumError, match=r"lasts 10:00:00; at most 4:00:00 are allowed\. Cut.*`max_seconds`"):
        video_info(ten_hours)
    frames = [PILImage.new("L", (16, 16), grey) for grey in (0, 255)]
    eight_k = bytearray(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    eight_k[6:10] = struct.pack("<HH", 7680, 4320)
    with pytest.raises(SensoriumError, match=r"or none of at most 9,437,184 pixels"):  # no GIF tells before decoding
        video_info(bytes(eight_k))
    large = film(tmp_path / "large.mp4", [PILImage.new("RGB", (640, 480))])
    with pytest.raises(SensoriumError, match="has frames of 640 x 480 pixels; at most 300,000 pixels are allowed"):
        video_info(large, VideoLimits(max_pixels=300_000))
    for limits, said in [({"max_bytes": 100}, "at most 100 are allowed"), ({"max_seconds": 4}, "lasts 0:05"),
                         ({"max_pixels": 3000}, "64 x 48"), ({"max_frames": 40}, "claims 50 frames")]:  # fmt: skip
        with pytest.raises(SensoriumError, match=said):
            video_info(clip, VideoLimits(**limits))


def test_files_that_are_no_videos_are_named(film, clip, tmp_path):
    whole = clip.read_bytes()
    sound = tmp_path / "song.m4a"
    film(sound, [40], sound_s=0.5)
    cases = [
        (b"", "is empty"),
        (b"<html><body>404</body></html>", r"is a web page \(HTML\), not a video"),
        (encoded(PILImage.new("RGB", (8, 8))), "is a PNG picture, not a video that can be read. Show it as a picture"),
        (b"%PDF-1.7\n", "is a PDF document"),
        (bytes(range(256)) * 8, "is of no known video format"),
        (whole[:600], "is damaged or cut off"),  # the index stands at the end and is gone
        (whole[:32], "is damaged or cut off"),
        # FFmpeg's own lists of other files and addresses are not formats here.
        (f"ffconcat version 1.0\nfile '{clip}'\n".encode(), "is plain text, not a video"),
        (f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{clip}\n#EXT-X-ENDLIST\n".encode(), "is plain text"),
    ]  # fmt: skip
    for data, said in cases:
        path = tmp_path / "clip.mp4"
        path.write_bytes(data)
        with pytest.raises(SensoriumError, match=said):
            video_info(path)
    for path, said in [(tmp_path / "none.mp4", "does not exist"), (tmp_path, "is a folder; a video file is expected"),
                       ("https://example.org/a.mp4", "is a web address")]:  # fmt: skip
        with pytest.raises(SensoriumError, match=said):
            video_info(path)


def test_sound_alone_is_no_video(tmp_path):
    import av

    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=16000, layout="mono")
        piece = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        piece.sample_rate = 16000
        out.mux(stream.encode(piece))
        out.mux(stream.encode())
    with pytest.raises(SensoriumError, match="holds sound and no pictures"):
        video_info(path)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_broken_tail_leaves_what_is_before_it(film, tmp_path, suffix):
    noise = [PILImage.effect_noise((64, 48), 60).convert("RGB") for _ in range(50)]
    index_first = {"movflags": "faststart"} if suffix == ".mp4" else None
    data = film(tmp_path / f"clip{suffix}", noise, options=index_first).read_bytes()
    with open_video(data[: len(data) // 2]) as reader:
        frames = list(reader.frames_at([0, 1, 4.2, 4.5]))
        assert reader.info.duration_s == pytest.approx(5, abs=0.1)
        assert 1 < reader.ended_at_s < 4
        assert [frame.time_s for frame in frames] == pytest.approx([0, 1, reader.ended_at_s], abs=2e-3)


@pytest.fixture(scope="module")
def containers(film, clip, tmp_path_factory):
    """The bytes of one clip in four containers."""
    folder = tmp_path_factory.mktemp("containers")
    others = [(".mkv", "libx264"), (".ts", "libx264"), (".avi", "mpeg4")]
    return [path.read_bytes() for path in (clip, *(film(folder / f"c{end}", GREYS, codec=of) for end, of in others))]


def test_a_stream_whose_clock_is_lost_is_read_in_its_order_and_again_from_its_start(film, tmp_path):
    data = bytearray(film(tmp_path / "clip.ts", GREYS).read_bytes())
    place, n_packets = -1, 0
    while (place := data.find(b"\0\0\1\xe0", place + 1)) >= 0:  # the head of each picture's packet
        data[place + 7] &= 0x3F  # says that it has neither of its two times
        n_packets += 1
    assert n_packets == len(GREYS)
    with open_video(bytes(data)) as reader:
        forwards = list(reader.frames_at([k / 1000 for k in range(100)]))
        assert numbers(forwards) == sorted(numbers(forwards)) and len(forwards) > 10
        assert [frame.time_s for frame in forwards] == sorted({frame.time_s for frame in forwards})
        assert (numbers(forwards)[0], numbers(forwards)[-1]) == (0, 49)
        assert numbers(reader.frames_at([0, 60])) == [0, 49]
        assert [frame.time_s for frame in reader.frames_at([0])] == [0]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_bytes_are_read_or_refused_in_one_line(containers, data):
    damaged = bytearray(data.draw(st.sampled_from(containers)))
    for _ in range(data.draw(st.integers(1, 12))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        with open_video(bytes(damaged)) as reader:
            for frame in [*reader.frames_at([0, 1, 2, 3, 4]), *reader.frames_at([0.5, 4.5])]:
                assert frame.picture.mode == "RGB"
    except SensoriumError as error:
        assert "\n" not in str(error)


def test_times_are_written_as_people_write_them():
    found = [clock(time_s) for time_s in (0, 5.99, 65, 3599, 3600, 3723)]
    assert found == ["0:00", "0:05", "1:05", "59:59", "1:00:00", "1:02:03"]
