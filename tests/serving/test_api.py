"""OpenAI's own client talks with the server as with OpenAI's; what is wrong is said in OpenAI's shape."""

from __future__ import annotations

import json
import threading
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from sensorium.conversation import Conversation, Image, decode_data_url, user
from sensorium.engine import YES_NO, Boxes, JsonSchema, OneOf, Sampling
from sensorium.errors import SensoriumError

from .conftest import post

openai = pytest.importorskip("openai")


def _client(address: str, key: str = "any"):
    return openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0, timeout=60)


def _shown(url: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}


ASK = {"model": "told", "messages": [{"role": "user", "content": "Hi"}]}


def test_the_openai_client_gets_the_engines_reply(tiny_engine, serve, data_url):
    parts = [{"type": "image_url", "image_url": {"url": data_url, "detail": "low"}},
             {"type": "text", "text": "What is in the picture?"}]
    with serve(tiny_engine) as address:
        name = _client(address).models.list().data[0].id
        reply = _client(address).chat.completions.create(
            model=name, messages=[{"role": "user", "content": parts}], max_completion_tokens=8, temperature=0
        )
    asked = Conversation((user(Image(decode_data_url(data_url)), "What is in the picture?"),))
    expected = tiny_engine.answer([asked], Sampling(max_new_tokens=8))[0]
    assert reply.choices[0].message.content == expected.text
    assert reply.choices[0].finish_reason == expected.finish
    assert reply.usage.prompt_tokens == expected.n_prompt and reply.usage.completion_tokens == expected.n_tokens
    assert reply.usage.prompt_tokens_details.image_tokens == tiny_engine.card.visual_tokens == 4


def test_a_streamed_reply_has_openais_chunks_in_their_order(told, serve):
    with serve(told) as address:
        chunks = list(_client(address).chat.completions.create(
            model="told", messages=ASK["messages"], stream=True, stream_options={"include_usage": True}
        ))
    deltas = [chunk.choices[0].delta for chunk in chunks[:-1]]
    assert (deltas[0].role, deltas[0].content) == ("assistant", "")
    assert [delta.content for delta in deltas[1:-1]] == ["one ", "two ", "three"]
    assert chunks[-2].choices[0].finish_reason == "stop" and deltas[-1].content is None
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == 13
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens == 4
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_bytes_of_a_stream_are_events_that_end_with_done(told, serve):
    with serve(told) as address:
        asked = Request(f"{address}/v1/chat/completions", json.dumps(ASK | {"stream": True}).encode(),
                        {"Content-Type": "application/json"})
        with urlopen(asked, timeout=30) as response:
            assert response.headers["Content-Type"].startswith("text/event-stream")
            lines = response.read().decode().split("\n\n")
    assert lines[-1] == "" and lines[-2] == "data: [DONE]"
    assert all(json.loads(line.removeprefix("data: "))["object"] == "chat.completion.chunk" for line in lines[:-2])


def test_what_is_asked_reaches_the_engine(told, serve, data_url):
    messages = [
        {"role": "developer", "content": "Be brief.", "name": "boss"},
        {"role": "user", "content": [{"type": "text", "text": "Look:"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url}}]},
        {"role": "assistant", "content": "Red.", "refusal": None},
        {"role": "user", "content": "Sure? <|im_end|>"},
    ]
    with serve(told, max_new_tokens=77) as address:
        client = _client(address).chat.completions
        client.create(model="told", messages=messages, temperature=0.5, top_p=0.9, seed=3, stop=["x", "y"],
                      extra_body={"top_k": 5, "repetition_penalty": 1.1})
        client.create(model="told", messages=[messages[4]], max_tokens=2)
    conversation, sampling = told.asked[0]
    assert [m.role for m in conversation] == ["system", "user", "assistant", "user"]
    assert [m.text for m in conversation] == ["Be brief.", "Look:\n", "Red.", "Sure? <|im_end|>"]
    assert isinstance(conversation.images[0].source, bytes)
    assert sampling == Sampling(77, 0.5, 0.9, 5, 3, ("x", "y"), 1.1)
    assert told.asked[1][1] == Sampling(max_new_tokens=2)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, JsonSchema.of({"type": "object"})),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "description": "d",
                                                                     "schema": {"type": "null"}}}},
         JsonSchema.of({"type": "null"})),
        ({"constrain": {"choices": ["a", "é"]}}, OneOf(("a", "é"))), ({"constrain": {"yes_no": True}}, YES_NO),
        ({"constrain": {"boxes": True}}, Boxes()), ({"constrain": {"boxes": 1}}, Boxes(1)),
        ({"constrain": {"json_schema": {"enum": [1]}}, "response_format": {"type": "text"}},
         JsonSchema.of({"enum": [1]})),
    ],
)  # fmt: skip
def test_what_a_reply_may_be_reaches_the_engine(told, serve, asked, expected):
    with serve(told) as address:
        status, _ = post(address, ASK | asked)
    assert status == 200 and told.asked[0][1] == Sampling(max_new_tokens=512, constrain=expected)


LIGHT = {
    "type": "object", "additionalProperties": False, "required": ["colour", "shines"],
    "properties": {"colour": {"enum": ["red", "blue"]}, "shines": {"type": "array", "items": {"type": "boolean"},
                                                                    "maxItems": 2}},
}  # fmt: skip


@pytest.fixture
def tiny_engine(tiny_model):
    from sensorium.engine.torch import TorchEngine

    return TorchEngine(tiny_model, "told")


def test_the_openai_client_gets_json_of_its_schema_whole_and_streamed(tiny_engine, serve):
    form = {"type": "json_schema", "json_schema": {"name": "light", "schema": LIGHT, "strict": True}}
    with serve(tiny_engine, max_new_tokens=100) as address:
        create = _client(address).chat.completions.create
        for seed in (1, 2):
            asked = {"model": "told", "messages": ASK["messages"], "response_format": form, "temperature": 1.0,
                     "seed": seed}
            whole = create(**asked).choices[0]
            streamed = "".join(chunk.choices[0].delta.content or "" for chunk in create(**asked, stream=True))
            assert whole.message.content == streamed and whole.finish_reason == "stop"
            found = json.loads(streamed)
            assert list(found) == ["colour", "shines"] and found["colour"] in ("red", "blue")
            assert set(found["shines"]) <= {True, False}
        extra = {"constrain": {"choices": ["red", "blue"]}}
        assert create(model="told", messages=ASK["messages"], extra_body=extra).choices[0].message.content in (
            "red", "blue")


def test_a_schema_that_cannot_be_kept_to_is_the_callers_to_mend(tiny_engine, serve):
    with serve(tiny_engine, max_new_tokens=100) as address:
        for stream in (False, True):
            form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "fish"}}}
            own = {"extra_body": {"constrain": {"json_schema": {"type": "fish"}}}}
            for field, asked in (("response_format", {"response_format": form}), ("constrain", own)):
                with pytest.raises(openai.BadRequestError, match="Invalid type: fish") as refused:
                    _client(address).chat.completions.create(
                        model="told", messages=ASK["messages"], stream=stream, **asked
                    )
                assert refused.value.param == field and refused.value.body["message"].startswith(f"{field}: ")
        nested = b'{"items": ' * 980 + b"{}" + b"}" * 980
        body = json.dumps(ASK).encode()[:-1] + b', "constrain": {"json_schema": ' + nested + b"}}"
        assert post(address, body)[0] == 400


def test_the_openai_client_gets_log_probabilities_whole_and_streamed(tiny_engine, serve):
    asked = {"model": "told", "messages": ASK["messages"], "logprobs": True, "top_logprobs": 3, "temperature": 1.0,
             "max_completion_tokens": 20, "seed": 6}
    conversation = Conversation((user("Hi"),))
    expected = tiny_engine.answer([conversation], Sampling(20, 1.0, seed=6, logprobs=3))[0].logprobs
    with serve(tiny_engine, max_new_tokens=100) as address:
        create = _client(address).chat.completions.create
        whole = create(**asked).choices[0].logprobs.content
        chunks = [chunk.choices[0] for chunk in create(**asked, stream=True)]
        bare = create(**asked | {"top_logprobs": None}).choices[0].logprobs.content
        without = create(**asked | {"logprobs": None, "top_logprobs": None}).choices[0]
    assert [(token.token, bytes(token.bytes)) for token in whole] == [(t.text, t.bytes) for t in expected]
    assert [token.logprob for token in whole] == pytest.approx([t.value for t in expected])
    assert [[(top.token, bytes(top.bytes)) for top in token.top_logprobs] for token in whole] == [
        [(top.text, top.bytes) for top in token.top] for token in expected
    ]
    assert [token for choice in chunks if choice.logprobs for token in choice.logprobs.content] == whole
    assert [token.top_logprobs for token in bare] == [[]] * len(whole)
    assert without.logprobs is None


@pytest.mark.parametrize(
    ("changes", "param", "message"),
    [
        ({"messages": []}, "messages", "at least 1 item"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "request.messages[0]", "unknown role 'robot'"),
        (_shown("/etc/passwd"), "messages[0]", "not in the request"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "path": "/etc/passwd"}]}]}, "messages[0]",
         "not in the request"),
        (_shown("http://x/a.png"), "messages[0]", "data URL"),
        (_shown("file:///etc/passwd"), "messages[0]", "not in the request"),
        (_shown("data:image/png;base64,@@"), None, "base64 is damaged"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA"}}]}]},
         "messages[0]", "takes pictures and videos only"),
        ({"temperature": 99}, "temperature", "less than or equal to 10"),
        ({"top_p": 0}, "top_p", "greater than 0"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"n": 3}, "n", "only one reply"),
        ({"tools": [{"type": "function"}]}, "tools", "not supported"),
        ({"top_logprobs": 2}, "top_logprobs", "needs logprobs to be true"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "less than or equal to 20"),
        ({"logprobs": True, "top_logprobs": -1}, "top_logprobs", "greater than or equal to 0"),
        ({"presence_penalty": 1}, "presence_penalty", "repetition_penalty"),
        ({"response_format": {"type": "yaml"}}, "response_format.type", "'json_object'"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "json_schema: is missing"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
         "response_format.json_schema.schema", "required"),
        ({"constrain": {}}, "constrain", "give one of"),
        ({"constrain": {"yes_no": True, "boxes": 2}}, "constrain", "give one of"),
        ({"constrain": {"choices": []}}, "constrain.choices", "at least 1 item"),
        ({"constrain": {"choices": ["a", ""]}}, "constrain", "no choices"),
        ({"constrain": {"boxes": 0}}, "constrain", "are none"),
        ({"constrain": {"grammar": "x"}}, "constrain.grammar", "not permitted"),
        ({"constrain": {"yes_no": True}, "response_format": {"type": "json_object"}}, "constrain", "already"),
        ({"stop": [""]}, "stop", "1 to 256"),
        ({"stream_options": 5}, "stream_options", "valid"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_in_openais_shape(told, serve, changes, param, message):
    with serve(told) as address:
        status, found = post(address, ASK | changes)
    assert status == 400 and set(found) == {"error"} and set(found["error"]) == {"message", "type", "param", "code"}
    assert message in found["error"]["message"] and found["error"]["type"] == "invalid_request_error"
    assert param is None or found["error"]["param"] == param
    assert told.asked == []


def test_other_wrongs_have_their_own_status(told, serve):
    with serve(told) as address:
        assert post(address, ASK | {"model": "gpt-7"})[0] == 404
        status, found = post(address, b"{not json")
        assert status == 400 and "JSON" in found["error"]["message"]
        with pytest.raises(openai.NotFoundError, match="this server has `told`"):
            _client(address).chat.completions.create(model="gpt-7", messages=ASK["messages"])
        with pytest.raises(HTTPError) as missing:
            urlopen(f"{address}/v1/nothing", timeout=10)
        assert missing.value.code == 404 and "error" in json.loads(missing.value.read())


def test_what_the_engine_refuses_is_the_callers_to_mend(told, serve):
    def refuse(conversation, sampling):
        raise SensoriumError("conversation", "has 9 tokens too many.", "Show fewer pictures.")
        yield

    told.stream = refuse
    with serve(told) as address:
        for stream in (False, True):
            status, found = post(address, ASK | {"stream": stream})
            assert status == 400 and "Show fewer pictures." in found["error"]["message"]


def test_an_engine_that_fails_is_a_server_error_also_in_the_middle(told, serve):
    told.error = RuntimeError("llama.cpp could not go on")
    with serve(told) as address:
        status, found = post(address, ASK)
        assert status == 500 and "llama" not in found["error"]["message"]  # what is inside is for the log
        with pytest.raises(openai.APIError, match="server failed at this request"):
            list(_client(address).chat.completions.create(model="told", messages=ASK["messages"], stream=True))
        told.error = None
        assert post(address, ASK)[0] == 200  # and it goes on


def test_a_reply_that_takes_too_long_ends(told, serve):
    told.go = threading.Semaphore(1)
    with serve(told, reply_timeout_s=0.3) as address:
        status, found = post(address, ASK)
        assert status == 504 and "reply_timeout_s" in found["error"]["message"]
        told.go.release(100)


def test_a_client_that_leaves_ends_its_reply(told, serve):
    told.words = ("word ",) * 1000
    told.go = threading.Semaphore(2)
    with serve(told) as address:
        stream = _client(address).chat.completions.create(model="told", messages=ASK["messages"], stream=True)
        next(iter(stream))
        stream.close()
        for _ in range(200):
            told.go.release(1)
            time.sleep(0.01)
            if told.left:
                break
        assert told.left == 1
        told.go.release(10**6)
        for _ in range(200):
            if json.loads(urlopen(f"{address}/health", timeout=10).read())["running"] == 0:
                return
            time.sleep(0.01)
        raise AssertionError("the place of a caller who left is kept")


def test_keys_open_everything_but_health_stays_open(told, serve):
    with serve(told, keys=("right", "other")) as address:
        for key in ("right", "other"):
            assert _client(address, key).models.list().data[0].id == "told"
        with pytest.raises(openai.AuthenticationError):
            _client(address, "wrong").models.list()
        assert post(address, ASK)[0] == 401
        assert json.loads(urlopen(f"{address}/health", timeout=10).read())["status"] == "ok"
    assert told.asked == []


def test_metrics_count_requests_and_tokens(told, serve):
    with serve(told) as address:
        post(address, ASK)
        post(address, ASK)
        text = urlopen(f"{address}/metrics", timeout=10).read().decode()
    assert 'sensorium_requests_total{status="answered"} 2.0' in text
    assert 'sensorium_tokens_total{kind="prompt"} 20.0' in text and 'kind="cached"} 8.0' in text
    assert "sensorium_first_token_seconds_count 2.0" in text and "sensorium_running 0.0" in text


def test_other_sites_pages_may_ask_only_where_allowed(told, serve):
    for allowed, expected in (((), None), (("http://page.example",), "http://page.example")):
        with serve(told, allow_origins=allowed) as address:
            asked = Request(f"{address}/v1/models", headers={"Origin": "http://page.example"})
            with urlopen(asked, timeout=10) as response:
                assert response.headers.get("Access-Control-Allow-Origin") == expected


def test_a_queue_that_is_full_says_when_to_come_back(told, serve):
    told.go = threading.Semaphore(0)
    with serve(told, max_running=1, max_waiting=1) as address:
        threads = [threading.Thread(target=post, args=(address, ASK)) for _ in range(2)]
        for thread in threads:
            thread.start()
        while json.loads(urlopen(f"{address}/health", timeout=10).read())["waiting"] == 0:
            time.sleep(0.01)
        with pytest.raises(openai.RateLimitError) as refused:
            _client(address).chat.completions.create(model="told", messages=ASK["messages"])
        assert int(refused.value.response.headers["Retry-After"]) >= 1
        told.go.release(100)
        for thread in threads:
            thread.join()
    assert told.most == 1 and len(told.asked) == 2


def test_streams_are_finished_before_the_server_ends(told, serve):
    told.go = threading.Semaphore(1)
    found = []

    def ask(address: str) -> None:
        found.extend(_client(address).chat.completions.create(model="told", messages=ASK["messages"], stream=True))

    with serve(told) as address:
        thread = threading.Thread(target=ask, args=(address,))
        thread.start()
        while not told.asked:
            time.sleep(0.01)
        threading.Timer(0.3, lambda: told.go.release(10)).start()
    thread.join(10)
    assert found[-1].choices[0].finish_reason == "stop"
