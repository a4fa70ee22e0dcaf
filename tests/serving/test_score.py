"""`POST /v1/score` gives the engine's own scores, and refuses as the rest of the API does."""

from __future__ import annotations

import json
from urllib.request import urlopen

import pytest

from sensorium.conversation import Conversation, Image, decode_data_url, user

from .conftest import post

ASK = {"model": "told", "messages": [{"role": "user", "content": "Hi"}], "candidates": ["Yes", "No way"]}


def _scores(address: str, body: object) -> tuple[int, dict]:
    return post(address, body, path="/v1/score")


def test_scores_and_counts_are_the_engines(tiny_engine, serve, data_url):
    picture = {"type": "image_url", "image_url": {"url": data_url}}
    messages = [{"role": "user", "content": [picture, {"type": "text", "text": "What?"}]}]
    name, candidates = tiny_engine.card.name, ["A cat", "No"]
    with serve(tiny_engine) as address:
        status, found = _scores(address, {"model": name, "messages": messages, "candidates": candidates})
    asked = Conversation((user(Image(decode_data_url(data_url)), "What?"),))
    assert status == 200 and found["model"] == name and [row["index"] for row in found["data"]] == [0, 1]
    assert [row["logprob"] for row in found["data"]] == pytest.approx(tiny_engine.score(asked, candidates), rel=1e-4)
    assert [row["tokens"] for row in found["data"]] == [tiny_engine.count(c) for c in candidates]


@pytest.fixture
def scoring(told):
    """`told`, which finds each candidate as unlikely as it is long."""
    told.score = lambda conversation, candidates: [-float(len(c)) for c in candidates]
    told.count = len
    return told


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"model": "other"}, 404, "this server has `told`"),
        ({"candidates": []}, 400, "candidates"),
        ({"candidates": ["a"] * 257}, 400, "at most 256"),
        ({"candidates": ["a" * 600, "b" * 401]}, 400, "have 1001 tokens together; 1000 are allowed"),
        ({"candidates": "Yes"}, 400, "candidates"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "path": "/etc/passwd"}]}]}, 400,
         "not in the request"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(scoring, serve, changes, status, said):
    with serve(scoring) as address:
        found, body = _scores(address, ASK | changes)
        assert found == status and said in body["error"]["message"]
        assert [row["logprob"] for row in _scores(address, ASK)[1]["data"]] == [-3, -6]


def test_scores_wait_for_their_turn_and_need_a_key(scoring, serve):
    with serve(scoring, keys=("k",)) as address:
        assert _scores(address, ASK)[0] == 401
    with serve(scoring, max_running=1, max_waiting=0) as address:
        scoring.score = lambda conversation, candidates: [float(_scores(address, ASK)[0])] * len(candidates)
        assert _scores(address, ASK)[1]["data"][0]["logprob"] == 429  # asked while the one place is taken
        assert json.loads(urlopen(f"{address}/health", timeout=10).read())["running"] == 0
