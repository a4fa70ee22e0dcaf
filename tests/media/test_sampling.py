"""Which frames are chosen: by hand from each rule, and what is seen for a moment is not missed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PILImage

from sensorium.conversation import Video
from sensorium.errors import SensoriumError
from sensorium.media.change import cuts, most_different, scene_times
from sensorium.media.sampling import METHODS, Plan, parse_sampling, planned_times, sample
from sensorium.media.subtitles import Line

RED, BLUE, GREY = (200, 30, 30), (30, 30, 200), (90, 90, 90)


def flat(colour, n):
    return [PILImage.new("RGB", (64, 48), colour)] * n


@pytest.fixture(scope="module")
def needle(film, tmp_path_factory):
    """Sixty seconds of grey that grows slowly lighter, with something red for two of them, from 40 s."""
    grey = [PILImage.new("RGB", (64, 48), (60 + k // 10,) * 3) for k in range(600)]
    grey[400:420] = flat(RED, 20)
    return film(tmp_path_factory.mktemp("films") / "needle.mp4", grey, gop=50)


@pytest.fixture(scope="module")
def three_scenes(film, tmp_path_factory):
    """Four seconds of red, one of blue, five of grey."""
    pictures = flat(RED, 40) + flat(BLUE, 10) + flat(GREY, 50)
    return film(tmp_path_factory.mktemp("films") / "scenes.mp4", pictures)


def times(video, *plan, **options):
    return [frame.time_s for frame in sample(video, Plan(*plan), **options).frames]


def is_red(frame):
    red, _, blue = frame.pixels.reshape(-1, 3).mean(axis=0)
    return red > blue + 80


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Plan("uniform", 4), [1.25, 3.75, 6.25, 8.75]),  # the middles of four quarters of 10 s
        (Plan("uniform-inner", 4), [2, 4, 6, 8]),  # k / 5 of the length
        (Plan("uniform-ends", 4), [0, 3.3, 6.6, 9.9]),  # frames of 0.1 s: the last appears at 9.9 s
        (Plan("fps", None, 0.5), [0, 2, 4, 6, 8]),
        (Plan("fps", 8, 0.5), [0, 2, 4, 6, 8]),
        (Plan("fps", 2, 1.0), [2.5, 7.5]),  # ten would be taken: more than two, so evenly
        (Plan("uniform"), [10 * (k + 0.5) / 8 for k in range(8)]),
    ],
)
def test_times_follow_the_rule_of_each_method(plan, expected):
    assert planned_times(plan, 10, 0.1) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("fps", "duration_s", "expected"),
    [(1, 3.9, [0, 1, 2, 3]), (1, 4, [0, 1, 2, 3]), (0.3, 4, [0, 10 / 3]), (0.1, 4, [0]), (0.1, 10.04, [0, 10])],
)
def test_a_rate_takes_a_frame_at_each_of_its_times_until_the_end(fps, duration_s, expected):
    assert planned_times(Plan("fps", None, fps), duration_s, 0.1) == pytest.approx(expected)
    assert planned_times(Plan("fps", len(expected), fps), duration_s, 0.1) == pytest.approx(expected)


@given(st.integers(1, 9), st.integers(1, 600))
def test_a_rate_of_one_frame_in_some_seconds_takes_as_many_as_begin(every_s, duration_s):
    assert len(planned_times(Plan("fps", None, 1 / every_s), duration_s, 0.1)) == -(-duration_s // every_s)


@given(st.sampled_from(METHODS[:3]), st.integers(1, 300), st.floats(0.01, 20_000))
def test_even_times_are_as_many_as_asked_in_order_and_within_the_video(method, n, duration_s):
    found = planned_times(Plan(method, n), duration_s, duration_s / 1000)
    assert len(found) == n and found == sorted(found)
    assert found[0] >= 0 and found[-1] <= duration_s


def test_protocols_take_the_frames_that_they_take_by_number(three_scenes):
    """VLMEvalKit's frame i is int(i * N / (n + 1)), lmms-eval's are linspace(0, N - 1, n) cut to whole numbers."""
    inner = [round(10 * t) for t in times(three_scenes, "uniform-inner", 8)]
    ends = [round(10 * t) for t in times(three_scenes, "uniform-ends", 8)]
    assert inner == [int(i * 100 / 9) for i in range(1, 9)]
    assert ends == np.linspace(0, 99, 8, dtype=int).tolist()


def test_every_scene_is_shown_and_long_ones_more_often(three_scenes):
    assert times(three_scenes, "scenes", 3) == pytest.approx([2.0, 4.5, 7.5], abs=0.26)
    # Of five, red (4 s) gets two and grey (5 s) two: the middles of their halves.
    assert times(three_scenes, "scenes", 5) == pytest.approx([1, 3, 4.5, 6.2, 8.7], abs=0.3)
    [one] = times(three_scenes, "scenes", 1)
    assert one == pytest.approx(5, abs=0.2)


def test_steady_motion_is_no_cut_and_a_cut_within_it_is():
    ramp = np.linspace(0, 1, 30)[:, None] * np.ones((1, 3))
    assert cuts(ramp) == []
    ramp[20:] -= 0.6
    assert cuts(ramp) == [20]


def test_with_more_scenes_than_frames_the_weakest_cuts_are_no_cuts():
    rows = np.array([[0.0]] * 10 + [[0.2]] * 10 + [[1.0]] * 10)
    assert cuts(rows) == [20, 10]
    assert scene_times(rows, [float(k) for k in range(30)], 30, 2) == [10, 25]


def test_what_is_seen_for_a_moment_is_found_by_difference_and_missed_by_even_steps(needle):
    assert any(is_red(frame) for frame in sample(needle, Plan("difference", 4)).frames)
    assert any(is_red(frame) for frame in sample(needle, Plan("scenes", 4)).frames)
    assert not any(is_red(frame) for frame in sample(needle, Plan("uniform", 4)).frames)


def test_a_clip_of_seconds_is_looked_at_more_closely_than_once_a_second(film, tmp_path):
    clip = film(tmp_path / "clip.mp4", flat(GREY, 34) + flat(RED, 2) + flat(GREY, 3))
    assert any(is_red(frame) for frame in sample(clip, Plan("difference", 8)).frames)


def test_differences_are_those_of_the_features_that_are_given(needle):
    """Features that see nothing but how light a picture is, and call red dark."""

    def light(pictures):
        return np.array([[np.asarray(picture).min()] for picture in pictures])

    chosen = sample(needle, Plan("difference", 3), features=light).frames
    # The first; the one least like it, red (its least colour is lower by more than the grey grows); the lightest grey.
    assert [round(frame.time_s) for frame in chosen] == [0, 40, 59]


def test_farthest_first_takes_what_is_least_like_what_it_has():
    rows = np.array([[0.0], [0.1], [5.0], [0.2], [5.1], [2.0]])
    assert most_different(rows, 1) == [0]
    assert most_different(rows, 2) == [0, 4]
    assert most_different(rows, 3) == [0, 4, 5]
    assert most_different(np.zeros((9, 2)), 5) == [0], "all are alike: one shows them all"


def test_frames_at_subtitles_are_at_the_middle_of_lines(three_scenes):
    lines = [Line(0, 1, "a"), Line(2, 3, "b"), Line(6, 7, "c"), Line(50, 60, "after the end")]
    assert times(three_scenes, "subtitles", 8, lines=lines) == pytest.approx([0.5, 2.5, 6.5])
    assert times(three_scenes, "subtitles", 1, lines=lines) == pytest.approx([2.5])
    with pytest.raises(SensoriumError, match="`subtitles` needs subtitles"):
        times(three_scenes, "subtitles", 8)


def test_a_film_that_ends_early_gets_all_its_frames_from_what_there_is(film, tmp_path):
    noise = [PILImage.effect_noise((64, 48), 60).convert("RGB") for _ in range(50)]
    data = film(tmp_path / "clip.mkv", noise).read_bytes()
    assert sample(data, Plan("uniform", 8)).remark == ""
    cut = sample(data[: len(data) // 2], Plan("uniform", 8))
    assert len(cut.frames) == 8 and cut.frames[-1].time_s < 3.5
    assert cut.remark.startswith("its pictures end at 0:02 of 0:05")


def test_short_videos_have_fewer_frames_than_asked(film, tmp_path):
    path = film(tmp_path / "short.mp4", [40, 200])
    for method in ("uniform", "uniform-ends", "uniform-inner", "scenes", "difference"):
        assert 1 <= len(times(path, method, 16)) <= 2


@pytest.mark.parametrize(
    ("text", "said"),
    [("uniformly", "Did you mean `uniform`"), ("fps", "tells no rate"), ("fps:0", "tells no rate"),
     ("fps:-1", "tells no rate"), ("fps:1e9", "tells no rate"), ("scenes:3", "is not known")],
)  # fmt: skip
def test_samplings_that_are_none_are_refused(text, said):
    with pytest.raises(SensoriumError, match=said):
        parse_sampling(text)


def test_impossible_numbers_of_frames_are_refused_with_what_to_change(three_scenes):
    for frames in (0, 1025):
        with pytest.raises(SensoriumError, match=r"frames: .* is out of range"):
            Plan.of(Video(str(three_scenes), frames=frames))
    with pytest.raises(SensoriumError, match="takes 9,990 frames of 0:10; at most 1,024"):
        times(three_scenes, "fps", None, 999.0)
