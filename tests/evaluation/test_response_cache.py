"""A reply is found again by what makes it, and by nothing else."""

from __future__ import annotations

import pytest
from PIL import Image as PILImage

from sensorium.conversation import Conversation, Image, Text, system, user
from sensorium.engine import Reply, Sampling
from sensorium.errors import SensoriumError
from sensorium.evaluation.response_cache import ResponseCache, request_key

GREEDY = Sampling()


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    PILImage.new("RGB", (4, 4), "red").save(path)
    return path


def test_the_key_is_of_the_content_and_not_of_the_path(picture, tmp_path):
    copy = tmp_path / "copy.png"
    copy.write_bytes(picture.read_bytes())
    keys = {
        request_key(Conversation((user(Image(source), "What?"),)), "e", GREEDY)
        for source in (str(picture), str(copy), picture.read_bytes())
    }
    assert len(keys) == 1


def test_everything_that_makes_a_reply_is_in_the_key(picture, tmp_path):
    other = tmp_path / "b.png"
    PILImage.new("RGB", (4, 4), "blue").save(other)
    image = Image(str(picture))
    asked = Conversation((user(image, "What?"),))
    different = [
        (asked, "e", GREEDY), (asked, "f", GREEDY), (asked, "e", Sampling(seed=1)), (asked, "e", Sampling(stop=(".",))),
        (Conversation((user(Image(str(other)), "What?"),)), "e", GREEDY),
        (Conversation((user("What?", image),)), "e", GREEDY),
        (Conversation((user("What?"),)), "e", GREEDY),
        (Conversation((system("Be short."), user(image, "What?"))), "e", GREEDY),
        (Conversation((user(image, Text("What? ")),)), "e", GREEDY),
    ]  # fmt: skip
    assert len({request_key(*one) for one in different}) == len(different)


def test_replies_outlive_the_process_and_many_are_found_at_once(tmp_path):
    path = tmp_path / "deep" / "cache.sqlite"
    cache = ResponseCache(path)
    replies = {f"key {i}": Reply(f"größe {i} \u2028\x00", "length", i, 2) for i in range(1200)}
    cache.keep(replies)
    cache.close()
    assert ResponseCache(path).find([*replies, "unknown"]) == replies


def test_a_lone_half_of_a_character_is_kept(tmp_path):
    cache = ResponseCache(tmp_path / "c.sqlite")
    cache.keep({"k": Reply("\ud83d", "stop", 1, 1)})
    assert cache.find(["k"])["k"].text == "\ud83d"


def test_a_damaged_file_is_named_with_the_way_around_it(tmp_path):
    (tmp_path / "c.sqlite").write_bytes(b"no database at all, but long enough to be one" * 30)
    with pytest.raises(SensoriumError, match=r"c\.sqlite: the cache of replies cannot be used .*--no-cache"):
        ResponseCache(tmp_path / "c.sqlite")
