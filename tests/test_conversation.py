"""Conversations: the round trip of every accepted spelling, and refusals that name the place."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.conversation import (
    Audio,
    Conversation,
    Image,
    Message,
    Text,
    Video,
    assistant,
    decode_data_url,
    system,
    user,
)
from sensorium.errors import SensoriumError

PNG = b"\x89PNG\r\n\x1a\n rest"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
sources = st.text(min_size=1) | st.binary().map(lambda b: f"data:image/png;base64,{base64.b64encode(b).decode()}")
SOURCE_KEYS = {"image", "url", "path", "base64", "video", "audio", "image_url", "video_url", "audio_url", "input_audio"}


@st.composite
def in_any_order(draw, item, extras=None):
    """The object with further keys and in a drawn order: JSON objects have one, and people's tools vary in it."""
    whole = {**({} if extras is None else draw(extras)), **item}
    return {key: whole[key] for key in draw(st.permutations(list(whole)))}


# What a video's part says about its frames is read, and refused where it is of the wrong kind.
CHOICES = {"frames", "nframes", "num_frames", "max_frames", "fps", "sampling", "subtitles", "timestamps"}
OTHER = st.text().filter(lambda key: key not in SOURCE_KEYS | CHOICES | {"type"})
extra_keys = st.dictionaries(OTHER, json_values, max_size=2)
inner_extra_keys = st.dictionaries(st.text().filter(lambda key: key not in {"url", "data"}), json_values, max_size=2)


@st.composite
def media_parts(draw):
    medium = draw(st.sampled_from(["image", "video", "audio"]))
    spelling = draw(st.sampled_from(["nested", "flat", "inner", "recording"]))
    source = draw(sources)
    if spelling == "recording":
        held = draw(in_any_order({"data": source, "format": "wav"}, inner_extra_keys))
        return draw(in_any_order({"type": "input_audio", "input_audio": held}, extra_keys))
    if spelling == "nested":
        key, kind = f"{medium}_url", f"{medium}_url"
        value = draw(st.just(source) | in_any_order({"url": source}, inner_extra_keys))
    elif spelling == "inner":
        key, kind, value = medium, medium, draw(in_any_order({"url": source}, inner_extra_keys))
    else:
        key, kind, value = draw(st.sampled_from([medium, "url", "path", "base64"])), medium, source
    return draw(in_any_order({"type": kind, key: value}, extra_keys))


text_parts = st.text().flatmap(lambda text: in_any_order({"type": "text", "text": text}))
contents = st.text() | st.lists(text_parts | media_parts(), max_size=3)


@st.composite
def documents(draw):
    roles = draw(st.lists(st.sampled_from(["user", "assistant"]), min_size=1, max_size=3))
    if draw(st.booleans()):
        roles.insert(0, "system")
    return [draw(in_any_order({"role": role, "content": draw(contents)})) for role in roles]


@given(documents())
def test_what_was_read_is_written_back_byte_for_byte(document):
    written = json.dumps(document)
    assert json.dumps(Conversation.from_json(document).to_json()) == written
    assert json.dumps(Conversation.from_json(written).to_json()) == written


@given(documents())
def test_conversations_are_values(document):
    conversation = Conversation.from_json(document)
    assert Conversation.from_json({"id": 7, "messages": document}) == conversation
    assert Conversation.from_json(conversation.to_json()) == conversation
    assert hash(Conversation.from_json(document)) == hash(conversation)
    assert pickle.loads(pickle.dumps(conversation)) == conversation


def test_boxes_are_about_the_picture_shown_last_and_after_a_video_about_none():
    first, second, clip = Image("a.png"), Image("b.png"), Video("c.mp4")
    asked = Conversation((user(first, second, "Where?"), assistant("There.")))
    assert (asked + user("And?")).last_picture == second
    assert (asked + user(clip, "And here?")).last_picture is None
    assert (asked + user(clip, first, "And here?")).last_picture == first
    assert Conversation((user("Hi"),)).last_picture is None


@given(json_values | st.lists(st.dictionaries(st.sampled_from(["role", "content", "x"]), json_values | contents)))
def test_arbitrary_json_is_read_or_refused_in_words(value):
    try:
        Conversation.from_json(value)
    except SensoriumError as error:
        assert error.where and error.what


@given(st.text())
def test_arbitrary_text_is_read_as_json_or_refused_in_words(text):
    with pytest.raises(SensoriumError):
        Conversation.from_json(text if text.strip() not in ("", "[]") else "[]")


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 10_000, '{"messages": NaN}', "null"])
def test_malicious_json_is_refused_in_words(text):
    with pytest.raises(SensoriumError):
        Conversation.from_json(text)


def test_every_spelling_gives_its_class_and_source():
    spellings = [
        ({"type": "image_url", "image_url": {"url": "a.png", "detail": "low"}}, Image, "a.png"),
        ({"type": "image_url", "image_url": "a.png"}, Image, "a.png"),
        ({"type": "image", "image": "a.png"}, Image, "a.png"),
        ({"type": "image", "url": "http://x/a.png"}, Image, "http://x/a.png"),
        ({"type": "image", "image": None, "path": "a.png"}, Image, "a.png"),
        ({"type": "video", "path": "a.mp4"}, Video, "a.mp4"),
        ({"type": "video_url", "video_url": {"url": "a.mp4"}}, Video, "a.mp4"),
        ({"type": "audio", "audio": "a.wav"}, Audio, "a.wav"),
    ]
    for part, cls, source in spellings:
        (message,) = Conversation.from_json([{"role": "user", "content": [part]}])
        assert type(message.parts[0]) is cls and message.parts[0].source == source


def test_bare_base64_is_told_from_a_path():
    bare = base64.b64encode(PNG).decode()
    for part in ({"type": "image", "base64": bare}, {"type": "input_audio", "input_audio": {"data": bare}}):
        (message,) = Conversation.from_json([{"role": "user", "content": [part]}])
        assert message.parts[0].digest == hashlib.sha256(PNG).hexdigest()
        moved = Conversation((replace(message, parts=(replace(message.parts[0], source=b"other"),)),))
        written = json.dumps(moved.to_json())
        assert base64.b64encode(b"other").decode() in written and "data:" not in written


def test_parts_made_in_python_are_written_as_openai_does():
    conversation = Conversation((system("Be brief."), user(Image("a.png"), "What is it?"), assistant("A cat.")))
    assert conversation.to_json() == [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "a.png"}},
                {"type": "text", "text": "What is it?"},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
    ]


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
        (b"?", "application/octet-stream"),
    ],
)
def test_bytes_are_written_as_data_urls_that_decode_to_them(data, media_type):
    (item,) = Conversation((user(Image(data)),)).to_json()
    url = item["content"][0]["image_url"]["url"]
    assert url.startswith(f"data:{media_type};base64,") and decode_data_url(url) == data


def test_a_picture_has_one_digest_however_it_is_given(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    url = "data:image/png;base64," + base64.encodebytes(PNG).decode()
    digests = {Image(source).digest for source in (PNG, str(tmp_path / "a.png"), url)}
    assert digests == {hashlib.sha256(PNG).hexdigest()}


@pytest.mark.parametrize(
    "source", ["nowhere.png", "a\0b.png", ".", "data:image/png,abc", "data:;base64,a", "data:;base64,é"]
)
def test_a_digest_of_what_cannot_be_read_is_refused_in_words(source):
    with pytest.raises(SensoriumError):
        Image(source).digest  # noqa: B018


def test_marks_in_text_stay_text():
    text = "<image> <|im_end|> <box>(1,2),(3,4)</box>"
    (message,) = Conversation.from_json([{"role": "user", "content": text}])
    assert message.parts == (Text(text),) and message.images == () and message.text == text


def test_pictures_are_listed_in_the_order_in_which_they_are_shown():
    conversation = Conversation((user(Image("1"), "a", Image("2")), assistant("b"), user("c", Image("3"))))
    assert [image.source for image in conversation.images] == ["1", "2", "3"]
    assert [message.text for message in conversation] == ["a", "b", "c"]
    assert (conversation + assistant("d")).messages[-1].text == "d" and len(conversation.messages) == 3


def test_a_conversation_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        user("a").role = "assistant"


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "has no messages"),
        ([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}], r"messages\[1\]: a system message"),
        ([{"role": "usr", "content": "a"}], r"messages\[0\]: unknown role 'usr'. Did you mean `user`"),
        ([{"role": "user", "content": "a", "contnt": 1}], "unknown key `contnt`. Did you mean `content`"),
        ([{"role": "user", "content": "a", 3: 1}], "unknown key `3`"),
        ([{"role": "user"}], "`content` must be"),
        ([{"role": "user", "content": ["a"]}], r"content\[0\]: a part must be an object"),
        ([{"role": "user", "content": [{"type": "imge", "image": "a"}]}], "'imge'. Did you mean `image`"),
        ([{"role": "user", "content": [{"type": "image"}]}], "needs `image`"),
        ([{"role": "user", "content": [{"type": "image", "image": ""}]}], "`image` must be a non-empty string"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"uri": "a"}}]}], "`image_url.url` must be"),
        ([{"role": "user", "content": [{"type": "text", "text": 1}]}], "a text part has exactly"),
        ([{"role": ["user"], "content": "a"}], "unknown role"),
        (["a"], r"messages\[0\]: expected an object"),
        ("{", "is not JSON"),
        (7, "expected a list of messages"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(messages, said):
    with pytest.raises(SensoriumError, match=said):
        Conversation.from_json(messages, where="row 3")


def test_plain_strings_and_lists_of_one_text_say_the_same_but_are_written_apart():
    plain, listed = ([{"role": "user", "content": c}] for c in ("a", [{"type": "text", "text": "a"}]))
    first, second = Conversation.from_json(plain), Conversation.from_json(listed)
    assert first.messages[0].parts == second.messages[0].parts == (Text("a"),)
    assert (first.to_json(), second.to_json()) == (plain, listed)
    assert isinstance(first.messages[0], Message)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "video_url", "video_url": {"url": "a.mp4"}, "frames": 16, "sampling": "scenes"},
         Video("a.mp4", frames=16, sampling="scenes")),
        ({"type": "video", "video": "a.mp4", "fps": 0.5, "max_frames": 32},
         Video("a.mp4", frames=32, sampling="fps:0.5")),
        ({"type": "video", "path": "a.mp4", "subtitles": "a.srt", "timestamps": False},
         Video("a.mp4", subtitles="a.srt", timestamps=False)),
        ({"type": "video", "path": "a.mp4", "frames": None}, Video("a.mp4")),
    ],
)  # fmt: skip
def test_how_frames_are_chosen_is_read_from_a_videos_part_and_written_back(part, said):
    document = [{"role": "user", "content": [part]}]
    conversation = Conversation.from_json(document)
    [video] = conversation.messages[0].parts
    assert replace(video, extra=()) == said
    assert json.dumps(conversation.to_json()) == json.dumps(document)
    again = Conversation.from_json(Conversation((user(said),)).to_json())
    assert replace(again.messages[0].parts[0], extra=()) == said  # also where no JSON was read before


def test_choices_made_later_take_the_place_of_those_that_were_read():
    read = Conversation.from_json([{"role": "user", "content": [{"type": "video", "video": "a.mp4", "fps": 2}]}])
    changed = replace(read.messages[0].parts[0], sampling="uniform", frames=4)
    [item] = Conversation((user(changed),)).to_json()[0]["content"]
    assert item == {"type": "video", "video": "a.mp4", "frames": 4}


WRONG_CHOICES = [{"frames": "8"}, {"frames": True}, {"fps": "1"}, {"sampling": 3}, {"timestamps": 1}]


@pytest.mark.parametrize("choice", WRONG_CHOICES)
def test_a_choice_of_the_wrong_kind_is_refused_by_name(choice):
    [key] = choice
    with pytest.raises(SensoriumError, match=rf"content\[0\]: `{key}` must be"):
        Conversation.from_json([{"role": "user", "content": [{"type": "video", "video": "a.mp4", **choice}]}])


def test_a_videos_digest_tells_the_bytes_the_subtitles_and_the_choice_of_frames(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"film")
    (tmp_path / "copy.mp4").write_bytes(b"film")
    video = Video(str(tmp_path / "a.mp4"))
    assert video.digest == Video(str(tmp_path / "copy.mp4")).digest == Video(b"film").digest
    others = [replace(video, frames=4), replace(video, sampling="scenes"), replace(video, subtitles=b"1"),
              replace(video, subtitles=b"2"), replace(video, timestamps=False), Video(b"other")]
    assert len({video.digest, *(other.digest for other in others)}) == 7
