"""The remote engine before servers that speak as others do: their streams, byte for byte, on a real port."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import urlopen

import pytest
from PIL import Image as Picture

from sensorium.conversation import Audio, Conversation, Image, assistant, user
from sensorium.engine import YES_NO, Boxes, JsonSchema, Logprob, Sampling
from sensorium.errors import SensoriumError

from .conftest import RED, SEVERAL, served

pytest.importorskip("openai", reason="the remote engine is an extra")
HI = Conversation((user("Hi"),))
SECRET = "sk-very-secret"


class Replay:
    """A server that answers each request as `answers` says, the last one for ever, and keeps what it was asked.

    An answer is (status, headers, body), or a function of the request's JSON that returns one.
    """

    def __init__(self) -> None:
        self.models: list[dict[str, Any]] | None = [{"id": "m"}]
        self.no_list = 404  # the status where there are no models
        self.answers: list[Any] = []
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most = self._now = 0
        self._lock = threading.Lock()

    def answer(self, path: str, asked: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        if path.endswith("/models"):
            answer = (self.no_list, {}, b""), _json(200, {"object": "list", "data": self.models})
            return answer[self.models is not None]
        with self._lock:
            self.asked.append(asked)
            self._now += 1
            self.most = max(self.most, self._now)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        try:
            return answer(asked) if callable(answer) else answer
        finally:
            with self._lock:
                self._now -= 1


def _json(status: int, content: Any, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(content).encode()


def _said(text: Any, finish: str | None = "stop", **more: Any) -> tuple[int, dict[str, str], bytes]:
    """A whole reply in OpenAI's form."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish, **more}
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    return _json(200, {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice],
                       "usage": usage})  # fmt: skip


def _events(body: str) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "text/event-stream"}, body.encode()


@contextmanager
def _serving(replay: Replay) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, asked: dict[str, Any]) -> None:
            replay.headers.append(dict(self.headers))
            status, headers, body = replay.answer(self.path, asked)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = "Content-Length" in headers  # which told of more than comes

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def replay() -> Replay:
    return Replay()


@pytest.fixture
def ask(replay: Replay) -> Iterator[Callable[..., Any]]:
    """`ask(answer, …, **options)`: an engine before a server that gives these answers."""
    from sensorium.engine.remote.engine import RemoteEngine

    engines = []
    with _serving(replay) as address:

        def make(*answers: Any, **options: Any) -> Any:
            replay.answers = list(answers)
            engines.append(RemoteEngine(address, **{"retries": 0, "timeout_s": 20} | options))
            return engines[-1]

        yield make
        for engine in engines:
            engine.close()


# The forms are those of each server's documentation and source; ids and times are made up.
VLLM = """\
data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":\
{"role":"assistant","content":"","reasoning_content":null},"logprobs":null,"finish_reason":null}]}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":\
{"reasoning_content":"Hm, a greeting."},"logprobs":null,"finish_reason":null}]}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":\
{"content":"Hel"},"logprobs":null,"finish_reason":null,"token_ids":null}]}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":\
{"content":"lo"},"logprobs":null,"finish_reason":"stop","stop_reason":null,"token_ids":null}]}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],\
"usage":{"prompt_tokens":9,"total_tokens":12,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}}

data: [DONE]

"""
OLLAMA = """\
data: {"id":"chatcmpl-7","object":"chat.completion.chunk","created":1,"model":"m","system_fingerprint":"fp_ollama",\
"choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"},"finish_reason":null}]}

data: {"id":"chatcmpl-7","object":"chat.completion.chunk","created":1,"model":"m","system_fingerprint":"fp_ollama",\
"choices":[{"index":0,"delta":{"role":"assistant","content":"lo"},"finish_reason":null}]}

data: {"id":"chatcmpl-7","object":"chat.completion.chunk","created":1,"model":"m","system_fingerprint":"fp_ollama",\
"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop"}]}

data: {"id":"chatcmpl-7","object":"chat.completion.chunk","created":1,"model":"m","system_fingerprint":"fp_ollama",\
"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}

data: [DONE]

"""
LLAMA_CPP = """\
:

data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"created":1,\
"id":"chatcmpl-x","model":"m","system_fingerprint":"b1-x","object":"chat.completion.chunk"}

: ping

data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Hel"}}],"created":1,"id":"chatcmpl-x",\
"model":"m","system_fingerprint":"b1-x","object":"chat.completion.chunk"}

data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"lo"}}],"created":1,"id":"chatcmpl-x",\
"model":"m","system_fingerprint":"b1-x","object":"chat.completion.chunk"}

data: {"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"created":1,"id":"chatcmpl-x","model":"m",\
"system_fingerprint":"b1-x","object":"chat.completion.chunk","usage":{"completion_tokens":3,"prompt_tokens":9,\
"total_tokens":12,"prompt_tokens_details":{"cached_tokens":4}},"timings":{"prompt_n":9,"predicted_per_second":80.1}}

data: [DONE]

"""
OPENAI = """\
data: {"id":"chatcmpl-A","object":"chat.completion.chunk","created":1,"model":"m","service_tier":"default",\
"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],\
"usage":null,"obfuscation":"aB"}

data: {"id":"chatcmpl-A","object":"chat.completion.chunk","created":1,"model":"m","service_tier":"default",\
"choices":[{"index":0,"delta":{"content":"Hello"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"x"}

data: {"id":"chatcmpl-A","object":"chat.completion.chunk","created":1,"model":"m","service_tier":"default",\
"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null,"obfuscation":"yZ1"}

data: {"id":"chatcmpl-A","object":"chat.completion.chunk","created":1,"model":"m","service_tier":"default","choices":\
[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":4,\
"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}},"obfuscation":""}

data: [DONE]

"""


@pytest.mark.parametrize(("body", "n_cached"), [(VLLM, 4), (OLLAMA, 0), (LLAMA_CPP, 4), (OPENAI, 4)],
                         ids=["vLLM", "Ollama", "llama.cpp", "OpenAI"])  # fmt: skip
def test_streams_of_known_servers_say_the_same(ask, body, n_cached):
    *pieces, last = ask(_events(body)).stream(HI)
    assert "".join(piece.text for piece in pieces) == "Hello" and last.text == ""
    assert (last.finish, last.n_prompt, last.n_tokens, last.n_cached) == ("stop", 9, 3, n_cached)
    assert all(piece.finish is None and piece.text for piece in pieces)


def _chunk(delta: Any, finish: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    content = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}
    return f"data: {json.dumps(content)}\n\n"


@pytest.mark.parametrize(
    ("body", "text", "finish", "n_tokens"),
    [
        (_chunk({"content": "Hi"}) + _chunk({}, "end_turn"), "Hi", "stop", 1),  # and no [DONE]
        (_chunk({"content": "Hi"}) + _chunk(None, "eos"), "Hi", "stop", 1),
        (_chunk({"content": "Hi"}) + _chunk({"content": None}, "tool_calls"), "Hi", "stop", 1),
        (_chunk({"content": "Hi"}) + _chunk({}, "max_tokens"), "Hi", "length", 1),
        (_chunk({"content": "Hi"}) + _chunk({}, None), "Hi", "stop", 1),
        (_chunk({"content": "Hi"}, usage={"prompt_tokens": 1, "completion_tokens": 5}), "Hi", "length", 5),
        (_chunk({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Hi"}]}, "stop"), "Hi",
         "stop", 1),
        (_chunk({"content": "Hi"}, choices=None) + _chunk({"content": "Ho"}, "stop"), "Ho", "stop", 1),
        (_chunk({"content": "Hi"}) + _chunk({"content": "No"}).replace('"index": 0', '"index": 1')
         + _chunk({}, "stop"), "Hi", "stop", 1),
        (_chunk({"content": "Hi"}, usage={"prompt_tokens": 3, "completion_tokens": 1})
         + _chunk({"content": "!"}, "stop", usage={"prompt_tokens": 3, "completion_tokens": 2}), "Hi!", "stop", 2),
    ],
)  # fmt: skip
def test_odd_streams_are_read_as_they_are_meant(ask, body, text, finish, n_tokens):
    deltas = list(ask(_events(body)).stream(HI, Sampling(max_new_tokens=5)))
    assert "".join(delta.text for delta in deltas) == text
    assert (deltas[-1].finish, deltas[-1].n_tokens) == (finish, n_tokens)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (_events(_chunk({"content": "Hi"}) + _chunk({}, "content_filter")), r"did not finish the reply \(content_"),
        (_events(_chunk({"content": "Hi"}) + _chunk({}, "abort")), r"did not finish the reply \(abort\)"),
        (_events('data: {"error": {"message": "out of memory", "code": 500}}\n\n'), "gave up: out of memory"),
        (_events("data: {not json\n\n"), "not as OpenAI's API does"),
        ((200, {"Content-Type": "text/html"}, b"<html>Welcome</html>"), "not as OpenAI's API does. .* ends in /v1"),
        ((200, {"Content-Type": "text/event-stream", "Content-Length": "999"}, _chunk({"content": "Hi"}).encode()),
         "cannot be reached"),
    ],
)  # fmt: skip
def test_a_stream_that_fails_is_no_reply(ask, answer, said):
    with pytest.raises(SensoriumError, match=said):
        list(ask(answer).stream(HI))


def test_whole_replies_in_any_form(ask):
    for content, text in (("Hi", "Hi"), (None, ""), ([{"type": "text", "text": "H"}, {"text": "i"}], "Hi")):
        reply = ask(_said(content)).answer([HI])[0]
        assert (reply.text, reply.finish, reply.n_prompt, reply.n_tokens) == (text, "stop", 9, 3)
    assert ask(_said("Hi", "length")).answer([HI])[0].finish == "length"
    with pytest.raises(SensoriumError, match="sent no reply"):
        ask(_json(200, {"id": "c", "object": "chat.completion", "choices": []})).answer([HI])


def test_what_is_asked_for_is_sent_and_nothing_else(ask, replay):
    engine = ask(_said("Hi"))
    engine.answer([HI])
    engine.answer([Conversation((user("a", RED, "b"), assistant("c"), user("d")))],
                  Sampling(7, 0.5, 0.9, 5, 3, ("x", "y"), 1.1))  # fmt: skip
    plain, full = replay.asked
    assert plain == {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "max_tokens": 256}
    url = "data:image/png;base64," + base64.b64encode(RED.source).decode()
    first = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": url}},
             {"type": "text", "text": "b"}]  # fmt: skip
    assert full == {
        "model": "m", "temperature": 0.5, "max_tokens": 7, "top_p": 0.9, "seed": 3, "stop": ["x", "y"], "top_k": 5,
        "repetition_penalty": 1.1, "repeat_penalty": 1.1, "messages": [
            {"role": "user", "content": first}, {"role": "assistant", "content": "c"}, {"role": "user", "content": "d"},
        ],
    }  # fmt: skip
    with pytest.raises(SensoriumError, match="has audio"):
        engine.answer([Conversation((user(Audio("a.wav")),))])


def test_answers_come_in_order_and_several_are_asked_for_at_once(ask, replay):
    together = threading.Barrier(3)

    def echo(asked: dict[str, Any]) -> Any:
        together.wait(10)  # goes on only when three ask at once
        return _said(asked["messages"][0]["content"])

    questions = [Conversation((user(str(n)),)) for n in range(9)]
    replies = ask(echo, concurrency=3).answer(questions)
    assert [reply.text for reply in replies] == [str(n) for n in range(9)]
    assert replay.most == 3


def test_a_busy_or_failing_server_is_asked_again(ask, replay):
    busy = _json(429, {"error": {"message": "slow down"}}, **{"Retry-After-Ms": "1"})
    failing = _json(503, {"error": {"message": "loading"}}, **{"Retry-After-Ms": "1"})
    assert ask(busy, failing, _said("Hi"), retries=2).answer([HI])[0].text == "Hi"
    assert len(replay.asked) == 3
    with pytest.raises(SensoriumError, match=r"failed \(503: loading\)"):
        ask(failing, retries=1).answer([HI])
    assert len(replay.asked) == 5


def test_retry_after_is_waited_for(ask, monkeypatch):
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    assert ask(_json(429, {}, **{"Retry-After": "7"}), _said("Hi"), retries=1).answer([HI])[0].text == "Hi"
    assert waited == [7]


def _refused(status: int, message: str, **more: Any) -> Any:
    return _json(status, {"error": {"message": message, **more}})


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (_refused(401, f"Incorrect API key provided: {SECRET}."), r"does not accept the key .*\[key\].* --api-key"),
        (_refused(404, "The model `m` does not exist."), r"has no model `m`. .*http://HOST/v1#MODEL"),
        (_refused(400, "This model's maximum context length is 9 tokens.", code="context_length_exceeded"),
         "maximum context length is 9 tokens. Show fewer pictures"),
        (_refused(400, "image too large"), r"refuses the request \(400\): image too large"),
        (_json(422, {"detail": f"no field {SECRET}"}), r"refuses the request \(422\): no field \[key\]"),
        (_refused(429, "quota exceeded"), "is busy, or asked too often .quota exceeded"),
        ((500, {}, f"crash {SECRET}".encode()), r"failed \(500: "),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do_and_never_the_key(ask, answer, said):
    for reply in (lambda engine: engine.answer([HI]), lambda engine: list(engine.stream(HI))):
        with pytest.raises(SensoriumError, match=said) as found:
            reply(ask(answer, api_key=SECRET))
        assert SECRET not in str(found.value) and found.value.where.startswith("http://127.0.0.1")
        assert found.value.__suppress_context__  # a traceback would show what the server said


def test_the_key_is_sent_and_an_address_with_a_password_is_shown_without(ask, replay):
    from sensorium.engine.remote.endpoint import Endpoint

    ask(_said("Hi"), api_key=SECRET).answer([HI])
    assert all(headers["authorization"] == f"Bearer {SECRET}" for headers in replay.headers)
    assert Endpoint("http://me:pw@host:81/v1", None, 1, 0).where == "http://host:81/v1"
    for wrong in ("host:81", "ftp://host/v1", "http://", "http://[::1"):
        with pytest.raises(SensoriumError, match="Write http://HOST:PORT/v1"):
            Endpoint(wrong, None, 1, 0)


def test_a_server_that_is_not_there_is_named_at_once():
    from sensorium.engine.remote.engine import RemoteEngine

    with pytest.raises(SensoriumError, match=r"http://127.0.0.1:9/v1: cannot be reached \(.*\). Is the server running"):
        RemoteEngine("http://127.0.0.1:9/v1", retries=0)


def test_a_silent_server_is_given_up(ask):
    gate = threading.Event()

    def wait(asked: dict[str, Any]) -> Any:
        gate.wait(10)
        return _said("late")

    with pytest.raises(SensoriumError, match=r"was silent for 0\.2 s"):
        ask(wait, timeout_s=0.2).answer([HI])
    gate.set()


def test_the_model_is_named_found_or_asked_for(ask, replay):
    replay.models = [{"id": "a", "max_model_len": 4096}, {"id": "b", "context_length": 99, "visual_tokens": 64}]
    with pytest.raises(SensoriumError, match=r"has 2 models. Known: a, b. Write it after the address"):
        ask(_said("Hi"))
    assert ask(_said("Hi"), model="a").card.context_length == 4096
    card = ask(_said("Hi"), model="b").card
    assert (card.name, card.context_length, card.visual_tokens) == ("b", 99, 64)
    assert ask(_said("Hi"), model="alias:latest").answer([HI])[0].text == "Hi"  # which some servers know unlisted
    replay.models = [{"id": "l", "meta": {"n_ctx": 512, "n_ctx_train": 8192}}, {"id": "o", "meta": None}]
    assert [ask(_said("Hi"), model=name).card.context_length for name in "lo"] == [512, 0]
    replay.models = None
    # transformers' own server fails at its list where there is no hub's cache
    for replay.no_list, said in ((500, r"failed \(500"), (405, "has no list"), (404, "has no list")):
        assert ask(_said("Hi"), model="c").card.context_length == 0
        with pytest.raises(SensoriumError, match=said):
            ask(_said("Hi"))


def test_other_spellings_are_learnt_from_the_refusal(ask, replay):
    newer = _refused(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    strict = _refused(422, "Extra inputs are not permitted: stream_options")
    engine = ask(newer, strict, _events(OLLAMA))
    assert "".join(delta.text for delta in engine.stream(HI)) == "Hello"
    list(engine.stream(HI))
    limits = [[name for name in asked if name.startswith("max_")] for asked in replay.asked]
    assert limits == [["max_tokens"], *[["max_completion_tokens"]] * 3]
    assert ["stream_options" in asked for asked in replay.asked] == [True, True, False, False]
    with pytest.raises(SensoriumError, match="refuses the request"):  # and a server that refuses both is not asked on
        ask(_refused(400, "neither max_tokens nor max_completion_tokens")).answer([HI])


def test_token_probabilities_are_carried_over(ask, replay):
    top = {"token": "H", "logprob": -0.5, "bytes": None}
    row = {"token": "H", "logprob": -0.5, "bytes": [72], "top_logprobs": [top]}
    expected = (Logprob("H", b"H", -0.5, (Logprob("H", b"H", -0.5),)),)
    reply = ask(_said("H", logprobs={"content": [row]})).answer([HI], Sampling(logprobs=1))[0]
    assert reply.logprobs == expected
    assert (replay.asked[0]["logprobs"], replay.asked[0]["top_logprobs"]) == (True, 1)
    chunk = _chunk({"content": "H"}, "stop")
    choice = json.loads(chunk.removeprefix("data: "))["choices"][0] | {"logprobs": {"content": [row]}}
    deltas = list(ask(_events(_chunk({}, choices=[choice]))).stream(HI, Sampling(logprobs=1)))
    assert sum((delta.logprobs for delta in deltas), ()) == expected
    for ask_for in (lambda engine, how: engine.answer([HI], how), lambda engine, how: list(engine.stream(HI, how))):
        with pytest.raises(SensoriumError, match="tells no token probabilities"):
            ask_for(ask(lambda asked: _events(OLLAMA) if asked.get("stream") else _said("H")), Sampling(logprobs=0))


def test_constraints_become_a_schema_and_choices_words_again(ask, replay):
    said = '{"choice": "No"}'

    def answer(asked: dict[str, Any]) -> Any:
        pieces = "".join(_chunk({"content": letter}) for letter in said)
        return _events(pieces + _chunk({}, "stop")) if asked.get("stream") else _said(said)

    engine = ask(answer)
    assert engine.answer([HI], Sampling(constrain=YES_NO))[0].text == "No"
    deltas = list(engine.stream(HI, Sampling(constrain=YES_NO)))
    assert [delta.text for delta in deltas if delta.text] == ["No"] and deltas[-1].finish == "stop"
    sent = replay.asked[0]["response_format"]["json_schema"]["schema"]
    assert sent["properties"]["choice"]["enum"] == ["Yes", "No"] and sent["required"] == ["choice"]
    schema = JsonSchema.of({"type": "object"})
    assert "".join(delta.text for delta in engine.stream(HI, Sampling(constrain=schema))) == said
    assert replay.asked[-1]["response_format"]["json_schema"]["schema"] == {"type": "object"}
    with pytest.raises(SensoriumError, match="boxes cannot be asked"):
        engine.answer([HI], Sampling(constrain=Boxes()))
    said = "No."  # of a server that does as if nothing had been asked
    for constraint in (YES_NO, schema):
        with pytest.raises(SensoriumError, match=r"did not keep to the constraint: 'No\.'"):
            engine.answer([HI], Sampling(constrain=constraint))
        with pytest.raises(SensoriumError, match="did not keep to the constraint"):
            list(engine.stream(HI, Sampling(constrain=constraint)))


def test_our_own_server_is_told_a_constraint_as_it_is_and_its_words_are_the_reply(ask, replay):
    replay.models = [{"id": "m", "owned_by": "sensorium"}]
    engine = ask(lambda asked: _events(_chunk({"content": "N"}) + _chunk({"content": "o"}, "stop"))
                 if asked.get("stream") else _said("No"))
    schema = {"type": "array", "items": {"const": "é"}}
    for constraint in (YES_NO, JsonSchema.of(schema), Boxes(3)):
        assert engine.answer([HI], Sampling(constrain=constraint))[0].text == "No"
        assert [delta.text for delta in engine.stream(HI, Sampling(constrain=constraint))] == ["N", "o", ""]
    assert not any("response_format" in asked for asked in replay.asked)
    assert [asked["constrain"] for asked in replay.asked[::2]] == [
        {"choices": ["Yes", "No"]}, {"json_schema": schema}, {"boxes": 3}]


@pytest.mark.parametrize("who", ["sensorium", "others"])
def test_a_schema_that_is_no_json_is_never_sent(ask, replay, who):
    replay.models = [{"id": "m", "owned_by": who}]
    with pytest.raises(SensoriumError, match="constrain: the schema is not JSON"):
        ask(_said("No")).answer([HI], Sampling(constrain=JsonSchema("{")))
    assert replay.asked == []


def test_a_large_picture_is_shrunk_where_that_is_wanted(ask, replay):
    data = io.BytesIO()
    Picture.new("RGB", (300, 150), "red").save(data, "PNG")
    ask(_said("Hi"), max_side=100).answer([Conversation((user(Image(data.getvalue())),))])
    url = replay.asked[0]["messages"][0]["content"][0]["image_url"]["url"]
    assert Picture.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size == (100, 50)


def test_other_servers_cannot_score_and_ours_can(ask, remote_engine, llamacpp_engine):
    with pytest.raises(SensoriumError, match=r"cannot score given replies.* Ask a server of `sensorium serve`"):
        ask(_said("Hi")).score(HI, ["a"])
    candidates = ["Paris", "<ref>cat</ref><box>(1,2),(3,4)</box>", ""]
    for conversation in SEVERAL:
        expected = llamacpp_engine.score(conversation, candidates)
        assert remote_engine.score(conversation, candidates) == pytest.approx(expected, rel=5e-3)
    assert remote_engine.card.visual_tokens == 64 and remote_engine.card.name == llamacpp_engine.card.name


def test_a_stream_that_is_closed_frees_its_place_on_the_server(llamacpp_engine):
    from sensorium.engine.remote.engine import RemoteEngine

    def running(address: str) -> int:
        return json.loads(urlopen(f"{address}/health", timeout=10).read())["running"]

    with served(llamacpp_engine, max_running=1) as address:
        engine = RemoteEngine(f"{address}/v1", retries=0)
        stream = engine.stream(Conversation((user("Count from 1 to 1000."),)), Sampling(max_new_tokens=2000))
        next(stream)
        assert running(address) == 1
        stream.close()
        deadline = time.monotonic() + 20
        while running(address) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert running(address) == 0
        assert engine.answer([HI], Sampling(max_new_tokens=2))[0].n_tokens == 2  # there is only one place
        engine.close()
