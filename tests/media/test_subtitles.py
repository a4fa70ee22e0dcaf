"""Subtitles in three formats, several encodings and any order; and which of them belong to frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import SensoriumError
from sensorium.media.subtitles import Line, decode_text, line_at, lines_at, read_subtitles

SRT = "1\n00:00:01,000 --> 00:00:02,500\n<i>Good</i> morning,\neverybody.\n\n2\n00:01:00,000 --> 00:01:01,000\nBye.\n"
VTT = ("WEBVTT\n\nNOTE nobody says this\n\n00:01.000 --> 00:02.500 align:start\n<v Ann>Good morning,\neverybody.\n\n"
       "01:00.000 --> 01:01.000\nBye.\n")  # fmt: skip
ASS = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,20

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:01:00.00,0:01:01.00,Default,,0,0,0,,Bye.
Comment: 0,0:00:05.00,0:00:06.00,Default,,0,0,0,,nobody says this
Dialogue: 0,0:00:07.00,0:00:08.00,Default,,0,0,0,,{\\p1}m 0 0 l 9 9{\\p0}
Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,{\\b1}Good{\\b0} morning,\\Neverybody.
"""
LINES = (Line(1, 2.5, "Good morning, everybody."), Line(60, 61, "Bye."))


@pytest.mark.parametrize("text", [SRT, VTT, ASS], ids=["srt", "vtt", "ass"])
def test_each_format_gives_the_same_lines_in_order_and_without_markup(text, tmp_path):
    path = tmp_path / "talk.txt"  # the content tells what it is, not the name
    path.write_text(text)
    assert read_subtitles(path) == read_subtitles(text.encode()) == LINES


def test_lines_out_of_order_are_put_in_order():
    blocks = [f"{k}\n00:00:{10 - k:02},000 --> 00:00:{11 - k:02},000\nline {10 - k}\n" for k in range(5)]
    assert [line.text for line in read_subtitles("\n".join(blocks).encode())] == [f"line {k}" for k in range(6, 11)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("words", ["Größe, café, naïve", "你好，世界", "Привет"])
def test_unicode_in_any_form_is_read(encoding, words):
    data = f"1\n00:00:01,000 --> 00:00:02,000\n{words}\n".encode(encoding)
    assert [line.text for line in read_subtitles(data)] == [words]


@pytest.mark.parametrize(
    ("encoding", "words"),
    [("gb18030", "今天天气很好，我们去公园吧。"), ("gb18030", "第一个问题：谁在唱歌？"),
     ("cp1252", "Größe – café “naïve”"), ("latin-1", "¿Dónde está el niño?")],
)  # fmt: skip
def test_old_encodings_are_told_apart(encoding, words):
    data = f"1\n00:00:01,000 --> 00:00:02,000\n{words}\n".encode(encoding)
    assert [line.text for line in read_subtitles(data)] == [words]


@given(st.binary(max_size=200))
def test_any_bytes_become_text_and_lines_or_one_error(data):
    assert isinstance(decode_text(data)[0], str)
    try:
        read_subtitles(data)
    except SensoriumError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "is empty"), (b"just words", "is not SRT, WebVTT or ASS|holds no subtitles"),
     (b"1\n00:00:02,000 --> 00:00:01,000\nbackwards\n", "holds no subtitles"), (b"WEBVTT\n", "holds no subtitles"),
     (b"\x00\x01\x02" * 50, "is not SRT|holds no subtitles"),
     (SRT.encode() * 50_000, "has 5,100,000 bytes; at most 4,194,304")],
)  # fmt: skip
def test_what_holds_no_lines_is_refused(data, said):
    with pytest.raises(SensoriumError, match=said):
        read_subtitles(data)


def test_frames_bring_the_lines_that_are_on_the_screen_at_their_times():
    lines = [Line(0, 2, "a"), Line(1, 4, "b"), Line(6, 7, "c")]
    assert line_at(lines, 1.5) == lines[0], "the first of several"
    assert line_at(lines, 2) == lines[1], "a line is gone at its end"
    assert line_at(lines, 5) is None
    assert [line.text for line in lines_at(lines, [0, 0.5, 3, 3.5, 5, 6.5])] == ["a", "b", "c"]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), max_size=20), st.lists(st.floats(0, 60), max_size=9))
def test_k_frames_bring_at_most_k_lines(spans, times):
    """Video-MME's rule."""
    lines = sorted((Line(a, a + b, f"{a}-{b}") for a, b in spans), key=lambda line: (line.start_s, line.end_s))
    found = lines_at(lines, sorted(times))
    assert len(found) <= len(times) and len(set(found)) == len(found)
    assert all(any(line.start_s <= time < line.end_s for time in times) for line in found)
