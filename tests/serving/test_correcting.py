"""Correction over HTTP: in a chat, whole and streamed, and by itself; limits and errors as everywhere."""

from __future__ import annotations

import base64
import json
import threading
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from sensorium.correction import Report
from sensorium.errors import SensoriumError
from sensorium.serving.correcting import Correcting

openai = pytest.importorskip("openai")
WRONG = ("Two dogs play. ", "The ball is ", "on the left. ", "So it is.")
RIGHT = "One dog plays. The ball is on the right. So it is."


def post(address, path, body, **headers):
    asked = Request(f"{address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    try:
        with urlopen(asked, timeout=30) as response:
            return response.status, json.loads(response.read())
    except HTTPError as error:
        return error.code, json.loads(error.read())


def shown(url, text="What is there?"):
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}},
                                         {"type": "text", "text": text}]}]  # fmt: skip


def test_a_chat_is_answered_with_corrected_words_and_the_report(serve, told, correcting, data_url):
    told.words = WRONG
    with serve(told, correcting=correcting) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)
        reply = client.chat.completions.create(model="told", messages=shown(data_url), extra_body={"correct": True})
        plain = client.chat.completions.create(model="told", messages=shown(data_url))
    assert reply.choices[0].message.content == RIGHT and reply.choices[0].finish_reason == "stop"
    report = Report.from_json(reply.model_extra["correction"])
    assert report.text == "".join(WRONG) and report.output == RIGHT and report.question == "What is there?"
    assert plain.choices[0].message.content == "".join(WRONG) and "correction" not in plain.model_extra


def test_a_streamed_reply_is_let_out_sentence_by_sentence(serve, told, correcting, data_url):
    told.words = WRONG
    told.go = threading.Semaphore(3)
    with serve(told, correcting=correcting) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)
        chunks = client.chat.completions.create(
            model="told", messages=shown(data_url), stream=True, extra_body={"correct": True}
        )
        said = [next(chunks), next(chunks)]
        assert said[1].choices[0].delta.content == "One dog plays."  # while the model has not ended
        told.go.release(10)
        said += list(chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in said) == RIGHT
    assert [chunk.model_extra.get("correction", {}).get("output") for chunk in said if chunk.model_extra] == [RIGHT]
    assert said[-1].choices[0].finish_reason == "stop"


def test_a_text_is_corrected_by_itself(serve, told, correcting, data_url):
    body = {"image": data_url, "text": "".join(WRONG), "question": "What is there?"}
    with serve(told, correcting=correcting) as address:
        status, report = post(address, "/v1/corrections", body)
        careful = post(address, "/v1/corrections", {**body, "risk": 0.001})[1]
    assert status == 200 and report["output"] == RIGHT and report["edits"][0]["replacement"] == "One"
    assert Report.from_json(report).to_json() == report
    assert careful["output"] == body["text"] and careful["cost"]["calls"] == {}  # the evidence is remembered


@pytest.mark.parametrize(
    ("change", "param", "says"),
    [
        ({"text": ""}, "text", "at least 1 character"),
        ({"text": " "}, "text", "is empty"),
        ({"text": "图里有一只狗"}, "text", "only English is supported yet"),
        ({"text": "A dog. " * 3000}, "text", "at most 20000"),
        ({"text": "\ud800 dog"}, "text", "valid string"),
        ({"question": "那里有什么？"}, "question", "only English is supported yet"),
        ({"risk": 0.7}, "risk", "less than 0.5"),
        ({"doubtful": "panic"}, "doubtful", "leave"),
        ({"image": "/etc/passwd"}, "image", "is not in the request"),
        ({"image": "file:///etc/passwd"}, "image", "is not in the request"),
        ({"image": "http://127.0.0.1/cat.png"}, "image", "--remote-pictures"),
        ({"image": "data:image/png;base64,AAAA"}, "image", "no known picture format"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_openais_shape(serve, told, correcting, data_url, change, param, says):
    with serve(told, correcting=correcting) as address:
        status, body = post(address, "/v1/corrections", {"image": data_url, "text": "A dog.", **change})
    assert status == 400 and set(body["error"]) == {"message", "type", "param", "code"}
    assert says in body["error"]["message"], body
    assert body["error"]["param"] == param


def test_a_private_address_is_not_fetched_for_it_either(serve, told, correcting):
    with serve(told, correcting=correcting, allow_remote_pictures=True) as address:
        status, body = post(address, "/v1/corrections", {"image": f"{address}/x.png", "text": "A dog."})
    assert status == 400 and body["error"]["param"] == "image" and body["error"]["code"] == "picture_not_fetched"


def test_keys_sizes_and_queues_hold_for_it_too(serve, told, correcting, data_url):
    body = {"image": data_url, "text": "A dog."}
    with serve(told, correcting=correcting, keys=("open",), max_body_mb=0.01) as address:
        assert post(address, "/v1/corrections", body)[0] == 401
        assert post(address, "/v1/corrections", body, Authorization="Bearer open")[0] == 200
        large = {**body, "text": "A dog. " * 5000}
        assert post(address, "/v1/corrections", large, Authorization="Bearer open")[0] == 413
    told.go = threading.Semaphore(0)
    with serve(told, correcting=correcting, max_running=1, max_waiting=0) as address:
        chat = threading.Thread(target=post, args=(address, "/v1/chat/completions",
                                                   {"model": "told", "messages": shown(data_url)}))  # fmt: skip
        chat.start()
        while not told.asked:
            threading.Event().wait(0.01)
        assert post(address, "/v1/corrections", body)[0] == 429
        told.go.release(10)
        chat.join(30)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"messages": [{"role": "user", "content": "Hi"}]}, "no picture has been shown"),
        ({"logprobs": True}, "no logprobs"),
        ({"constrain": {"boxes": True}}, "keep a form"),
        ({"response_format": {"type": "json_object"}}, "keep a form"),
    ],
)
def test_a_chat_that_cannot_be_corrected_is_refused_by_name(serve, told, correcting, data_url, change, says):
    body = {"model": "told", "messages": shown(data_url), "correct": True} | change
    with serve(told, correcting=correcting) as address:
        status, answer = post(address, "/v1/chat/completions", body)
    assert status == 400 and answer["error"]["param"] == "correct" and says in answer["error"]["message"]
    assert not told.asked


def test_a_reply_about_a_video_is_not_corrected_by_a_picture_before_it(
    serve, told, correcting, data_url, film, tmp_path
):
    clip = base64.b64encode(film(tmp_path / "clip.mp4", [40, 80]).read_bytes()).decode()
    video = {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{clip}"}}
    messages = [*shown(data_url), {"role": "assistant", "content": "A dog."}, {"role": "user", "content": [video]}]
    with serve(told, correcting=correcting) as address:
        status, answer = post(address, "/v1/chat/completions", {"model": "told", "messages": messages, "correct": True})
        assert status == 400 and "or a video after it" in answer["error"]["message"]
        assert post(address, "/v1/chat/completions", {"model": "told", "messages": messages})[0] == 200
    assert len(told.asked) == 1


def test_a_server_without_correction_says_so(serve, told, data_url):
    with serve(told) as address:
        status, answer = post(address, "/v1/chat/completions",
                              {"model": "told", "messages": shown(data_url), "correct": True})  # fmt: skip
        assert status == 400 and answer["error"]["code"] == "unsupported_parameter"
        assert post(address, "/v1/corrections", {"image": data_url, "text": "A dog."})[0] == 404


def test_a_reply_in_another_language_comes_as_it_is(serve, told, correcting, data_url):
    told.words = ("图里有", "一只狗。")
    with serve(told, correcting=correcting) as address:
        _, answer = post(address, "/v1/chat/completions",
                         {"model": "told", "messages": shown(data_url), "correct": True})  # fmt: skip
    assert answer["choices"][0]["message"]["content"] == "图里有一只狗。"
    assert "only English" in answer["correction"]["notes"][0]


def test_a_corrector_that_cannot_be_loaded_is_the_servers_fault_and_is_tried_again(serve, told, correcting, data_url):
    tried = []

    def load():
        tried.append(1)
        if len(tried) == 1:
            raise SensoriumError("detector", "needs OpenCV.", "Run pip.")
        return correcting._load()

    with serve(told, correcting=Correcting(load)) as address:
        body = {"image": data_url, "text": "Two dogs."}
        status, answer = post(address, "/v1/corrections", body)
        assert status == 501 and "needs OpenCV" in answer["error"]["message"]
        assert post(address, "/v1/corrections", body)[1]["output"] == "One dog."
