"""Videos of requests: seen as the engine itself sees them, what they cost is told, what is too much is refused."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image as Picture

from sensorium.conversation import Conversation, Image, Text, Video, decode_data_url, user
from sensorium.engine import Card, Sampling
from sensorium.errors import SensoriumError
from sensorium.media import open_image
from sensorium.media.video import VideoLimits
from sensorium.media.watching import Watcher
from sensorium.serving import ServerSettings
from sensorium.serving.viewing import View, Viewing

from .conftest import post

pytest.importorskip("av", reason="videos are an extra")
openai = pytest.importorskip("openai")

PUBLIC = "93.184.216.34"
SRT = "1\n00:00:00,000 --> 00:00:02,000\nThe light is going on.\n"


@pytest.fixture(scope="session")
def clip(film, tmp_path_factory):
    """Four seconds, lighter by 6 each tenth of a second."""
    return film(tmp_path_factory.mktemp("films") / "clip.mp4", range(5, 245, 6)).read_bytes()


def _url(data: bytes, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _part(data: bytes | str, **choices: object) -> dict:
    url = data if isinstance(data, str) else _url(data)
    return {"type": "video_url", "video_url": {"url": url}, **choices}


def _asks(*parts: dict, model: str = "told", **more: object) -> dict:
    content = [*parts, {"type": "text", "text": "What happens?"}]
    return {"model": model, "messages": [{"role": "user", "content": content}], **more}


def _refused(address: str, *parts: dict, **more: object) -> str:
    status, found = post(address, _asks(*parts, **more))
    assert status == 400 and found["error"]["type"] == "invalid_request_error", found
    return found["error"]["message"]


def _greys(conversation: Conversation) -> list[int]:
    return [round(np.asarray(open_image(image)).mean()) for image in conversation.images]


def test_the_openai_client_shows_a_video_and_a_picture_whole_and_streamed(tiny_engine, serve, clip, data_url):
    content = [_part(clip, frames=3), {"type": "image_url", "image_url": {"url": data_url}},
               {"type": "text", "text": "What happens?"}]  # fmt: skip
    asked = Conversation((user(Video(clip, frames=3), Image(decode_data_url(data_url)), "What happens?"),))
    expected = tiny_engine.answer([asked], Sampling(max_new_tokens=6))[0]
    with serve(tiny_engine) as address:
        create = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0).chat.completions.create
        given = {"model": "tiny", "messages": [{"role": "user", "content": content}], "max_completion_tokens": 6}
        whole = create(**given)
        chunks = list(create(**given, stream=True, stream_options={"include_usage": True}))
    assert whole.choices[0].message.content == expected.text
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == expected.text
    for usage in (whole.usage, chunks[-1].usage):
        assert usage.prompt_tokens == expected.n_prompt
        details = usage.prompt_tokens_details
        assert (details.image_tokens, details.video_tokens) == (4, 12)  # 4 a picture of the tiny model
        watched, picture = usage.media
        assert picture == {"type": "image", "message": 0, "visual_tokens": 4}
        # The middles of thirds of 4 s are 0.67, 2 and 3.33 s: on the screen since 0.6, 2.0 and 3.3 s.
        assert watched == {"type": "video", "message": 0, "visual_tokens": 12, "duration_s": 4.0, "sampling": "uniform",
                           "frames": [{"time_s": t, "visual_tokens": 4} for t in (0.6, 2.0, 3.3)], "remark": ""}


def test_frames_are_chosen_as_the_part_says(told, serve, clip):
    with serve(told, max_frames=20) as address:
        for choices in ({}, {"frames": 2}, {"fps": 1}, {"sampling": "fps:2", "num_frames": 4}, {"fps": 4, "frames": 3},
                        {"timestamps": False, "frames": 1}):  # fmt: skip
            assert post(address, _asks(_part(clip, **choices)))[0] == 200
    seen = [conversation for conversation, _ in told.asked]
    assert [len(conversation.images) for conversation in seen] == [8, 2, 4, 4, 3, 1]
    assert _greys(seen[1]) == pytest.approx([65, 185], abs=2)  # at 1 and 3 s: frames 10 and 30
    assert _greys(seen[2]) == pytest.approx([5, 65, 125, 185], abs=2)  # at 0, 1, 2 and 3 s
    said = [[part.text for part in conversation.messages[0].parts if isinstance(part, Text)] for conversation in seen]
    assert said[1] == ["0:01 ", "\n0:03 ", "\n", "What happens?"] and said[5] == ["\n", "What happens?"]


def test_a_rate_takes_no_more_frames_than_the_server_allows(told, serve, clip):
    with serve(told, max_frames=5) as address:
        assert post(address, _asks(_part(clip, fps=10)))[0] == 200
    assert len(told.asked[0][0].images) == 5


def test_subtitles_come_with_the_request_or_not_at_all(told, serve, clip, tmp_path):
    path = tmp_path / "clip.srt"
    path.write_text(SRT)
    with serve(told) as address:
        for subtitles in (SRT, _url(SRT.encode("utf-16"), "text/plain")):
            assert post(address, _asks(_part(clip, frames=1, subtitles=subtitles)))[0] == 200
        for subtitles in (str(path), f"file://{path}", "http://127.0.0.1/a.srt"):
            assert "has subtitles that are not in the request" in _refused(address, _part(clip, subtitles=subtitles))
        assert "is not SRT" in _refused(address, _part(clip, subtitles="no\nsubtitles"))
        said = _refused(address, _part(clip, subtitles=SRT * 30_000))
        assert f"have {30_000 * len(SRT):,} bytes; at most 1,048,576 are allowed" in said
        assert "needs subtitles" in _refused(address, _part(clip, sampling="subtitles"))
    # The middle of 4 s is frame 20, whose line has ended: only the time is said.
    assert [c.messages[0].parts[0].text for c, _ in told.asked] == ["0:02 "] * 2


def test_subtitles_that_vanish_before_they_are_read_are_said_in_one_line(told, clip, tmp_path):
    gone = tmp_path / "gone.srt"
    viewing = Viewing(told, ServerSettings())
    asked = Conversation((user(Video(clip, subtitles=str(gone)), "What?"),))
    with pytest.raises(SensoriumError, match=r"messages\[0\]: subtitles: cannot be read \(No such file") as refused:
        asyncio.run(viewing.view(asked, "somebody"))
    assert str(tmp_path) not in str(refused.value)


def test_words_of_subtitles_are_said_at_their_frames(told, serve, clip):
    with serve(told) as address:
        assert post(address, _asks(_part(clip, sampling="subtitles", subtitles=SRT)))[0] == 200
    assert told.asked[0][0].messages[0].parts[0] == Text("0:01 The light is going on. ")


def test_a_score_is_the_engines_score_of_the_same_video(tiny_engine, serve, clip):
    asked = Conversation((user(Video(clip, frames=2), "What happens?"),))
    with serve(tiny_engine) as address:
        body = _asks(_part(clip, frames=2), model="tiny") | {"candidates": ["Yes", "No"]}
        status, found = post(address, body, path="/v1/score")
    assert status == 200
    assert [row["logprob"] for row in found["data"]] == pytest.approx(tiny_engine.score(asked, ["Yes", "No"]))
    assert [(one["type"], one["visual_tokens"], len(one["frames"])) for one in found["media"]] == [("video", 8, 2)]


# --- what is too much, or no video -----------------------------------------------------------------------------------


def _header_of(film, folder, name: str, **options: object) -> bytes:
    return film(folder / name, [10, 200], **options).read_bytes()


def test_each_limit_is_said_in_one_line_with_its_option(told, serve, film, clip, tmp_path):
    large = film(tmp_path / "large.mp4", [Picture.new("RGB", (96, 80))] * 2).read_bytes()
    long = film(tmp_path / "long.mp4", [10, 200, 10], times_s=[0, 1, 36_000]).read_bytes()
    video = VideoLimits(max_pixels=64 * 48, max_seconds=3600)
    with serve(told, video=video, max_frames=12) as address:
        assert "has frames of 96 x 80 pixels; at most 3,072" in (said := _refused(address, _part(large)))
        assert "--max-pixels" in said and said.startswith("messages[0]: video (")
        assert "lasts 10:00:0" in (said := _refused(address, _part(long))) and "--max-seconds" in said
        assert "takes 13 frames; at most 12 are allowed (--max-frames)" in _refused(address, _part(clip, frames=13))
        said = _refused(address, _part(clip, frames=8), _part(clip, frames=7))
        assert "takes 15 frames, with those before it; at most 12" in said
        assert post(address, _asks(_part(clip, frames=12)))[0] == 200
    assert len(told.asked) == 1


def test_a_header_that_claims_few_frames_does_not_get_more_of_them_in(told, serve, film, clip, tmp_path):
    """One a second, says this one, and has ten: 9 are expected of its 80."""
    film(tmp_path / "lies.mkv", range(5, 245, 3), fps=1, times_s=[k / 10 for k in range(80)])
    lies = (tmp_path / "lies.mkv").read_bytes()
    with serve(told, max_frames=12) as address:
        assert "takes 13 frames; at most 12 are allowed" in _refused(address, _part(lies, frames=13))
        said = _refused(address, _part(clip, frames=3), _part(lies, frames=10))
        assert "takes 13 frames, with those before it" in said
        assert post(address, _asks(_part(lies, frames=12)))[0] == 200
    assert len(told.asked) == 1


def test_frames_that_have_no_room_are_refused_before_they_are_decoded(told, serve, clip):
    told.card = Card("told", ("text", "image", "video"), 640, 64)
    told.watcher = Watcher(_never)
    with serve(told) as address:
        said = _refused(address, _part(clip, frames=11, sampling="difference"))
        assert "11 frames, 704 visual tokens in all; this model has room for 640" in said
        told.visual_tokens = lambda shown: 50 if shown == (64, 48) else 64  # of a model whose cost depends on the size
        assert post(address, _asks(_part(clip, frames=11)))[0] == 200


def _never(pictures: object) -> np.ndarray:
    raise AssertionError("nothing is to be decoded")


def test_decoding_has_a_time_that_all_videos_of_a_request_share(told, serve, clip):
    with serve(told, watch_timeout_s=1e-9) as address:
        said = _refused(address, _part(clip))
        assert "takes longer than 1e-09 s to decode (--watch-timeout-s)" in said
        assert post(address, {"model": "told", "messages": [{"role": "user", "content": "Hi"}]})[0] == 200


def test_what_is_no_video_is_named(told, serve, film, clip, data_url, tmp_path):
    song = tmp_path / "song.mp4"
    _song(song)
    wrong = {
        "is empty": _part("data:video/mp4;base64,"),
        "is a PNG picture, not a video": _part(data_url),
        "is a web page (HTML), not a video": _part(b"<!doctype html><title>404</title>"),
        "holds sound and no pictures": _part(song.read_bytes()),
        "is damaged or cut off": _part(clip[:500]),
        "is of no known video format": _part(bytes(range(256)) * 8),
        "its base64 is damaged": _part("data:video/mp4;base64,****"),
        "is not in the request": _part("/etc/passwd"),
        "`sensorium serve --remote-pictures` does": _part("http://a.example/clip.mp4"),
        "Did you mean `uniform`?": _part(clip, sampling="unifrom"),
        "`frames` must be a whole number": _part(clip, frames="many"),
        "0 is out of range": _part(clip, frames=0),
        "tells no rate": _part(clip, fps=-1),
        "must be a number": _part(clip, fps="1; DROP"),
    }
    with serve(told) as address:
        for said, part in wrong.items():
            assert said in _refused(address, part), said
        picture_of_a_video = {"type": "image_url", "image_url": {"url": _url(clip)}}
        assert "is a video (MP4), not a picture" in _refused(address, picture_of_a_video)
        assert "only users show them" in _refused_of(address, {"role": "assistant", "content": [_part(clip)]})
        assert post(address, _asks(_part(clip, frames=1)))[0] == 200  # and the server goes on
    assert len(told.asked) == 1


def _refused_of(address: str, message: dict) -> str:
    messages = [{"role": "user", "content": "Hi"}, message, {"role": "user", "content": "Hi"}]
    status, found = post(address, {"model": "told", "messages": messages})
    assert status == 400 and found["error"]["param"] == "messages[1]"
    return found["error"]["message"]


def _song(path) -> None:
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=16000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        out.mux(stream.encode(silence))
        out.mux(stream.encode())


def test_videos_of_one_frame_and_with_a_broken_tail_are_seen_as_far_as_they_go(told, serve, film, clip, tmp_path):
    one = film(tmp_path / "one.mp4", [90]).read_bytes()
    broken = film(tmp_path / "broken.mkv", range(5, 245, 2), options={"cluster_time_limit": "500"}).read_bytes()
    with serve(told) as address:
        first, second = (post(address, _asks(_part(data, frames=4)))[1]["usage"]["media"][0]
                         for data in (one, broken[: len(broken) * 2 // 3]))  # fmt: skip
    assert [frame["time_s"] for frame in first["frames"]] == [0.0] and first["remark"] == ""
    assert len(second["frames"]) == 4 and "its pictures end at" in second["remark"]


def test_a_model_that_sees_nothing_says_so(told, serve, clip, data_url):
    told.card = Card("told", ("text",), 1000, 0)
    with serve(told) as address:
        assert "takes text only" in _refused(address, _part(clip))


def test_pictures_have_limits_each_and_together_by_their_headers(told, serve):
    stream = io.BytesIO()
    Picture.new("1", (1000, 1000)).save(stream, "PNG")
    picture = {"type": "image_url", "image_url": {"url": _url(stream.getvalue(), "image/png")}}
    with serve(told, max_megapixels=1, max_total_megapixels=3) as address:
        assert post(address, _asks(*[picture] * 3))[0] == 200
        said = _refused(address, *[picture] * 4)
        assert "show 4 megapixels of pictures together; at most 3 are allowed (--max-total-megapixels)" in said
    with serve(told, max_megapixels=0.9) as address:
        assert "has 1 megapixels; at most 0.9 are allowed (--max-megapixels)" in _refused(address, picture)
    assert len(told.asked) == 1


# --- one video does not hold up the others ---------------------------------------------------------------------------


def test_while_a_video_is_decoded_everybody_else_is_answered(told, serve, clip):
    """`difference` asks the engine for features of frames, which are held back here until the others have replies."""
    begun, go_on = threading.Event(), threading.Event()

    def features(pictures):
        begun.set()
        assert go_on.wait(60)
        return np.arange(len(pictures))[:, None]

    told.watcher = Watcher(features)
    answers = []
    with serve(told, max_running=1) as address:
        slow = threading.Thread(target=lambda: answers.append(post(address, _asks(_part(clip, sampling="difference")))))
        slow.start()
        assert begun.wait(60)
        health = json.loads(urlopen(f"{address}/health", timeout=30).read())
        assert (health["running"], health["waiting"]) == (0, 0)  # it holds no place of those that are answered
        assert post(address, {"model": "told", "messages": [{"role": "user", "content": "Hi"}]})[0] == 200
        assert post(address, _asks(_part(clip, frames=2)))[0] == 200
        go_on.set()
        slow.join(60)
    assert answers[0][0] == 200
    # `difference` looks at a clip of seconds more often than once a second
    assert [len(conversation.images) for conversation, _ in told.asked] == [0, 2, 8]


def test_of_a_caller_who_leaves_nothing_more_is_decoded(told, film, clip, tmp_path):
    """Forty frames are looked at in batches; the caller leaves during the first, and his place is free at its end."""
    slow = Video(film(tmp_path / "slow.mp4", range(5, 245, 6), fps=1).read_bytes(), sampling="difference")
    begun, go_on, batches = threading.Event(), threading.Event(), []

    def features(pictures):
        batches.append(len(pictures))
        begun.set()
        assert go_on.wait(60)
        return np.arange(len(pictures))[:, None]

    told.watcher = Watcher(features)
    viewing = Viewing(told, ServerSettings(max_watching=1))

    async def leave_and_stay() -> View:
        leaving = asyncio.create_task(viewing.view(Conversation((user(slow, "?"),)), "he"))
        assert await asyncio.to_thread(begun.wait, 60)
        leaving.cancel()
        staying = asyncio.create_task(viewing.view(Conversation((user(Video(clip, frames=1), "?"),)), "she"))
        await asyncio.sleep(0.01)
        assert not leaving.done() and not staying.done()  # his thread still works, and she waits for it
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        return await staying

    view = asyncio.run(leave_and_stay())
    assert batches == [32] and len(view.conversation.images) == 1


# --- videos by address -----------------------------------------------------------------------------------------------


def _http(body: bytes, head: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {head}\r\n\r\n".encode() + body


def test_videos_are_fetched_from_public_machines_where_that_is_switched_on(told, serve, internet, clip):
    internet.names = {"films.example": [[PUBLIC]], "inside.example": [["10.0.0.1"]]}
    internet.answer(PUBLIC, _http(clip))
    internet.answer("10.0.0.1", _http(clip))
    part = _part("http://films.example/clip.mp4", frames=2)
    with serve(told, allow_remote_pictures=True) as address:
        assert post(address, _asks(part, part))[0] == 200
        for url in ("http://inside.example/clip.mp4", "http://127.0.0.1/clip.mp4", "http://[::1]/clip.mp4"):
            assert "is not on a machine of the public internet" in _refused(address, _part(url))
    with serve(told, allow_remote_pictures=True, max_body_mb=len(clip) / 2e6) as address:
        assert "has more than" in _refused(address, part)
    with serve(told, allow_remote_pictures=True, video=VideoLimits(max_seconds=1)) as address:
        assert "lasts 0:04" in _refused(address, part)
    assert len(told.asked[0][0].images) == 4 and len(told.asked) == 1
    assert [number for number, *_ in internet.connections] == [PUBLIC] * 3  # one address of one request, one fetch
    assert b"Accept: video/*" in internet.heads[0]
